"""`trichord search`: the moments of an archive that fit a query."""

import math
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from trichord.api.collection_model import model_of
from trichord.cli.archive_model import cache_encoders
from trichord.cli.console import aside, out
from trichord.cli.hit_table import hit_table, reranked
from trichord.cli.options import mix_of, require_unset
from trichord.cli.places import CollectionPlace, open_collection, require_backend
from trichord.cli.text_input import lines_of, require_input
from trichord.cli.threads import loader_on
from trichord.search.filters import Filter
from trichord.search.hit_lists import (
    ListFormat,
    to_csv,
    to_cues,
    to_edl,
    to_fields,
    to_json_lines,
    to_otio,
)
from trichord.search.query import By, MinScore, Query
from trichord.search.query_model import QueryModel
from trichord.search.query_notes import notes_on
from trichord.speech.transcript import srt_of, vtt_of
from trichord.types import Hit, Moment, TextKind, UserError
from trichord.types.rules import (
    Checked,
    Device,
    InputFile,
    OutputFile,
    Range,
    Weight,
    require,
    require_legal,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trichord.search.collection import StoredCollection
    from trichord.search.engine import SearchEngine


def moment_named(like: str) -> Moment:
    """The moment that `--like FILE@SECONDS` names.

    Raises:
        UserError: It names none.
    """
    from trichord.search.collection import whereabouts

    file, _, seconds = like.rpartition("@")
    try:
        start = float(seconds)
    except ValueError:
        start = math.nan
    require(
        file and 0 <= start < math.inf,
        f"--like {like}: name a moment as FILE@SECONDS, for example clip.mp4@20.",
    )
    return Moment(file=str(whereabouts(Path(file))), start=start, end=start)


RERANK = 50
"""Moments that are looked at again where nothing else is said."""
FPS = 25


@dataclass(frozen=True, kw_only=True)
class Search:
    """Find moments by words, pictures, sounds and clips, alone or together."""

    collection: Annotated[tyro.conf.Positional[CollectionPlace], tyro.conf.arg(metavar="ARCHIVE")]
    """What 'trichord index' made: a folder or s3://bucket/prefix."""
    text: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="TEXT")] = None
    """What to look and listen for; in 'dog -leash' what fits the word after the minus comes last."""
    queries: Annotated[str | None, Checked(require_input)] = None
    """A file with a text on each line, or - for standard input: each is searched. Prints JSON lines with
    --format json."""
    image: Annotated[Path | None, InputFile()] = None
    """A picture to look like; the picture of a video will do."""
    audio: Annotated[Path | None, InputFile()] = None
    """A sound to sound like; the sound of a video will do."""
    video: Annotated[Path | None, InputFile()] = None
    """A clip to look and sound like."""
    like: Annotated[str | None, Checked(moment_named)] = None
    """A moment of the archive to be like: FILE@SECONDS."""
    by: By = "both"
    """What of that moment counts."""
    visual_weight: Weight = None
    """How much the picture counts; as learnt, or 1, if not given."""
    audio_weight: Weight = None
    """How much the sound counts; 0 ignores it; as learnt, or 1, if not given."""
    audio_type: Annotated[str | None, Checked(mix_of)] = None
    """The audio type token: verbal, nonverbal, or a mix from 0 (verbal) to 1 (nonverbal); that of the run
    if not given."""
    caption_weight: Annotated[float, Range(0)] = 0.0
    """How much the words of captions count beside picture and sound; 0 does not look at them."""
    speech_weight: Weight = None
    """How much what is said counts beside picture and sound; 0 ignores it. If not given, it counts
    where all the words of TEXT are said together, and comes first; with a weight, where any of them is.
    Words in quotes must be said or shown exactly so."""
    screen_weight: Weight = None
    """The same for words on the screen."""
    where: Annotated[Filter, tyro.conf.arg(name="")] = field(default_factory=Filter)
    k: Annotated[int, Range(1, 1_000_000)] = 10
    """How many moments, or files with --group."""
    at_least: MinScore = None
    """Only moments that score at least this much."""
    fold: bool = True
    """Moments of one scene, and near-copies, are one hit ("+3 more")."""
    group: bool = False
    """Put the moments of a file together, its best one first."""
    rerank: Annotated[int, Range(0, 1_000_000)] = RERANK
    """How many moments a fusion that reads text and moment together looks at again; 0: none."""
    backend: Annotated[str | None, Checked(require_backend)] = None
    """What finds candidates in a large archive: faiss-scan, or one of a package or --plugin."""
    device: Device = "auto"
    """Of the model, where one is loaded: cpu, cuda, or auto: a GPU if there is one. Texts are read by the
    archive's text encoders alone, on the processor, unless a device is named."""
    sheet: Annotated[Path | None, OutputFile(".png")] = None
    """Also draw the hits into this PNG."""
    format: ListFormat = "table"
    """How the hits are printed: a table, JSON, CSV, an edit decision list (EDL, CMX 3600), a timeline of
    OpenTimelineIO, or what is said in them as subtitles of that list (VTT, SRT)."""
    fps: Annotated[int, Range(1, 120)] = FPS
    """Frames a second of an EDL and a timeline."""
    json: bool = False
    """The same as --format json."""


