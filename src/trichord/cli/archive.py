"""Commands about an archive: `index` and `search`."""

import math
import sys
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from trichord.api.collection_model import model_of, run_of
from trichord.api.model import device_of, persistent
from trichord.api.text_encoders import (
    bundle_text_encoders,
    cache_text_encoders,
    require_writing,
)
from trichord.bulk.options import ALONE, BulkOptions
from trichord.cli.archive_model import ArchiveModel
from trichord.cli.console import aside, bar, counted, out
from trichord.cli.options import mix_of, require_unset
from trichord.cli.places import CollectionPlace, ModelName, require_backend
from trichord.cli.text_input import lines_of, require_input
from trichord.cli.threads import leave_cores, load_embedder
from trichord.media.plan import FrameChoice
from trichord.search.filters import Filter
from trichord.search.hit_lists import ListFormat, to_csv, to_edl, to_fields, to_json_lines, to_otio
from trichord.search.moments import CutKind, Hop, Seconds, require_moments
from trichord.search.query import By, MinScore, Query
from trichord.search.query_model import QueryModel
from trichord.search.query_notes import notes_on
from trichord.types import Hit, Moment, UserError
from trichord.types.extras import require_compiler, require_package
from trichord.types.files import exists
from trichord.types.rules import (
    Checked,
    Device,
    InputFile,
    InputFolder,
    OutputFile,
    OutputFolder,
    Range,
    Spelling,
    Weight,
    Workers,
    require,
    require_legal,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trichord.media import Decoder
    from trichord.models.embedder import Embedder
    from trichord.search.collection import StoredCollection
    from trichord.search.indexing import Indexed
    from trichord.search.table import FileVersion
    from trichord.search.updating import Readers, Update
    from trichord.types import Clip


@dataclass(frozen=True, kw_only=True)
class Index:
    """Cut media files into moments and keep what is seen and heard in each.

    Run it again to update the archive: unchanged files are skipped, and moved ones keep their vectors.
    Missing files are kept and named: a drive may not be connected. An interrupted run goes on where it
    stopped.
    """

    places: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="PATH... ARCHIVE")
    ]
    """Media files and folders, and last the archive: a folder or s3://bucket/prefix."""
    model: ModelName | None = None
    """A run, a named model (`trichord models`), a folder of weights, or hub:USER/NAME. If not given: that
    of the archive; clip-clap (CLIP and CLAP as published) for a new one. An archive refers to it from then
    on, if it is an equal model in another place."""
    vision_weights: Annotated[
        Path | None, InputFolder(), tyro.conf.arg(name="model.vision.name")
    ] = None
    """A folder with the named model's weights for pictures, and for the texts that are compared with
    them: for machines without a network."""
    audio_weights: Annotated[Path | None, InputFolder(), tyro.conf.arg(name="model.audio.name")] = (
        None
    )
    """The same for sounds."""
    seconds: Seconds = 10.0
    """Length of a moment, at most."""
    hop: Hop = None
    """Seconds between the starts of moments; half their length if not given."""
    cut: CutKind = "window"
    """Moments of equal length, or one for each shot."""
    frames: FrameChoice = "exact"
    """Frames as they are shown at each time, or only keyframes: several times faster, up to some seconds
    early."""
    audio_track: Annotated[
        str, Spelling(r"(?!0+$)\w*", "a number from 1, or a language such as eng")
    ] = ""
    """The audio track that is heard where a file has several: its number from 1, or its language as the
    file has it (eng). If not given, or not there: the first that is not silent."""
    max_megapixels: Annotated[int | None, Range(1, 1000)] = None
    """Pictures with more million pixels are `too_big`; 201 if not given. Those beyond some hundred may need
    more memory than a decoder may take. A file that is in the archive is not read again for it."""
    metadata: Annotated[Path | None, InputFile()] = None
    """A manifest whose captions and labels are stored with the moments that they describe."""
    speech: bool = True
    """Measure how much is spoken in each moment, where the extra `speech` is installed."""
    watch: bool = False
    """Then go on following the folders, until interrupted."""
    reembed: bool = False
    """Compute all vectors again with this model, beside those that are searched until then."""
    portable: bool = False
    """Also put the text encoders into the archive, as ONNX graphs: for text queries on machines without
    its model or torch."""
    prune: bool = False
    """Remove files from the archive that are missing from the given folders. Otherwise they are kept, and
    searches leave them out."""
    remove: bool = False
    """Remove the files and folders from the archive instead."""
    device: Device = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""
    compile: bool = False
    """Compile the vision and audio towers first: minutes, which pay on a GPU."""
    workers: Workers = 2
    """Processes that decode."""
    sharing: Annotated[BulkOptions, tyro.conf.arg(name="")] = ALONE
    """How the reading of files is shared out."""

    @property
    def weights(self) -> dict[str, Path]:
        """Folders of weights by tower."""
        given = {"vision": self.vision_weights, "audio": self.audio_weights}
        return {tower: folder for tower, folder in given.items() if folder is not None}


