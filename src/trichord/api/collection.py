"""A collection from Python: a searchable archive of media files."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from trichord.api.collection_model import model_of
from trichord.api.hits import Hits
from trichord.api.model import Model, Place, device_of, embedder_of, persistent
from trichord.api.text_encoders import cache_text_encoders
from trichord.media.plan import FrameChoice
from trichord.media.probe import USABLE
from trichord.search.moments import CutKind
from trichord.search.query import By, Query, QueryOptions
from trichord.search.query_model import QueryModel
from trichord.search.query_notes import notes_on
from trichord.types import Clip, Moment, TextKind, UserError
from trichord.types.arguments import UserTypeError, described, require_options, whole
from trichord.types.notebook import facts, one_line, readable
from trichord.types.plugins import provide
from trichord.types.rules import require

if TYPE_CHECKING:  # Lance and torch are loaded when a collection is opened
    from trichord.models.embedder import Embedder
    from trichord.search.collection import StoredCollection
    from trichord.search.engine import SearchEngine
    from trichord.search.hits import FileHits, SimilarityTimeline
    from trichord.search.indexing import Indexed
    from trichord.speech.transcript import SpokenSegment

log = logging.getLogger("trichord.search")

TEXTS: dict[TextKind, str] = {"speech": "speech", "screen": "text on the screen"}


class QueryParts(QueryOptions, total=False):
    """The parts of a query beside its text, and its options; see `Query.of`."""

    image: Place | None
    audio: Place | None
    video: Place | None
    like: Moment | None
    by: By


class SearchOptions(QueryParts, total=False):
    """What `Collection.search` takes beside a text."""

    k: int
    rerank: int


class Collection:
    """Moments of media files, found by words, sounds, pictures and clips.

    `open` an existing one or `create` one; then `add` files and `search`. A search also finds what
    other processes have added.

    Attributes:
        stored: The collection on disk.
        model: The model that made its vectors.
    """

    def __init__(self, stored: "StoredCollection", model: Model) -> None:
        _require_model(model)
        stored.require(model.fingerprint)
        self.stored = stored
        self.model = model
        self._engine: SearchEngine | None = None
        self._noted = set[str]()

    @classmethod
    def open(
        cls, where: Place, model: Model | None = None, *, parts: Sequence[Any] = ()
    ) -> "Collection":
        """Open a collection.

        If its text encoders are available as ONNX graphs, only they are loaded, without torch. If not,
        the model is loaded and the graphs are written to the cache once, which takes some seconds.

        Args:
            where: Its folder, or `s3://bucket/prefix`.
            model: The one that made it, if it is already loaded.
            parts: As for `trichord.load`.

        Raises:
            UserError: It is missing or damaged, or was made by another model.
        """
        from trichord.search.collection import StoredCollection

        provide(parts)
        stored = StoredCollection.open(where)
        if model is None:
            loaded = model_of(stored, _on_device)
            if not isinstance(loaded, QueryModel):
                cache_text_encoders(stored, loaded)
            model = Model(stored.run, loaded)
        return cls(stored, model)

    @classmethod
    def create(
        cls,
        where: Place,
        model: Model,
        *,
        seconds: float = 10.0,
        hop: float | None = None,
        cut: CutKind = "window",
        frames: FrameChoice = "exact",
    ) -> "Collection":
        """Make a collection, or open an existing one of the same model and moments.

        Args:
            where: An empty or new folder, or `s3://bucket/prefix`.
            model: Makes the vectors.
            seconds: Length of a moment.
            hop: Seconds between the starts of moments; None: half their length.
            cut: `shots`: a moment is a shot, and `seconds` and `hop` are of the long ones.
            frames: `keyframe`: decode only keyframes, the last before each time.

        Raises:
            UserError: The folder has other content, or moments of another model or length.
        """
        from trichord.search.indexing import begin

        _require_model(model)
        name = persistent(model.name)
        return cls(begin(where, name, model.embedder, seconds, hop, cut, frames), model)

    def __enter__(self) -> "Collection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """How many moments can be found."""
        return sum(file.moments for file in self.stored.table.files().values())

    def __repr__(self) -> str:
        return one_line("Collection", self.stored.name, readable(self._summary))

    def _repr_html_(self) -> str:
        return facts(f"Collection {self.stored.name}", readable(self._summary))

    def _summary(self) -> dict[str, object]:
        files = self.stored.table.files().values()
        unusable = sum(not any(status in USABLE for status in file.statuses) for file in files)
        lines = Counter(one["kind"] for one in self.stored.texts.markers() if one["lines"])
        texts = {f"files with {TEXTS[kind]}": count for kind, count in sorted(lines.items())}
        return {
            "files": len(files),
            **({"unusable files": unusable} if unusable else {}),
            "moments": sum(file.moments for file in files),
            "model": self.model.name,
            **texts,
        }

    def close(self) -> None:
        """Stop the decoding processes."""
        self.model.close()

    def add(
        self, *places: Place, metadata: Sequence[Clip] = (), prune: bool = False
    ) -> "list[Indexed]":
        """Update it from files and folders; returns the result for each file.

        Unchanged files are skipped. Files that are no longer in the folders stay, as `missing`, and
        searches leave them out. An interrupted call loses nothing; call it again.

        Args:
            places: Media files and folders.
            metadata: Clips of a manifest, whose captions and labels go to their moments.
            prune: Remove files that are no longer in the folders.

        Raises:
            UserError: A place is missing or has no media.
        """
        return list(self.adding(*places, metadata=metadata, prune=prune))

    def adding(
        self, *places: Place, metadata: Sequence[Clip] = (), prune: bool = False
    ) -> "Iterator[Indexed]":
        """As `add`, but yields each file as soon as it is stored, for long work."""
        paths = _paths(places, "add")
        if isinstance(metadata, str | PathLike):
            raise UserTypeError(
                f"metadata={described(metadata)}: give clips: read_manifest(Path({str(metadata)!r})), of "
                "trichord.corpora.manifest."
            )
        embedder, decoder = self.model.embedder, self.model.decoder

        from trichord.search.indexing import index  # with torch

        yield from index(self.stored, embedder, decoder, paths, metadata=metadata, prune=prune)

    def relocate(self, old: Place, new: Place, *, force: bool = False) -> int:
        """Say that the files of one folder are in another one now; returns how many.

        Nothing is read again.

        Args:
            old: The folder as the collection knows it.
            new: The folder now.
            force: Also if the new folder lacks most of the files.

        Raises:
            UserError: It has no such files, or the new folder lacks most of them.
        """
        return self.stored.relocate(str(old), str(new), force=force)

    def remove(self, *places: Place) -> tuple[str, ...]:
        """Remove files, or all files below folders, and return their paths. The media are kept.

        Raises:
            UserError: It has no such files.
        """
        return self.stored.remove(_paths(places, "remove"))

    @overload
    def search(self, text: str | None = None, **options: Unpack[SearchOptions]) -> Hits: ...

    @overload
    def search(
        self, text: list[str] | tuple[str, ...], **options: Unpack[SearchOptions]
    ) -> list[Hits]: ...

    def search(
        self,
        text: str | list[str] | tuple[str, ...] | None = None,
        *,
        k: int = 10,
        rerank: int = 50,
        **parts: Unpack[QueryParts],
    ) -> Hits | list[Hits]:
        """The best `k` moments, best first, as a list of `Hit`; for several texts, a list of those of each.

        Moments of one scene, and near-copies, are one hit, with the others in its `more`
        (`fold=False`: each is a hit). `hit.chance` is how likely the best of as many unrelated moments
        scores as high, and `hit.weak` hits are likely to be no more than that.

        What the model does not read of the texts (their end, letters of other scripts) is logged as a
        warning, each sentence once.

        Args:
            text: A description, or several; in `dog -leash` what fits the word after the minus comes
                last.
            k: Number of hits.
            rerank: Number of hits that a pairwise fusion ranks again; 0: none.
            parts: `image`, `audio`, `video`: a similar picture, sound or clip. `like`: a similar moment
                of this collection, as `hit.moment`; `by`: which modality of it counts. `visual_weight`,
                `audio_weight`, `caption_weight`, `audio_type`, `where` (a filter), `min_score`, `fold`:
                see `trichord.search.query.Query`.

        Raises:
            UserError: The query is empty, a file cannot be read, or a weight is invalid.
            UserTypeError: An argument is unknown, or of the wrong type.
        """
        require_options(parts, SearchOptions.__optional_keys__, "search")
        k, rerank = whole("k", k), whole("rerank", rerank)
        parts.setdefault("fold", True)
        texts = text if isinstance(text, list | tuple) else (text,)
        queries = [Query.of(one, **parts) for one in texts]
        engine = self._current()
        engine.reader.embed_texts(queries)
        plans = [engine.plan(query) for query in queries]
        found = [Hits(hits, engine.collection) for hits in engine.search_batch(plans, k, rerank)]
        for note in dict.fromkeys(
            note for query in queries for note in notes_on(query, engine.model)
        ):
            if note not in self._noted:  # once, not with each of many queries
                self._noted.add(note)
                log.warning(note)
        return found if texts is text else found[0]

    def grouped(self, query: Query, k: int = 10, rerank: int = 50) -> "list[FileHits]":
        """The best `k` files with their moments, best first."""
        _require_query(query, "grouped")
        return self._current().grouped(query, whole("k", k), whole("rerank", rerank))

    def lines(self, file: Place, kind: TextKind = "speech") -> "tuple[SpokenSegment, ...]":
        """What is said in a file, or shown on its screen, in order of time.

        It is stored by `trichord index --transcribe` and `--ocr`; empty if nothing is stored.

        Raises:
            UserError: The archive has no such file.
        """
        require(kind in TEXTS, f"kind={kind!r}: give {' or '.join(TEXTS)}.")
        from trichord.search.collection import whereabouts

        engine, path = self._current(), str(whereabouts(Path(file)))
        rows = engine.gallery.rows_of(path)
        if rows.start == rows.stop:
            raise UserError(f"{path}: the archive has no moments of such a file: check the path.")
        return engine.texts.lines_of(path, kind)

    def timeline(self, query: Query, file: Place) -> "SimilarityTimeline":
        """The similarity of the query to each moment of a file."""
        _require_query(query, "timeline")
        from trichord.search.collection import whereabouts

        return self._current().timeline(query, str(whereabouts(Path(file))))

    def _current(self) -> "SearchEngine":
        """The search engine, up to date with the collection."""
        from trichord.search.engine import SearchEngine

        if self._engine is None:
            self._engine = SearchEngine(self.stored, self.model.queries, self.model.decoder)
        else:
            self._engine.refresh()
        return self._engine


def _require_model(model: Any) -> None:
    if not isinstance(model, Model):
        raise UserTypeError(f"model={described(model)}: give trichord.load({str(model)!r}).")


def _require_query(query: Any, call: str) -> None:
    if not isinstance(query, Query):
        raise UserTypeError(
            f"{call} takes a query, and {described(query)}: write Query.of({str(query)!r}), with "
            "trichord.search.query.Query."
        )


def _paths(places: Sequence[Any], call: str) -> list[Path]:
    """The places as paths.

    Raises:
        UserTypeError: One is something else, such as a list of paths.
    """
    for place in places:
        if not isinstance(place, str | PathLike):
            raise UserTypeError(f"{described(place)}: give paths one by one, as in {call}(*paths).")
    return [Path(place) for place in places]


def _on_device(name: str) -> "Embedder":
    return embedder_of(name).to(device_of("auto"))