def search(arguments: list[str]) -> None:
    """`trichord search ARCHIVE TEXT`."""
    options = tyro.cli(Search, args=arguments, prog="trichord search")
    require_legal(options)
    require(
        options.by == "both" or options.like,
        "--by goes with --like: leave it out, or name a moment.",
    )
    require(
        not options.caption_weight or options.text or options.queries,
        "--caption-weight goes with a TEXT, whose words are looked for: leave it out, or give one.",
    )
    for name in ("speech_weight", "screen_weight"):
        require(
            not getattr(options, name) or options.text or options.queries,
            f"--{name.replace('_', '-')} goes with a TEXT, whose words are looked for: leave it out, or "
            "give one.",
        )
    _require_format(options)
    queries = _queries(options)
    collection = open_collection(options.collection)
    found, engine = _find(options, collection, queries)
    model = engine.model
    for note in dict.fromkeys(note for query in queries for note in notes_on(query, model)):
        aside.print(note, markup=False, soft_wrap=True)
    if options.format in ("vtt", "srt"):
        write = vtt_of if options.format == "vtt" else srt_of
        sys.stdout.write(write(to_cues(found[0], engine.texts.lines_of)))
    else:
        titles = [query.title for query in queries]
        _print_hits(options, list(zip(titles, found, strict=True)))
    if any(query.exact and not hits for query, hits in zip(queries, found, strict=True)):
        aside.print("Words in quotes are found only where they are said, or shown, exactly so.")
    if options.sheet:
        shown = options.format == "table" and not options.json
        (out if shown else aside).print(f"Drawn: {options.sheet}", markup=False)
    if not isinstance(model, QueryModel):  # after the hits: writing graphs takes seconds
        cache_encoders(collection, model)


def _require_format(options: Search) -> None:
    """Refuse options that do not go together with the format, or with several queries."""
    require(
        not (options.json and options.format not in ("table", "json")),
        f"--json and --format {options.format} are two formats: leave out one.",
    )
    require(
        options.fps == FPS or options.format in ("edl", "otio"),
        "--fps goes with --format edl and --format otio: leave it out.",
    )
    if options.queries is None:
        return
    require(options.text is None, "--queries takes the place of TEXT: leave out one of them.")
    require(
        options.format in ("table", "json", "csv"),
        f"--format {options.format} holds the hits of one query: leave out --queries.",
    )
    require_unset(options, "--queries", "sheet", "group")


def _queries(options: Search) -> list[Query]:
    """The query, or that of each line of a file.

    Raises:
        UserError: It is impossible, as the line that is named.
    """
    if options.queries is None:
        return [_query(options, options.text)]
    queries: list[Query] = []
    for text in lines_of(options.queries):
        try:
            queries.append(_query(options, text))
        except UserError as error:
            raise UserError(f"{options.queries}, line '{text}': {error}") from None
    return queries


def _query(options: Search, text: str | None) -> Query:
    return Query.of(
        text,
        image=options.image,
        audio=options.audio,
        video=options.video,
        like=None if options.like is None else moment_named(options.like),
        by=options.by,
        visual_weight=options.visual_weight,
        audio_weight=options.audio_weight,
        audio_type=None if options.audio_type is None else mix_of(options.audio_type),
        where=options.where,
        caption_weight=options.caption_weight,
        speech_weight=options.speech_weight,
        screen_weight=options.screen_weight,
        min_score=options.at_least,
        fold=options.fold,
    )


