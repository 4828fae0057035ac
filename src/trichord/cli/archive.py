"""Commands about an archive: `index` and `search`."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from trichord.api.carried import carry
from trichord.api.collection_model import model_of
from trichord.api.model import device_of, lasting, require_model
from trichord.api.shortcut import keep
from trichord.bulk.sharing import ALONE, Sharing
from trichord.cli.console import aside, bar, counted, out
from trichord.cli.threads import leave_cores, load_embedder
from trichord.media.plan import Nearest
from trichord.search.filters import Filter
from trichord.search.moments import CutKind
from trichord.search.query import By, Query
from trichord.types import Hit, Moment, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trichord.bulk.runner import Runner
    from trichord.media import Decoder
    from trichord.models.embedder import Embedder
    from trichord.search.collection import Collection
    from trichord.search.indexing import Indexed
    from trichord.search.updating import Readers
    from trichord.types import Clip


@dataclass(frozen=True, kw_only=True)
class Index:
    """Cut media files into moments and keep what is seen and heard in each.

    Call it again to bring the collection up to date: unchanged files are skipped, files that are gone
    from the given folders leave it. An interrupted call goes on where it stopped.
    """

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN|EXPERIMENT")]
    """A run, or an experiment such as 'untrained' for CLIP and CLAP as they come."""
    places: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="PATH... COLLECTION")
    ]
    """Media files and folders, and last the collection: a folder or s3://bucket/prefix."""
    seconds: float = 10.0
    """Length of a moment, at most."""
    hop: float | None = None
    """Seconds between the starts of moments; half their length if not given."""
    cut: CutKind = "window"
    """Moments of equal length, or one for each shot."""
    nearest: Nearest = "exact"
    """Frames as they are shown at each time, or only keyframes: several times faster, up to some seconds
    early."""
    told: Path | None = None
    """A manifest whose captions and labels go to the moments that they are of."""
    speech: bool = True
    """Measure how much is spoken in each moment, where the extra `speech` is installed."""
    watch: bool = False
    """Then go on following the folders, until interrupted."""
    reembed: bool = False
    """Make the vectors of a collection anew with this model, beside those that are searched."""
    portable: bool = False
    """Also put the text towers into the collection: then words find moments on machines without torch."""
    remove: bool = False
    """Take the files and folders out of the collection instead."""
    device: str = "auto"
    """cpu, cuda, or whichever is there."""
    compile: bool = False
    """Compile the towers of sight and sound first: minutes, which pay on a GPU."""
    workers: int = 2
    """Processes that decode."""
    sharing: Annotated[Sharing, tyro.conf.arg(name="")] = ALONE
    """How the reading of files is shared out."""


def index(arguments: list[str]) -> None:
    """`trichord index RUN|EXPERIMENT PATH... COLLECTION`."""
    asked = tyro.cli(Index, args=arguments, prog="trichord index")
    if not asked.places or (len(asked.places) < 2 and not asked.reembed):
        raise UserError("name at least one file or folder, and last the collection.")
    given = list(asked.places)
    collection = given.pop()
    places = [Path(place) for place in given]
    if asked.reembed and not asked.sharing.alone:
        raise UserError("--reembed is done by one process: leave out --runner and --shards.")
    if asked.compile and asked.sharing.runner != "process":
        raise UserError("--compile is for --runner process: other runners load their own towers.")
    if asked.remove:
        gone = _opened(collection).remove(places)
        out.print(f"{collection}: {len(gone)} files removed.", markup=False)
    elif asked.reembed:
        _make_anew(asked, collection)
    else:
        _bring_up_to_date(asked, places, collection)