def index(arguments: list[str]) -> None:
    """`trichord index PATH... ARCHIVE`."""
    options = tyro.cli(Index, args=arguments, prog="trichord index")
    _require_sense(options)
    *given, collection = options.places
    places = [Path(place) for place in given]
    if options.remove:
        gone = _open_collection(collection).remove(places)
        out.print(f"{collection}: {len(gone)} files removed.", markup=False)
    elif options.reembed:
        _reembed(options, collection)
    else:
        _update_archive(options, places, collection)


def _require_sense(options: Index) -> None:
    """Refuse options that are not legal, or that would be passed over.

    Raises:
        UserError: The first of them.
    """
    least = 1 if options.reembed else 2
    require(len(options.places) >= least, "name at least one file or folder, and last the archive.")
    if options.remove:
        used = ("places", "remove")
        others = [one.name for one in fields(options) if one.name not in used]
        require_unset(options, "--remove", *others)
    if options.reembed:
        require(
            options.sharing.alone,
            "--reembed is done by one process: leave out --runner and --shards.",
        )
        others = ("seconds", "hop", "cut", "frames", "audio_track", "metadata", "watch", "prune")
        require_unset(options, "--reembed", *others, "vision_weights", "audio_weights")
        require(
            len(options.places) == 1,
            f"--reembed reads all files of the collection: leave out {options.places[0]}.",
        )
    require(
        options.sharing.runner == "process" or not options.compile,
        "--compile is for --runner process: other runners load their own towers.",
    )
    require_legal(options)
    require_moments(options.seconds, options.hop)
    _require_installed(options)


def _require_installed(options: Index) -> None:
    """Refuse options whose packages, compiler or device are missing, before any work.

    Raises:
        UserError: The first of them.
    """
    if options.watch:
        require_package("watchfiles")
    if options.sharing.runner == "ray":
        require_package("ray")
    if options.portable:
        require_writing()
    if options.compile:
        require_compiler()
    if options.device != "auto":  # what is there is found out when there is work
        device_of(options.device)


def _update_archive(options: Index, media: list[Path], where: str) -> None:
    from trichord.search.collection import StoredCollection
    from trichord.search.survey import scan_places

    require_legal(where, Annotated[str, OutputFolder(bucket=True)], "ARCHIVE")
    stored = _open_collection(where) if StoredCollection.is_at(where) else None
    scan = scan_places(media, () if stored is None else stored.table.files())
    metadata = _metadata(options.metadata, scan.files)
    hop = options.seconds / 2 if options.hop is None else options.hop
    StoredCollection.require_place(
        where,
        seconds=options.seconds,
        hop=hop,
        cut=options.cut,
        frames=options.frames,
        audio_track=options.audio_track,
    )
    place = partial(_place_model, options=options)
    model = ArchiveModel(where, stored, options.model, options.weights, place)
    collection = stored if stored is not None and model.known else _begin(options, where, model)
    if options.portable:  # refuses before files are read
        bundle_text_encoders(collection, model.embedder)

    from trichord.media import Decoder, Limits
    from trichord.search.notes import ManifestNotes
    from trichord.search.updating import Update

    most = options.max_megapixels
    limits = Limits() if most is None else Limits(still_pixels=most * 1_000_000)
    with Decoder(workers=options.workers, limits=limits) as decoder:
        notes, measured = ManifestNotes(metadata), options.speech
        update = Update(collection, lambda: model.embedder, decoder, notes, measured, options.prune)
        read = None if options.sharing.alone else _readers(options, model, update, metadata)
        _show_progress(update.at(media, read), len(scan.files))
        for line in scan.lines():
            out.print(line, markup=False)
        moments = sum(file.moments for file in collection.table.files().values())
        if model.loaded is not None:
            _cache_text_encoders(collection, model.loaded)
        out.print(f"{where}: {moments} moments. Next:", markup=False)
        out.print(f'  trichord search {where} "a dog barks"', markup=False)
        out.print(f"  trichord serve {where}", markup=False)
        if options.watch:
            _watch(collection, model.embedder, decoder, media, metadata, options.speech)


def _begin(options: Index, where: str, model: ArchiveModel) -> "StoredCollection":
    """Make an archive, or let one refer to the same model in another place."""
    embedder = model.embedder  # a hub that does not answer is reported before torch is loaded

    from trichord.search.indexing import begin

    cut = (options.seconds, options.hop, options.cut, options.frames, options.audio_track)
    collection = begin(where, model.reference, embedder, *cut)
    model.store()
    return collection