def _print_hits(options: Search, found: list[tuple[str, list[Hit]]]) -> None:
    """Print the hits of each query, by its title."""
    title, hits = found[0]
    several = options.queries is not None
    if options.format in ("csv", "edl", "otio"):
        text = {
            "csv": partial(to_csv, found),
            "edl": partial(to_edl, hits, title, options.fps),
            "otio": partial(to_otio, hits, title, options.fps),
        }[options.format]()
        sys.stdout.write(text)
    elif options.json or options.format == "json":
        if several:
            sys.stdout.write(to_json_lines(found))
        else:
            out.print_json(data=list(map(to_fields, hits)))
    else:
        for title, hits in found:
            out.print(hit_table(hits, title if several else None))
            if not hits:
                aside.print("No moment is found: loosen the filters, or lower --at-least.")


def _find(
    options: Search, collection: "StoredCollection", queries: "Sequence[Query]"
) -> "tuple[list[list[Hit]], SearchEngine]":
    """The hits of each query, and the engine that found them."""
    query = queries[0]
    token = collection.audio_type(query.audio_type)  # before anything heavy is loaded

    from trichord.media import Decoder
    from trichord.search.engine import SearchEngine
    from trichord.search.nearest import settings_for_backend

    load = loader_on(options.device)
    model = model_of(collection, load, whole=options.device != "auto")
    with Decoder(workers=2) as decoder:
        settings = settings_for_backend(options.backend)
        engine = SearchEngine(
            collection, model, decoder, token, settings=settings, persistent=False
        )
        if options.group:
            groups = engine.grouped(query, options.k, options.rerank)
            found = [[hit for group in groups for hit in group.hits]]
        else:
            engine.reader.embed_texts(queries)
            prepared = [engine.plan(query) for query in queries]
            found = engine.search_batch(prepared, options.k, options.rerank)
        hits = found[0]
        if options.sheet:
            from trichord.search.sheet import write_sheet

            weights = (("visual weight", query.visual_weight), ("audio weight", query.audio_weight))
            said = [f"{name} {weight:g}" for name, weight in weights if weight is not None]
            said += [] if token is None else [f"audio type {token:g}"]
            said += ["in the fusion's order"] if reranked(hits) else []
            note = ", ".join([*said, options.collection])
            write_sheet(options.sheet, hits, decoder, query.title, note)
    _report_unused_options(options, collection, [hit for hits in found for hit in hits])
    phrases = any(query.phrases for query in queries)
    if phrases or options.speech_weight or options.screen_weight or options.where.of_speech:
        _report_words(options, engine.texts.kinds, phrases)
    if not options.where.missing:
        _report_missing(collection, engine.gallery.files)
    return found, engine


def _report_missing(collection: "StoredCollection", files: "Sequence[str]") -> None:
    """Say which roots are not there, as if their drives were not connected."""
    from trichord.search.roots import within
    from trichord.search.survey import is_missing

    gone = [root.path for root in collection.table.roots.roots if is_missing(Path(root.path))]
    gone = [folder for folder in gone if any(within(file, folder) for file in files)]
    if gone and all(any(within(file, folder) for folder in gone) for file in files):
        aside.print("The archive's files are not there: hits are shown without them.")
        return
    for folder in gone:
        said = f"{folder} is missing or empty: its moments are left out; --missing shows them."
        aside.print(said, markup=False, soft_wrap=True)


def _report_unused_options(
    options: Search, collection: "StoredCollection", hits: list[Hit]
) -> None:
    """Say which options had no effect on what was found."""
    if options.caption_weight and not collection.table.captioned():
        aside.print("--caption-weight had no effect: no moment of the archive has a caption.")
    if options.rerank not in (0, RERANK) and not reranked(hits):
        aside.print(
            "--rerank had no effect: it is for texts alone, and for runs whose fusion reads text and "
            "moment together.",
            soft_wrap=True,
        )


def _report_words(options: Search, kinds: "Collection[TextKind]", phrases: bool) -> None:
    """Say which words were not looked for, because the archive has none of their kind."""
    speech, screen = "speech" in kinds, "screen" in kinds
    where = options.where
    asked = (
        ("--speech-weight had no effect", options.speech_weight, speech, "--transcribe"),
        ("--screen-weight had no effect", options.screen_weight, screen, "--ocr"),
        ("--language fits no moment", where.language, speech, "--transcribe"),
        ("--speaker fits no moment", where.speaker, speech, "--transcribe"),
    )
    for effect, value, there, remedy in asked:
        if value and not there:
            said = f"{effect}: nothing is stored that it is about: index with {remedy} first."
            aside.print(said, markup=False, soft_wrap=True)
    if phrases and not kinds:
        aside.print(
            "The quoted words were looked for as pictures and sounds: nothing is stored that is said or "
            "shown; index with --transcribe or --ocr first.",
            soft_wrap=True,
        )