def _bring_up_to_date(asked: Index, media: list[Path], where: str) -> None:
    from trichord.search.survey import media_at

    files = len(media_at(media))  # before anything heavy is loaded
    told = _told(asked.told)
    require_model(asked.model)

    from trichord.bulk.runner import runner_of
    from trichord.media import Decoder
    from trichord.search.indexing import begin
    from trichord.search.indexing import index as bring_up_to_date

    device, alone = device_of(asked.device), asked.sharing.runner == "process"
    model = load_embedder(asked.model)
    if alone or asked.watch:  # others load their own
        _settle(model, asked, device)
    begun = begin(
        where, lasting(asked.model), model, asked.seconds, asked.hop, asked.cut, asked.nearest
    )
    with (
        Decoder(workers=asked.workers) as decoder,
        runner_of(asked.sharing, model, decoder) as runner,
    ):
        read = None if asked.sharing.alone else _readers(asked, runner, begun, told, device)
        said = asked.speech
        _follow(
            bring_up_to_date(begun, model, decoder, media, told=told, speech=said, read=read), files
        )
        held = sum(known.moments for known in begun.table.files().values())
        _put_aside(asked, begun, model)
        out.print(f"{where}: {held} moments. Next:", markup=False)
        out.print(f'  trichord search {where} "a dog barks"', markup=False)
        out.print(f"  trichord serve {where}", markup=False)
        if asked.watch:
            _watch(begun, model, decoder, media, told, asked.speech)


def _readers(
    asked: Index, runner: "Runner", begun: "Collection", told: "Sequence[Clip]", device: str
) -> "Readers":
    """What reads files in shards."""
    from trichord.bulk.runner import readers
    from trichord.bulk.shards import indexing_of
    from trichord.cli.extraction import towers_of

    towers = towers_of(asked.model, device, asked.sharing.decoders(asked.workers))
    whole = indexing_of(begun, towers, speech=asked.speech)
    return readers(runner, whole, told, asked.sharing.shards)


def _make_anew(asked: Index, where: str) -> None:
    from trichord.media import Decoder
    from trichord.search.indexing import reembed

    held = _opened(where)
    files = len(held.table.files())
    device = device_of(asked.device)
    model = load_embedder(asked.model)
    _settle(model, asked, device)
    with Decoder(workers=asked.workers) as decoder:
        run = lasting(asked.model)
        _follow(reembed(held, run, model, decoder, speech=asked.speech), files)
    _put_aside(asked, _opened(where), model)
    out.print(f"{where}: its vectors are those of {asked.model} now.", markup=False)


def _put_aside(asked: Index, held: "Collection", model: "Embedder") -> None:
    """Keep what later searches by words need of the model."""
    if asked.portable:
        carry(held, model)
    keep(held, model)


def _settle(model: "Embedder", asked: Index, device: str) -> None:
    """Put the towers where they are computed, and leave the decoders their cores."""
    model.to(device)
    if asked.compile:
        model.compile_trunks()
    leave_cores(asked.workers, device)


def _follow(done: "Iterator[Indexed]", files: int) -> None:
    """Show files as they are stored, and what became of all of them."""
    changes: list[str] = []
    statuses: list[str] = []
    with bar("files", files) as moving:
        for one in done:
            changes.append(one.change)
            statuses.append(one.status)
            if one.reason:
                aside.print(f"  {one.file}: {one.status}: {one.reason}", markup=False)
            moving.advance(note=Path(one.file).name)
    out.print(f"{counted(changes)}; {counted(statuses)}.")


def _watch(
    begun: "Collection",
    model: "Embedder",
    decoder: "Decoder",
    media: list[Path],
    told: "Sequence[Clip]",
    speech: bool,
) -> None:
    from trichord.search.watching import watch

    out.print("Following the folders; Ctrl-C ends it.")
    for one in watch(begun, model, decoder, media, told=told, speech=speech):
        why = f": {one.reason}" if one.reason else ""
        out.print(f"  {one.file}: {one.change}, {one.status}{why}", markup=False)


def _told(manifest: Path | None) -> "Sequence[Clip]":
    from trichord.corpora.manifest import read_manifest

    return () if manifest is None else read_manifest(manifest)