def _readers(
    options: Index, model: ArchiveModel, update: "Update", metadata: "Sequence[Clip]"
) -> "Readers":
    """What reads files in shards; its workers start when there are files."""

    def read(versions: "Sequence[FileVersion]") -> "Iterator[Indexed]":
        from trichord.bulk.runner import runner_of, shard_readers
        from trichord.cli.extraction import decoders_of, towers_of

        device, sharing = device_of(options.device), options.sharing
        towers = towers_of(model.reference, device, decoders_of(sharing, options.workers))
        said, count = options.speech, sharing.shards
        with runner_of(sharing, model.embedder, update.decoder) as runner:
            yield from shard_readers(
                runner, update.collection, towers, metadata, speech=said, count=count
            )(versions)

    return read


def _reembed(options: Index, where: str) -> None:
    collection = _open_collection(where)
    files = len(collection.table.files())  # before anything heavy is loaded

    from trichord.media import Decoder
    from trichord.search.indexing import reembed

    name = options.model or run_of(collection)
    model = load_embedder(name)
    _place_model(model, options)
    with Decoder(workers=options.workers) as decoder:
        run = persistent(name)
        _show_progress(reembed(collection, run, model, decoder, speech=options.speech), files)
    collection = _open_collection(where)
    if options.portable:
        bundle_text_encoders(collection, model)
    _cache_text_encoders(collection, model)
    out.print(f"{where}: its vectors are those of {name} now.", markup=False)


def _cache_text_encoders(collection: "StoredCollection", model: "Embedder") -> None:
    """Write the text encoders as graphs where they are missing, or say why text queries load torch."""
    said = "Writing its text encoders as ONNX graphs, once: for text queries without torch."
    announce = partial(aside.print, said)
    if (reason := cache_text_encoders(collection, model, announce)) is not None:
        aside.print(f"Text queries load torch: {reason}.", markup=False)


def _place_model(model: "Embedder", options: Index) -> None:
    """Put the towers where they are computed, and leave the decoders their cores."""
    if options.sharing.runner != "process" and not options.watch:  # others load their own
        return
    device = device_of(options.device)
    model.to(device)
    if options.compile:
        model.compile_trunks()
    leave_cores(options.workers, device)


def _show_progress(done: "Iterator[Indexed]", files: int) -> None:
    """Show files as they are stored, and what became of all of them."""
    changes: list[str] = []
    statuses: list[str] = []
    missing: list[str] = []
    with bar("files", files) as moving:
        for one in done:
            changes.append(one.change)
            statuses.append(one.status)
            if one.change == "missing":
                missing.append(one.file)
                continue
            if one.reason:
                aside.print(f"  {one.file}: {one.status}: {one.reason}", markup=False)
            moving.advance(note=Path(one.file).name)
    out.print(f"{counted(changes)}; {counted(statuses)}.")
    if missing:
        from trichord.search.survey import missing_lines

        for line in missing_lines(missing):
            aside.print(line, markup=False, soft_wrap=True)
        aside.print("Missing files are kept, and left out of hits. --prune removes them.")


def _watch(
    collection: "StoredCollection",
    model: "Embedder",
    decoder: "Decoder",
    media: list[Path],
    metadata: "Sequence[Clip]",
    speech: bool,
) -> None:
    from trichord.search.watching import watch

    out.print("Following the folders; Ctrl-C ends it.")
    for one in watch(collection, model, decoder, media, metadata=metadata, speech=speech):
        why = f": {one.reason}" if one.reason else ""
        out.print(f"  {one.file}: {one.change}, {one.status}{why}", markup=False)


def _metadata(manifest: Path | None, files: "Sequence[Path]") -> "Sequence[Clip]":
    """Clips whose captions and labels go to files; says how many are of others.

    Raises:
        UserError: The manifest cannot be read, or all of them are of others.
    """
    from trichord.corpora.manifest import read_manifest
    from trichord.search.collection import whereabouts

    if manifest is None:
        return ()
    clips, known = read_manifest(manifest), set(files)
    others = sum(whereabouts(Path(clip.path)) not in known for clip in clips)
    require(
        others < len(clips),
        f"--metadata {manifest}: none of its clips is of a file that is indexed: check its paths.",
    )
    if others:
        aside.print(f"--metadata: {others} of {len(clips)} clips are of files not indexed here.")
    named = {whereabouts(Path(clip.path)) for clip in clips}
    if without := [str(file) for file in files if file not in named]:
        shown = ", ".join(without[:3]) + ", ..." * (len(without) > 3)
        aside.print(
            f"--metadata: {len(without)} of {len(files)} files have no clip: {shown}", markup=False
        )
    return clips


