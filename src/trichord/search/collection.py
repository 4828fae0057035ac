"""A collection: an indexed archive, and which model its vectors are of."""

from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from trichord.media.probe import Status
from trichord.search.calibration import Calibration
from trichord.search.description import Description, described, is_table, written
from trichord.search.table import MomentTable, Note
from trichord.storage import Storage
from trichord.types import UserError

__all__ = ["Collection", "Description", "under", "whereabouts"]

DESCRIPTION = "collection.json"
SUCCESSOR = "reembedding.json"
"""Describes the table that is being filled beside the one that is searched."""


class Collection:
    """A place with `collection.json` and the Lance table that this names."""

    def __init__(self, storage: Storage, description: Description, file: str = DESCRIPTION) -> None:
        self.storage = storage
        self.description = description
        self.file = file
        self.table = MomentTable(
            storage,
            description.table,
            description.vision_dim,
            description.audio_dim,
            description.audio_types,
            fingerprint=description.fingerprint,
            require=self.require_current,
        )

    @property
    def name(self) -> str:
        """Where it lies, as it was given: a folder or `s3://…`."""
        return self.storage.name

    @property
    def path(self) -> Path:
        """The same as a path, which `open` takes for a bucket too."""
        return Path(self.name)

    @classmethod
    def open(cls, where: str | Path) -> "Collection":
        """Open a collection.

        Args:
            where: Its folder, or `s3://bucket/prefix`.

        Raises:
            UserError: There is none, or it is damaged or of a newer format.
        """
        storage = Storage(where)
        there = _described(storage, DESCRIPTION)
        if there is None:
            raise UserError(
                f"{storage.name} is not a collection: make one with 'trichord index PATH... "
                f"{storage.name}'."
            )
        return cls(storage, there)

    @staticmethod
    def is_at(where: str | Path) -> bool:
        """Whether there is a collection."""
        return Storage(where).read(DESCRIPTION) is not None

    @classmethod
    def begin(cls, where: str | Path, description: Description) -> "Collection":
        """Make a collection, or open the one that is there to go on with it.

        Raises:
            UserError: The place holds something else, or moments of another model or length.
        """
        storage = Storage(where)
        _require_vacant(storage)
        with storage.writing():
            if storage.read(DESCRIPTION) is None:
                collection = cls(storage, description)
                collection._write()
                return collection
        collection = cls.open(where)
        collection.require(description.fingerprint)
        collection.require_cut(description)
        return collection

    @staticmethod
    def require_place(where: str | Path, **cut: Any) -> None:
        """Refuse a place that can neither become a collection nor is one of such moments.

        Args:
            where: The place.
            cut: How moments are cut: `seconds`, `hop`, `cut` and `frames` of a description.

        Raises:
            UserError: It holds something else, or moments that are cut in another way.
        """
        storage = Storage(where)
        _require_vacant(storage)
        if storage.read(DESCRIPTION) is not None:
            there = Collection.open(where)
            there.require_cut(replace(there.description, **cut))

    def require(self, fingerprint: str) -> None:
        """Refuse a model other than the one that made the vectors.

        Raises:
            UserError: It is another one.
        """
        if fingerprint != self.description.fingerprint:
            raise UserError(
                f"{self.name} holds vectors of other weights (made by {self.description.run}): use "
                "that run as it was then, embed the collection anew (trichord index --reembed), or "
                "index into another folder."
            )

    def require_current(self) -> None:
        """Refuse a change of a table that a re-embedding has replaced in the meantime.

        Raises:
            UserError: It has.
        """
        there = (_described(self.storage, file) for file in (DESCRIPTION, SUCCESSOR))
        if self.description.table not in {one.table for one in there if one is not None}:
            raise UserError(
                f"{self.name} has been embedded anew by another process: open it again, with the "
                "model that it is of now."
            )

    def require_cut(self, description: Description) -> None:
        """Refuse moments that are cut in another way.

        Raises:
            UserError: They are.
        """
        there = self.description
        if (there.cut, there.seconds, there.hop, there.frames) != (
            description.cut, description.seconds, description.hop, description.frames
        ):  # fmt: skip
            raise UserError(
                f"{self.name} has moments {_cut(there)}, not {_cut(description)}: leave that as it is "
                "or index into another folder."
            )

    def audio_type(self, asked: float | None) -> float | None:
        """The audio type of a search, from verbal (0) to nonverbal (1): as asked, or that of the run.

        Returns:
            None where sound is stored at one audio type and there is nothing to choose.

        Raises:
            UserError: One is asked for, and there is nothing to choose.
        """
        stored = self.description.audio_types
        if asked is not None and not stored:
            raise UserError(
                f"--audio-type: {self.name} holds its sound at one audio type: leave it out, "
                "or index anew with a run that listens at one (CLIP4VLA's audio tower)."
            )
        return stored[0] if stored and asked is None else asked

    @contextmanager
    def writing(self) -> Generator[None]:
        """Hold the collection for a commit; see `Storage.writing`.

        The table's own changes do this themselves. Hold it around what must not be parted, and no
        longer: other writers wait, and give up after a minute.

        Raises:
            UserError: It cannot be written to, or others held it for a minute.
        """
        with self.storage.writing():
            yield

    def remove(self, places: Sequence[Path]) -> tuple[str, ...]:
        """Take files, or all files under folders, out of the collection; gives their paths.

        The media files themselves are not touched, and need not exist any more.

        Raises:
            UserError: The collection has no file there, or cannot be changed.
        """
        chosen = sorted(self.at(places, self.table.files()))
        with self.writing():
            self.table.remove(chosen)
            self.table.compact()
        return tuple(chosen)

    def at(self, places: Iterable[Path], known: Iterable[str]) -> set[str]:
        """Which of its files are these places or lie below them.

        Args:
            places: Files and folders, which need not exist any more.
            known: The files of the collection.

        Raises:
            UserError: There is none at a place.
        """
        chosen: set[str] = set()
        files = list(known)
        for place in places:
            below = under(files, place)
            if not below:
                raise UserError(f"{place}: {self.name} has no such file and none in such a folder.")
            chosen.update(below)
        return chosen

    def annotate(self, file: str | Path, notes: Sequence[Note]) -> None:
        """Say what moments of a file show, in words and tags, to search by.

        Args:
            file: A file of the collection.
            notes: Start and end of a moment in seconds, its caption (None: none) and its tags,
                which replace what was said of it before; of one moment there may be several.

        Raises:
            UserError: The collection has no such file or moment, or cannot be changed.
        """
        self.table.annotate(str(whereabouts(Path(file))), notes)

    def counts(self) -> dict[Status, int]:
        """How many moments have each status; a file that cannot be used counts as one."""
        return Counter(status for one in self.table.files().values() for status in one.statuses)

    @property
    def calibrated(self) -> bool:
        """Whether the scales of scores were measured on the table as it is now."""
        there = self.description
        return there.calibration is not None and there.calibrated == self.table.version

    def keep(self, calibration: Calibration, version: int) -> None:
        """Store the scales of scores; those of a newer version of the table stay.

        Args:
            calibration: The scales.
            version: Of the table, that they were measured on.
        """
        with self.writing():
            self._look_again()
            if self.description.calibrated <= version:
                self._change(calibration=calibration, calibrated=version)

    def weigh(self, visual: float, audio: float) -> None:
        """Store how much sight and sound count in a search that does not say."""
        self._change(weighting=(visual, audio))

    def reembedding(self, description: Description) -> "Collection":
        """A table for vectors of another model beside this one, to be filled and then switched to.

        What comes back is indexed into as any collection is; meanwhile this one is searched as
        before. One that was interrupted goes on; one for a third model is thrown away. A collection
        that is of this model already is its own.

        Args:
            description: Of the new model; the length of moments is this collection's.

        Raises:
            UserError: The moments are to have another length, or the place cannot be written to.
        """
        self.require_cut(description)
        with self.writing():
            self.require_current()  # another process's table must not be tidied away
            if self.description.fingerprint == description.fingerprint:
                self._tidy()
                return self
            begun = _described(self.storage, SUCCESSOR)
            if begun is None or begun.fingerprint != description.fingerprint:
                mark = blake2b(description.fingerprint.encode(), digest_size=6).hexdigest()
                begun = replace(description, table=f"moments-{mark}.lance")
            successor = Collection(self.storage, begun, SUCCESSOR)
            successor._write()
            self._tidy(keep=begun.table)
            return successor

    def switch(self) -> "Collection":
        """Search the re-embedded table from now on, and delete the old one.

        Captions and tags of moments that both have are taken along. It can be interrupted anywhere:
        until a single write at the end the old table is searched, after it the new one, and what is
        left to do is done by the next call, or by the next `reembedding`.

        Returns:
            The collection with its new table; itself where it is no re-embedding.
        """
        if self.file == DESCRIPTION:
            return self
        with self.writing():
            self.require_current()  # another re-embedding may have taken its place
            old = Collection.open(self.name)
            if old.description.table != self.table.name:
                measured = self.calibrated
                self.table.annotate_same(old.table.notes())
                if measured:  # on vectors, which annotating leaves as they are
                    self._change(calibrated=self.table.version)
                old = Collection(self.storage, self.description)
                old._write()
            old._tidy()
        return old

    def _tidy(self, keep: str = "") -> None:
        """Delete tables that are neither searched nor, under this name, being filled."""
        if not keep:
            self.storage.remove(SUCCESSOR)
        for name in self.storage.names():
            if is_table(name) and name not in (self.description.table, keep):
                self.storage.remove(name)

    def _change(self, **changes: Any) -> None:
        with self.writing():
            self._look_again()
            self.description = replace(self.description, **changes)
            self._write()

    def _look_again(self) -> None:
        """See what another process may have changed."""
        self.require_current()
        self.description = _described(self.storage, self.file) or self.description

    def _write(self) -> None:
        self.storage.write(self.file, written(self.description))


def _described(storage: Storage, file: str) -> Description | None:
    content = storage.read(file)
    return None if content is None else described(content, storage.uri(file))


def _cut(description: Description) -> str:
    kind = "by shots, " if description.cut == "shots" else ""
    seen = ", seen by keyframes" if description.frames == "keyframe" else ""
    return f"{kind}of {description.seconds:g} s every {description.hop:g} s{seen}"


def _require_vacant(storage: Storage) -> None:
    if storage.read(DESCRIPTION) is not None or storage.vacant():
        return
    # Looked at once more: another process may have begun it just now.
    if storage.read(DESCRIPTION) is None:
        raise UserError(f"{storage.name} is not empty and no collection: choose another folder.")


def under(files: Iterable[str], place: Path) -> list[str]:
    """Those files that are this place or lie below it."""
    absolute = whereabouts(place)
    return [file for file in files if Path(file).is_relative_to(absolute)]


def whereabouts(place: Path) -> Path:
    """The absolute path of a place: links on the way to it are followed, a linked file is not."""
    return place.resolve() if place.is_dir() else place.parent.resolve() / place.name