def _opened(path: str | Path) -> "Collection":
    from trichord.search.collection import Collection

    return Collection.open(path)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Find moments by words, pictures, sounds and clips, alone or together."""

    collection: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="COLLECTION")]
    """What 'trichord index' made: a folder or s3://bucket/prefix."""
    text: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="TEXT")] = None
    """What to look and listen for; 'dog -leash' stays away from what follows the minus."""
    image: Path | None = None
    """A picture to look like; the picture of a video will do."""
    audio: Path | None = None
    """A sound to sound like; the sound of a video will do."""
    video: Path | None = None
    """A clip to look and sound like."""
    like: str | None = None
    """A moment of the collection to be like: FILE@SECONDS."""
    by: By = "both"
    """What of that moment counts."""
    sight: float | None = None
    """How much what is seen counts; as learnt, or 1, if not given."""
    sound: float | None = None
    """How much what is heard counts; 0 ignores it; as learnt, or 1, if not given."""
    sound_token: float | None = None
    """Where to listen between speech (0) and events (1); as the run does if not given."""
    captions: float = 0.0
    """How much the words of captions count beside sight and sound; 0 does not look at them."""
    where: Annotated[Filter, tyro.conf.arg(name="")] = field(default_factory=Filter)
    k: int = 10
    """How many moments, or files with --group."""
    group: bool = False
    """Put the moments of a file together, its best one first."""
    rerank: int = 50
    """How many moments a fusion that reads text and moment together looks at again; 0: none."""
    sheet: Path | None = None
    """Also draw the hits into this PNG."""
    json: bool = False
    """Print the hits as JSON."""


def search(arguments: list[str]) -> None:
    """`trichord search COLLECTION TEXT`."""
    asked = tyro.cli(Search, args=arguments, prog="trichord search")
    query = Query.of(
        asked.text,
        image=asked.image,
        audio=asked.audio,
        video=asked.video,
        like=_moment(asked.like),
        by=asked.by,
        sight=asked.sight,
        sound=asked.sound,
        sound_token=asked.sound_token,
        where=asked.where,
        captions=asked.captions,
    )
    hits = _find(asked, query)
    if asked.json:
        out.print_json(data=[asdict(hit) for hit in hits])
    else:
        out.print(_table(hits))
    if asked.sheet:
        out.print(f"Drawn: {asked.sheet}", markup=False)


def _moment(like: str | None) -> Moment | None:
    """The moment that `--like FILE@SECONDS` names."""
    if like is None:
        return None
    from trichord.search.collection import whereabouts

    file, _, seconds = like.rpartition("@")
    try:
        start = float(seconds)
        return Moment(file=str(whereabouts(Path(file))), start=start, end=start)
    except ValueError as error:
        raise UserError(
            f"--like {like}: name a moment as FILE@SECONDS, for example clip.mp4@20."
        ) from error


def _find(asked: Search, query: "Query") -> list[Hit]:
    held = _opened(asked.collection)
    token = held.sound_token(query.sound_token)  # before anything heavy is loaded

    from trichord.media import Decoder
    from trichord.search.engine import SearchEngine

    model = model_of(held, load_embedder)
    with Decoder(workers=2) as decoder:
        engine = SearchEngine(held, model, decoder, token, lasting=False)
        if asked.group:
            hits = [
                hit for group in engine.grouped(query, asked.k, asked.rerank) for hit in group.hits
            ]
        else:
            hits = engine.search(query, asked.k, asked.rerank)
        if asked.sheet:
            from trichord.search.sheet import write_sheet

            weights = (("sight", query.sight), ("sound", query.sound))
            said = [f"{name} {weight:g}" for name, weight in weights if weight is not None]
            said += [] if token is None else [f"sound token {token:g}"]
            said += ["in the fusion's order"] if _reranked(hits) else []
            note = f"{', '.join([*said, asked.collection])}"
            write_sheet(asked.sheet, hits, decoder, query.given, note)
    return hits


def _reranked(hits: list[Hit]) -> bool:
    return any(hit.reranked is not None for hit in hits)


def _table(hits: list[Hit]) -> Table:
    reranked = _reranked(hits)
    shown = Table(
        caption="score = sight + sound, in standard deviations of an unrelated moment's score"
        + ("\nwhere there is a score of the fusion, it decides the order" if reranked else "")
    )
    columns = ["#", *(["fusion"] if reranked else []), "score", "sight", "sound"]
    for name in columns:
        shown.add_column(name, justify="right")
    shown.add_column("when")
    shown.add_column("file", overflow="fold")
    for place, hit in enumerate(hits, start=1):
        numbers = [hit.score, hit.sight, hit.sound]
        parts = [_signed(part) for part in ([hit.reranked] if reranked else []) + numbers]
        when = f"{hit.moment.start:.1f}–{hit.moment.end:.1f} s"
        shown.add_row(str(place), *parts, when, escape(hit.moment.file))
    return shown


def _signed(part: float | None) -> str:
    return "–" if part is None else f"{part:+.2f}"
