"""A collection from Python: a searchable archive of media files."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from trichord.api.collection_model import model_of
from trichord.api.model import Model, Place, device_of, embedder_of, persistent
from trichord.api.text_encoders import cache_text_encoders
from trichord.media.plan import FrameChoice
from trichord.search.moments import CutKind
from trichord.search.query import By, Query, QueryOptions
from trichord.search.query_model import QueryModel
from trichord.search.query_notes import notes_on
from trichord.types import Clip, Hit, Moment, TextKind, UserError
from trichord.types.plugins import provide

if TYPE_CHECKING:  # Lance and torch are loaded when a collection is opened
    from trichord.models.embedder import Embedder
    from trichord.search.collection import StoredCollection
    from trichord.search.engine import SearchEngine
    from trichord.search.hits import FileHits, SimilarityTimeline
    from trichord.search.indexing import Indexed
    from trichord.speech.transcript import SpokenSegment

log = logging.getLogger("trichord.search")


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
        return f"Collection({self.stored.name!r}, {len(self)} moments)"

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
        embedder, decoder = self.model.embedder, self.model.decoder

        from trichord.search.indexing import index  # with torch

        paths = [Path(place) for place in places]
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
        return self.stored.remove([Path(place) for place in places])

    @overload
    def search(self, text: str | None = None, **options: Unpack[SearchOptions]) -> list[Hit]: ...

    @overload
    def search(
        self, text: list[str] | tuple[str, ...], **options: Unpack[SearchOptions]
    ) -> list[list[Hit]]: ...

    def search(
        self,
        text: str | list[str] | tuple[str, ...] | None = None,
        *,
        k: int = 10,
        rerank: int = 50,
        **parts: Unpack[QueryParts],
    ) -> list[Hit] | list[list[Hit]]:
        """The best `k` moments, best first; for several texts, those of each.

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
        """
        parts.setdefault("fold", True)
        texts = text if isinstance(text, list | tuple) else (text,)
        queries = [Query.of(one, **parts) for one in texts]
        engine = self._current()
        engine.reader.embed_texts(queries)
        found = engine.search_batch([engine.plan(query) for query in queries], k, rerank)
        for note in dict.fromkeys(
            note for query in queries for note in notes_on(query, engine.model)
        ):
            if note not in self._noted:  # once, not with each of many queries
                self._noted.add(note)
                log.warning(note)
        return found if texts is text else found[0]

    def grouped(self, query: Query, k: int = 10, rerank: int = 50) -> "list[FileHits]":
        """The best `k` files with their moments, best first."""
        return self._current().grouped(query, k, rerank)

    def lines(self, file: Place, kind: TextKind = "speech") -> "tuple[SpokenSegment, ...]":
        """What is said in a file, or shown on its screen, in order of time.

        It is stored by `trichord index --transcribe` and `--ocr`; empty if nothing is stored.

        Raises:
            UserError: The archive has no such file.
        """
        from trichord.search.collection import whereabouts

        engine, path = self._current(), str(whereabouts(Path(file)))
        rows = engine.gallery.rows_of(path)
        if rows.start == rows.stop:
            raise UserError(f"{path}: the archive has no moments of such a file: check the path.")
        return engine.texts.lines_of(path, kind)

    def timeline(self, query: Query, file: Place) -> "SimilarityTimeline":
        """The similarity of the query to each moment of a file."""
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


def _on_device(name: str) -> "Embedder":
    return embedder_of(name).to(device_of("auto"))
