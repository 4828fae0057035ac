"""A collection from Python: an archive of media files that can be asked."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from trichord.api.collection_model import model_of
from trichord.api.model import Model, Place, device_of, embedder_of, persistent
from trichord.api.text_encoders import cache_text_encoders
from trichord.media.plan import FrameChoice
from trichord.search.moments import CutKind
from trichord.search.query import By, Query, QueryOptions
from trichord.search.query_model import QueryModel
from trichord.types import Clip, Hit, Moment
from trichord.types.plugins import provide

if TYPE_CHECKING:  # Lance and torch are loaded when a collection is opened
    from trichord.models.embedder import Embedder
    from trichord.search.collection import Collection as Stored
    from trichord.search.engine import SearchEngine
    from trichord.search.grouping import FileHits
    from trichord.search.indexing import Indexed
    from trichord.search.timeline import SimilarityTimeline


class Collection:
    """Moments of media files, found by words, sounds, pictures and clips.

    `open` one that is there, or `create` one; then `add` files and `search`. What another process
    adds meanwhile is found too.

    Attributes:
        stored: What lies on the disk.
        model: That made its vectors.
    """

    def __init__(self, stored: "Stored", model: Model) -> None:
        stored.require(model.fingerprint)
        self.stored = stored
        self.model = model
        self._engine: SearchEngine | None = None

    @classmethod
    def open(
        cls, where: Place, model: Model | None = None, *, parts: Sequence[Any] = ()
    ) -> "Collection":
        """Open a collection.

        Only its text encoders are loaded, without torch, where they are there as ONNX graphs. Where they
        are not, the model is loaded, and they are written to its cache once, which takes some seconds.

        Args:
            where: Its folder, or `s3://bucket/prefix`.
            model: The one that made it, where it is loaded already.
            parts: As for `trichord.load`.

        Raises:
            UserError: There is none, it is damaged, or the model is another one.
        """
        from trichord.search.collection import Collection as Stored

        provide(parts)
        stored = Stored.open(where)
        if model is None:
            loaded = model_of(stored, _on_device)
            if not isinstance(loaded, QueryModel):
                cache_text_encoders(stored, loaded)
            model = Model(str(stored.description.run), loaded)
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
        """Make a collection, or open the one that is there with the same model and moments.

        Args:
            where: An empty or new folder, or `s3://bucket/prefix`.
            model: Makes the vectors.
            seconds: Length of a moment.
            hop: Seconds between the starts of moments; None: half their length.
            cut: `shots`: a moment is a shot, and `seconds` and `hop` are of the long ones.
            frames: `keyframe`: only keyframes are decoded, those before the times meant.

        Raises:
            UserError: The place holds something else, or moments of another model or length.
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
        return sum(known.moments for known in self.stored.table.files().values())

    def __repr__(self) -> str:
        return f"Collection({self.stored.name!r}, {len(self)} moments)"

    def close(self) -> None:
        """End the processes that decode."""
        self.model.close()

    def add(self, *places: Place, metadata: Sequence[Clip] = ()) -> "list[Indexed]":
        """Bring it up to date with files and folders; gives what became of each file.

        Unchanged files are skipped, those gone from the folders are taken out. Interrupted, it loses
        nothing; call it again.

        Args:
            places: Media files and folders.
            metadata: Clips of a manifest, whose captions and labels go to the moments that they are of.

        Raises:
            UserError: A place is missing or has no media.
        """
        return list(self.adding(*places, metadata=metadata))

    def adding(self, *places: Place, metadata: Sequence[Clip] = ()) -> "Iterator[Indexed]":
        """The same, each file once it is stored: for long work."""
        embedder, decoder = self.model.embedder, self.model.decoder

        from trichord.search.indexing import index  # with torch

        paths = [Path(place) for place in places]
        yield from index(self.stored, embedder, decoder, paths, metadata=metadata)

    def remove(self, *places: Place) -> tuple[str, ...]:
        """Take files, or all below folders, out; the media themselves stay. Gives their paths.

        Raises:
            UserError: It has nothing there.
        """
        return self.stored.remove([Path(place) for place in places])

    def search(
        self,
        text: str | None = None,
        *,
        image: Place | None = None,
        audio: Place | None = None,
        video: Place | None = None,
        like: Moment | None = None,
        by: By = "both",
        k: int = 10,
        rerank: int = 50,
        **options: Unpack[QueryOptions],
    ) -> list[Hit]:
        """The best `k` moments, best first.

        Args:
            text: What to look and listen for; `dog -leash` stays away from what follows the minus.
            image: A picture to look like.
            audio: A sound to sound like.
            video: A clip to look and sound like.
            like: A moment of this collection to be like, as `hit.moment`.
            by: What of that moment counts.
            k: How many.
            rerank: How many a fusion that reads text and moment together looks at again; 0: none.
            options: `visual_weight`, `audio_weight`, `caption_weight`, `audio_type`, `where` (a filter);
                see `trichord.search.query.Query`.

        Raises:
            UserError: Nothing is asked for, a file cannot be read, or a weight makes no sense.
        """
        query = Query.of(text, image=image, audio=audio, video=video, like=like, by=by, **options)
        return self._current().search(query, k, rerank)

    def grouped(self, query: Query, k: int = 10, rerank: int = 50) -> "list[FileHits]":
        """The best `k` files with their moments, best first."""
        return self._current().grouped(query, k, rerank)

    def timeline(self, query: Query, file: Place) -> "SimilarityTimeline":
        """How similar each moment of a file is to the query: a similarity timeline."""
        from trichord.search.collection import whereabouts

        return self._current().timeline(query, str(whereabouts(Path(file))))

    def _current(self) -> "SearchEngine":
        """The engine, with what has been stored up to now."""
        from trichord.search.engine import SearchEngine

        if self._engine is None:
            self._engine = SearchEngine(self.stored, self.model.queries, self.model.decoder)
        else:
            self._engine.refresh()
        return self._engine


def _on_device(name: str) -> "Embedder":
    return embedder_of(name).to(device_of("auto"))