def _open_collection(path: str | Path) -> "StoredCollection":
    from trichord.search.collection import StoredCollection

    return StoredCollection.open(path)


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
    """What finds candidates in a large collection: faiss-scan, or one of a package or --plugin."""
    sheet: Annotated[Path | None, OutputFile(".png")] = None
    """Also draw the hits into this PNG."""
    format: ListFormat = "table"
    """How the hits are printed: a table, JSON, CSV, an edit decision list (EDL, CMX 3600), or a timeline of
    OpenTimelineIO."""
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
    _require_format(options)
    queries = _queries(options)
    collection = _open_collection(options.collection)
    found, model = _find(options, collection, queries)
    for note in dict.fromkeys(note for query in queries for note in notes_on(query, model)):
        aside.print(note, markup=False, soft_wrap=True)
    _print_hits(options, [(query.title, hits) for query, hits in zip(queries, found, strict=True)])
    if options.sheet:
        shown = options.format == "table" and not options.json
        (out if shown else aside).print(f"Drawn: {options.sheet}", markup=False)
    if not isinstance(model, QueryModel):  # after the hits: writing graphs takes seconds
        _cache_text_encoders(collection, model)


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
            out.print(_table(hits, title if several else None))
            if not hits:
                aside.print("No moment is found: loosen the filters, or lower --at-least.")


def _find(
    options: Search, collection: "StoredCollection", queries: "Sequence[Query]"
) -> "tuple[list[list[Hit]], Embedder | QueryModel]":
    """The hits of each query, and the model as far as it was loaded for them."""
    query = queries[0]
    token = collection.audio_type(query.audio_type)  # before anything heavy is loaded

    from trichord.media import Decoder
    from trichord.search.engine import SearchEngine
    from trichord.search.nearest import settings_for_backend

    model = model_of(collection, load_embedder)
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
            said += ["in the fusion's order"] if _reranked(hits) else []
            note = ", ".join([*said, options.collection])
            write_sheet(options.sheet, hits, decoder, query.title, note)
    _report_unused_options(options, collection, [hit for hits in found for hit in hits])
    if not options.where.missing:
        _report_missing(collection, engine.gallery.files)
    return found, model


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
        aside.print("--caption-weight had no effect: no moment of the collection has a caption.")
    if options.rerank not in (0, RERANK) and not _reranked(hits):
        aside.print(
            "--rerank had no effect: it is for texts alone, and for runs whose fusion reads text and "
            "moment together."
        )


def _is_missing(hit: Hit) -> bool:
    return not exists(hit.moment.file)


def _reranked(hits: list[Hit]) -> bool:
    return any(hit.reranked is not None for hit in hits)


def _table(hits: list[Hit], title: str | None = None) -> Table:
    reranked = _reranked(hits)
    known = any(hit.chance is not None for hit in hits)
    notes = ["score = visual + audio, in standard deviations of an unrelated moment's score"]
    if known:
        notes.append("chance: how likely the best of so many unrelated moments scores as high")
    elif hits:
        notes.append("no chances: they are measured when 'trichord index' is run again")
    if reranked:
        notes.append("where there is a score of the fusion, it decides the order")
    shown = Table(title=None if title is None else escape(title), caption="\n".join(notes))
    columns = ["#", *(["fusion"] if reranked else []), "score", "visual", "audio"]
    for name in columns + ["chance"] * known:
        shown.add_column(name, justify="right")
    shown.add_column("when")
    shown.add_column("file", overflow="fold")
    for place, hit in enumerate(hits, start=1):
        numbers = [hit.score, hit.visual, hit.audio]
        shares = ([hit.reranked] if reranked else []) + numbers
        parts = ["–" if share is None else f"{share:+.2f}" for share in shares]
        parts += [_percent(hit.chance)] * known
        when = f"{hit.moment.start:.1f}–{hit.moment.end:.1f} s"
        weak = hit.weak and not (place > 1 and hits[place - 2].weak)
        if weak and place > 1:
            shown.add_section()
        style = "dim" if hit.weak else None
        shown.add_row(str(place), *parts, when, escape(hit.moment.file) + _marks(hit), style=style)
    return shown


def _percent(chance: float | None) -> str:
    if chance is None:
        return "–"
    return "< 1 %" if chance < 0.01 else f"{chance:.0%}".replace("%", " %")


def _marks(hit: Hit) -> str:
    """What a row says beside the file."""
    marks = [f"+{len(hit.more)} more"] if hit.more else []
    marks += ["to be avoided"] if hit.demoted else ["weak"] if hit.weak else []
    marks += ["missing"] if _is_missing(hit) else []
    return f" ({', '.join(marks)})" if marks else ""
