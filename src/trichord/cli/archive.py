"""Commands about an archive: `index` and `search`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from trichord.cli.console import aside, bar, counted, out
from trichord.cli.runs import device_of, model_of
from trichord.types import Hit, UserError

if TYPE_CHECKING:
    from trichord.search.collection import Collection
    from trichord.search.query import Query


def index(arguments: list[str]) -> None:
    """`trichord index RUN|EXPERIMENT PATH... COLLECTION`."""

    def run(
        model: Annotated[str, tyro.conf.arg(metavar="RUN|EXPERIMENT")],
        places: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH... COLLECTION")],
        /,
        *,
        seconds: float = 10.0,
        hop: float | None = None,
        remove: bool = False,
        device: str = "auto",
        workers: int = 2,
    ) -> None:
        """Cut media files into moments and keep what is seen and heard in each.

        Call it again to bring the collection up to date: unchanged files are skipped, files that are
        gone from the given folders leave it. An interrupted call goes on where it stopped.

        Args:
            model: A run, or an experiment such as 'untrained' for CLIP and CLAP as they come.
            places: Media files and folders, and last the collection's folder.
            seconds: Length of a moment.
            hop: Seconds between the starts of moments; as long as a moment if not given.
            remove: Take the files and folders out of the collection instead.
            device: cpu, cuda, or whichever is there.
            workers: Processes that decode.
        """
        if len(places) < 2:
            raise UserError("name at least one file or folder, and last the collection.")
        *media, collection = places
        if remove:
            gone = _opened(collection).remove(media)
            out.print(f"{collection}: {len(gone)} files removed.")
            return
        _bring_up_to_date(model, media, collection, (seconds, hop), device, workers)

    tyro.cli(run, args=arguments, prog="trichord index")


def _bring_up_to_date(
    name: str,
    media: list[Path],
    collection: Path,
    window: tuple[float, float | None],
    device: str,
    workers: int,
) -> None:
    from trichord.search.survey import media_at

    files = len(media_at(media))  # before anything heavy is loaded

    from trichord.media import Decoder
    from trichord.search.indexing import begin
    from trichord.search.indexing import index as bring_up_to_date

    model = model_of(name).to(device_of(device))
    begun = begin(collection, _lasting(name), model, *window)
    changes: list[str] = []
    statuses: list[str] = []
    with Decoder(workers=workers) as decoder, bar("files", files) as moving:
        for done in bring_up_to_date(begun, model, decoder, media):
            changes.append(done.change)
            statuses.append(done.status)
            if done.reason:
                aside.print(f"  {done.file}: {done.status}: {done.reason}", markup=False)
            moving.advance(note=Path(done.file).name)
    held = sum(known.moments for known in begun.table.files().values())
    out.print(f"{collection}: {counted(changes)}; {counted(statuses)}; {held} moments. Next:")
    out.print(f'  trichord search {collection} "a dog barks"', markup=False)


def _lasting(name: str) -> str:
    """How a collection remembers its model: a run by its whole path, an experiment by its name."""
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def _opened(path: Path) -> "Collection":
    from trichord.search.collection import Collection

    return Collection.open(path)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Find moments by a text, a picture, a sound or a clip."""

    collection: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="COLLECTION")]
    """What 'trichord index' made."""
    text: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="TEXT")] = None
    """What to look and listen for."""
    image: Path | None = None
    """A picture to look like; the picture of a video will do."""
    audio: Path | None = None
    """A sound to sound like; the sound of a video will do."""
    video: Path | None = None
    """A clip to look and sound like."""
    sight: float = 1.0
    """How much what is seen counts."""
    sound: float = 1.0
    """How much what is heard counts; 0 ignores it."""
    sound_token: float | None = None
    """Where to listen between speech (0) and events (1); as the run does if not given."""
    k: int = 10
    """How many moments."""
    rerank: int = 50
    """How many moments a fusion that reads text and moment together looks at again; 0: none."""
    sheet: Path | None = None
    """Also draw the hits into this PNG."""
    json: bool = False
    """Print the hits as JSON."""


def search(arguments: list[str]) -> None:
    """`trichord search COLLECTION TEXT`."""
    from trichord.search.query import Query

    asked = tyro.cli(Search, args=arguments, prog="trichord search")
    query = Query.of(
        asked.text,
        image=asked.image,
        audio=asked.audio,
        video=asked.video,
        sight=asked.sight,
        sound=asked.sound,
        sound_token=asked.sound_token,
    )
    hits = _find(asked, query)
    if asked.json:
        out.print_json(data=[asdict(hit) for hit in hits])
    else:
        out.print(_table(hits))
    if asked.sheet:
        out.print(f"Drawn: {asked.sheet}")


def _find(asked: Search, query: "Query") -> list[Hit]:
    held = _opened(asked.collection)
    token = held.sound_token(query.sound_token)  # before anything heavy is loaded

    from trichord.media import Decoder
    from trichord.search.engine import SearchEngine
    from trichord.search.sheet import write_sheet

    model = model_of(held.description.run)
    with Decoder(workers=2) as decoder:
        engine = SearchEngine(held, model, decoder, token)
        hits = engine.search(query, asked.k, asked.rerank)
        if asked.sheet:
            said = [f"sight {query.sight:g}", f"sound {query.sound:g}"]
            said += [] if token is None else [f"sound token {token:g}"]
            said += ["in the fusion's order"] if _reranked(hits) else []
            note = f"{', '.join(said)}; {asked.collection}"
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
        shown.add_row(str(place), *parts, when, hit.moment.file)
    return shown


def _signed(part: float | None) -> str:
    return "–" if part is None else f"{part:+.2f}"
