"""A collection: an indexed archive, and the model of its vectors."""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from trichord.media.probe import Status
from trichord.search.calibration import Calibration
from trichord.search.description import Description, is_table, parse_description, to_json
from trichord.search.entries import KnownFile
from trichord.search.roots import Root, Roots, beside, path_from, within
from trichord.search.table import MomentTable, Note
from trichord.search.text_table import TextTable
from trichord.storage import Storage
from trichord.types import UserError
from trichord.types.files import is_folder

__all__ = ["Description", "StoredCollection", "files_below", "whereabouts"]

DESCRIPTION = "collection.json"
SUCCESSOR = "reembedding.json"
"""Describes the table that a re-embedding fills while the old one is searched."""
NAMED = 5
"""Folders that an error names."""


class StoredCollection:
    """A folder or bucket with `collection.json` and the Lance table that it names."""

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
            roots=self._read_roots,
        )
        self.texts = TextTable(storage)

    @property
    def name(self) -> str:
        """Its place as given: a folder or `s3://…`."""
        return self.storage.name

    @property
    def path(self) -> Path:
        """The same as a path; `open` accepts it for a bucket too."""
        return Path(self.name)

    @property
    def run(self) -> str:
        """Where its model is: that run or experiment; or the run that was copied along with it."""
        own, local = self.description, self.storage.local
        copied = beside(local, own.relative_run)
        return copied if copied and not is_folder(own.run) and is_folder(copied) else own.run

    @classmethod
    def open(cls, where: str | Path) -> "StoredCollection":
        """Open a collection.

        Args:
            where: Its folder, or `s3://bucket/prefix`.

        Raises:
            UserError: There is none, or it is damaged or of a newer format.
        """
        storage = Storage(where)
        description = _read_description(storage, DESCRIPTION)
        if description is None:
            raise UserError(
                f"{storage.name} is not an archive: make one with 'trichord index PATH... "
                f"{storage.name}'."
            )
        return cls(storage, description)

    @staticmethod
    def is_at(where: str | Path) -> bool:
        """Whether there is a collection at a place."""
        return Storage(where).read(DESCRIPTION) is not None

    @classmethod
    def begin(cls, where: str | Path, description: Description) -> "StoredCollection":
        """Create a collection, or open the existing one to continue it.

        An existing one refers to the run of the description from then on: it may be the same model in
        another place.

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
        if description.run != collection.description.run:
            collection._change(run=description.run)
        return collection

    @staticmethod
    def require_place(where: str | Path, **cut: Any) -> None:
        """Refuse a place that is neither empty nor a collection of such moments.

        Args:
            where: The place.
            cut: How moments are cut: `seconds`, `hop`, `cut`, `frames` and `audio_track` of a description.

        Raises:
            UserError: It holds something else, or moments that are cut in another way.
        """
        storage = Storage(where)
        _require_vacant(storage)
        if storage.read(DESCRIPTION) is not None:
            collection = StoredCollection.open(where)
            collection.require_cut(replace(collection.description, **cut))

    def require(self, fingerprint: str) -> None:
        """Refuse a model other than the one that made the vectors.

        Raises:
            UserError: It is another model.
        """
        if fingerprint != self.description.fingerprint:
            raise UserError(
                f"{self.name} holds vectors of other weights (made by {self.description.run}): use "
                "that run as it was then, embed the archive again (trichord index --reembed), or "
                "index into another folder."
            )

    def require_current(self) -> None:
        """Refuse changes of a table that a re-embedding has replaced.

        Raises:
            UserError: It has been replaced.
        """
        current = (_read_description(self.storage, file) for file in (DESCRIPTION, SUCCESSOR))
        if self.description.table not in {each.table for each in current if each is not None}:
            raise UserError(
                f"{self.name} has been embedded again by another process: open it again, with its "
                "new model."
            )

    def require_cut(self, description: Description) -> None:
        """Refuse moments that are cut in another way.

        Raises:
            UserError: They are.
        """
        own = self.description
        one, other = (
            (each.cut, each.seconds, each.hop, each.frames, each.audio_track)
            for each in (own, description)
        )
        if one != other:
            raise UserError(
                f"{self.name} has moments {_cut(own)}, not {_cut(description)}: leave that as it is "
                "or index into another folder."
            )

    def audio_type(self, token: float | None) -> float | None:
        """The audio type token of a search, from verbal (0) to nonverbal (1); None: that of the run.

        Returns:
            None if audio is stored at a single audio type.

        Raises:
            UserError: A token is given, and audio is stored at a single audio type.
        """
        stored = self.description.audio_types
        if token is not None and not stored:
            raise UserError(
                f"--audio-type: {self.name} holds its sound at one audio type: leave it out, "
                "or index again with a run that takes an audio type token (CLIP4VLA's audio tower)."
            )
        return stored[0] if stored and token is None else token

    def writing(self) -> AbstractContextManager[None]:
        """Lock the collection for a commit; see `Storage.writing`.

        Changes of the table lock it themselves. Lock it around changes that belong together, and no
        longer: other writers wait, and give up after a minute.

        Raises:
            UserError: It cannot be written to, or others locked it for a minute.
        """
        return self.storage.writing()

    def remove(self, places: Sequence[Path]) -> tuple[str, ...]:
        """Remove files, or all files in folders, from the collection. Returns their paths.

        The media files are not touched, and need not exist any more.

        Raises:
            UserError: The collection has no such file, or cannot be changed.
        """
        files = sorted(self.at(places, self.table.files()))
        with self.writing():
            self.table.remove(files)
            self.table.compact()
            self.keep_texts()
        return tuple(files)

    def keep_texts(self) -> None:
        """Delete what is said and shown in files that the collection does not have any more."""
        # A re-embedding may lack files that others index meanwhile.
        if self.file == DESCRIPTION and self.texts.there:
            self.texts.keep(file.version.signature for file in self.table.files().values())

    def at(self, places: Iterable[Path], known: Iterable[str]) -> set[str]:
        """The files that are at these places or in these folders.

        Args:
            places: Files and folders, which need not exist any more.
            known: The files of the collection.

        Raises:
            UserError: There is none at a place.
        """
        result: set[str] = set()
        files = list(known)
        for place in places:
            below = files_below(files, place)
            if not below:
                raise UserError(f"{place}: {self.name} has no such file and none in such a folder.")
            result.update(below)
        return result

    def add_roots(self, places: Sequence[Path], known: Mapping[str, KnownFile]) -> bool:
        """Make folders that are to be indexed roots, unless they lie in roots.

        Args:
            places: Files and folders.
            known: The files of the collection.

        Returns:
            Whether the paths of known files have changed: the collection was copied together with its
            library, and one of the folders is that copy.

        Raises:
            UserError: The collection cannot be written to.
        """
        absolute = map(whereabouts, places)
        folders = {str(place if is_folder(place) else place.parent) for place in absolute}
        before = self.table.roots
        copied = before.mapped(lambda root: self._copied(root, folders, known))
        if copied == before and all(before.of(folder) for folder in folders):
            return False
        with self.writing():
            self._reload()
            roots = self.table.roots.mapped(lambda root: self._copied(root, folders, known))
            self._change(roots=roots.adding(folders, known).roots)
        return copied != before

    def _copied(self, root: Root, folders: set[str], known: Mapping[str, KnownFile]) -> Root:
        """A root; if its copy beside a copied collection is one of the folders, with that path."""
        place = beside(self.storage.local, root.relative)
        if place in ("", root.path) or not any(within(place, folder) for folder in folders):
            return root
        files = [file for file in known.values() if within(file.version.file, root.path)]
        lacking = lacking_at(files, root.path, place)
        return replace(root, path=place) if 2 * len(lacking) < len(files) else root

    def relocate(self, old: str, new: str, *, force: bool = False) -> int:
        """Files of one folder are in another one from now on. Nothing is read again.

        One write of `collection.json` does it, and no row changes.

        Args:
            old: The folder that the collection knows; it need not exist any more.
            new: The folder where the files are now.
            force: Also if the new folder lacks most of the files.

        Returns:
            How many files have another path now.

        Raises:
            UserError: The collection has no files in `old`, or some in `new`; `new` lacks most files; or
                the collection cannot be written to.
        """
        before, after = (str(whereabouts(Path(place))) for place in (old, new))
        with self.writing():
            self._reload()
            known = self.table.files()
            files = [file for path, file in known.items() if within(path, before)]
            if not files:
                tops = sorted({root.path for root in self.table.roots.roots}) or ["none"]
                raise UserError(
                    f"{old}: {self.name} has no files there: name one of its folders "
                    f"({', '.join(tops[:NAMED])}), or a folder in one."
                )
            there = [path for path in known if within(path, after) and not within(path, before)]
            if there:
                raise UserError(
                    f"{new}: {self.name} has {len(there)} files there already: remove those of {old} or "
                    "of the new folder first (trichord index --remove)."
                )
            lacking = lacking_at(files, before, after)
            if 2 * len(lacking) > len(files) and not force:
                raise UserError(
                    f"{new} lacks {len(lacking)} of the {len(files)} files of {old}, such as {lacking[0]}: "
                    "check the path, or give --force."
                )
            paths = [file.version.file for file in files]
            self._change(roots=self.table.roots.relocated(before, after, paths).roots)
        return len(files)

    def annotate(self, file: str | Path, notes: Sequence[Note]) -> None:
        """Replace captions and tags of moments of a file.

        Args:
            file: A file of the collection.
            notes: Start and end of a moment in seconds, its caption (None: none) and its tags; one
                moment may have several notes.

        Raises:
            UserError: The collection has no such file or moment, or cannot be changed.
        """
        self.table.annotate(str(whereabouts(Path(file))), notes)

    def counts(self) -> dict[Status, int]:
        """How many moments have each status; an unusable file counts as one."""
        return Counter(status for file in self.table.files().values() for status in file.statuses)

    @property
    def calibrated(self) -> bool:
        """Whether the scales of scores were measured on the current version of the table."""
        own = self.description
        measured = own.calibration is not None and own.calibration.complete
        return measured and own.calibrated == self.table.version

    @contextmanager
    def keeping_scales(self) -> Generator[None]:
        """Lock the collection for changes that leave all vectors as they are: scales stay valid."""
        with self.writing():
            calibrated = self.calibrated
            yield
            if calibrated and not self.calibrated:
                self._change(calibrated=self.table.version)

    def keep(self, calibration: Calibration, version: int) -> None:
        """Store the scales of scores, unless those of a newer version of the table are stored.

        Args:
            calibration: The scales.
            version: Version of the table that they were measured on.
        """
        with self.writing():
            self._reload()
            if self.description.calibrated <= version:
                self._change(calibration=calibration, calibrated=version)

    def weigh(self, visual: float, audio: float) -> None:
        """Store the default visual and audio weight of searches."""
        self._change(weighting=(visual, audio))

    def reembedding(self, description: Description) -> "StoredCollection":
        """Begin or continue a re-embedding: a second table, for vectors of another model.

        The result is indexed into like any collection, while this one is searched as before. An
        interrupted re-embedding continues; one for a third model is deleted. If the collection already
        is of this model, the result is the collection itself.

        Args:
            description: Of the new model; with the moments of this collection.

        Raises:
            UserError: The moments are cut in another way, or the place cannot be written to.
        """
        self.require_cut(description)
        with self.writing():
            self.require_current()  # or `_tidy` would delete another process's table
            if self.description.fingerprint == description.fingerprint:
                self._tidy()
                return self
            successor_description = _read_description(self.storage, SUCCESSOR)
            if (
                successor_description is None
                or successor_description.fingerprint != description.fingerprint
            ):
                mark = blake2b(description.fingerprint.encode(), digest_size=6).hexdigest()
                roots = self.description.roots
                successor_description = replace(
                    description, table=f"moments-{mark}.lance", roots=roots
                )
            successor = StoredCollection(self.storage, successor_description, SUCCESSOR)
            successor._write()
            self._tidy(keep=successor_description.table)
            return successor

    def switch(self) -> "StoredCollection":
        """Replace the old table by the re-embedded one.

        Captions and tags of moments in both tables are copied. It can be interrupted anywhere: a single
        write at the end replaces the old table, and the next call, or the next `reembedding`, finishes the
        rest.

        Returns:
            The collection with its new table; itself if it is not a re-embedding.
        """
        if self.file == DESCRIPTION:
            return self
        with self.writing():
            self.require_current()  # another re-embedding may have taken its place
            old = StoredCollection.open(self.name)
            if old.description.table != self.table.name:
                with self.keeping_scales():
                    self.table.annotate_same(old.table.notes())
                old = StoredCollection(self.storage, self.description)
                old._write()
            old._tidy()
        return old

    def _tidy(self, keep: str = "") -> None:
        """Delete tables that are neither searched nor `keep`."""
        if not keep:
            self.storage.remove(SUCCESSOR)
        for name in self.storage.names():
            if is_table(name) and name not in (self.description.table, keep):
                self.storage.remove(name)

    def _change(self, **changes: Any) -> None:
        with self.writing():
            self._reload()
            self.description = replace(self.description, **changes)
            self._write()

    def _reload(self) -> None:
        """Read the description again: another process may have changed it."""
        self.require_current()
        self.description = _read_description(self.storage, self.file) or self.description
        self.table.roots = self._found_roots()

    def _read_roots(self) -> Roots:
        """The roots as they are stored now."""
        if stored := _read_description(self.storage, self.file):
            return Roots(stored.roots).found(self.storage.local)
        return self._found_roots()

    def _found_roots(self) -> Roots:
        return Roots(self.description.roots).found(self.storage.local)

    def _write(self) -> None:
        own, local = self.description, self.storage.local
        roots = Roots(own.roots).noted(local).roots
        relative = path_from(local, own.run) if is_folder(own.run) else own.relative_run
        self.description = replace(own, roots=roots, relative_run=relative)
        self.storage.write(self.file, to_json(self.description))
        self.table.roots = self._found_roots()


def _read_description(storage: Storage, file: str) -> Description | None:
    content = storage.read(file)
    return None if content is None else parse_description(content, storage.uri(file))


def _cut(description: Description) -> str:
    kind = "by shots, " if description.cut == "shots" else ""
    frames = ", by keyframes" if description.frames == "keyframe" else ""
    track = f", of audio track {description.audio_track}" if description.audio_track else ""
    return f"{kind}of {description.seconds:g} s every {description.hop:g} s{frames}{track}"


def _require_vacant(storage: Storage) -> None:
    if storage.read(DESCRIPTION) is not None or storage.vacant():
        return
    # Read again: another process may just have created it.
    if storage.read(DESCRIPTION) is None:
        raise UserError(f"{storage.name} is not empty and no archive: choose another folder.")


def files_below(files: Iterable[str], place: Path) -> list[str]:
    """The files that are this place or in this folder."""
    absolute = whereabouts(place)
    return [file for file in files if Path(file).is_relative_to(absolute)]


def lacking_at(files: Iterable[KnownFile], old: str, new: str) -> list[str]:
    """The paths in a new folder at which files of an old one, of the same size, are not."""
    lacking: list[str] = []
    for file in files:
        path = new + file.version.file[len(old) :]
        try:
            there = Path(path).stat().st_size == file.version.size
        except OSError:
            there = False
        if not there:
            lacking.append(path)
    return lacking


def whereabouts(place: Path) -> Path:
    """The absolute path of a place: links to folders are resolved, a linked file is not."""
    return place.resolve() if is_folder(place) else place.parent.resolve() / place.name
