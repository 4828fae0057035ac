"""Files of a collection made as they are now: read, taken over from another name, or taken out."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trichord.media.decoder import Decoder
from trichord.media.overlap import Overlap
from trichord.media.probe import USABLE, Status
from trichord.search.background import calibrate_for
from trichord.search.calibration import MOMENTS
from trichord.search.collection import Collection
from trichord.search.cutting import Cut, cut_files
from trichord.search.notes import NoteTaker
from trichord.search.reading import batches, read_files
from trichord.search.survey import Survey, survey
from trichord.search.table import Entry, FileEntries, FileVersion, KnownFile, Note

if TYPE_CHECKING:  # the service knows of changes without torch
    from trichord.models.embedder import Embedder

Change = Literal["unchanged", "same", "new", "changed", "removed"]
"""`same`: the bytes were known already, under this name or another, and kept their vectors."""

BEST_FIRST: tuple[Status, ...] = (
    "ok", "no_audio", "no_video", "silent", "corrupt", "too_big", "timeout", "unsupported",
)  # fmt: skip
"""A file is called what its best moment is called."""
MOMENTS_A_COMMIT = 64
"""Moments after which whole files are stored: about what an interruption can cost."""
FILES_AT_ONCE = 16
"""Files whose vectors are taken over together."""
FILES_TOLD = 256
"""Files of which a manifest's words are stored together."""
ENTRIES_AHEAD = 2 * MOMENTS_A_COMMIT
"""Moments with vectors that wait while others are being stored."""
CHANGES_AHEAD = 64
"""Stored files that wait for whoever reads what became of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """A file that is done and stored.

    `status` is that of its best moment, `reason` says why where nothing could be used; `moments` is
    how many of its moments can be found.
    """

    file: str
    change: Change
    status: Status
    reason: str = ""
    moments: int = 0


Readers = Callable[[Sequence[FileVersion]], Iterator[Indexed]]
"""What reads files and stores them."""


@dataclass(frozen=True, slots=True)
class Update:
    """What files are brought up to date with: into which collection, by what, and what is noted."""

    collection: Collection
    model: "Embedder"
    decoder: Decoder
    taker: NoteTaker

    def run(
        self,
        known: dict[str, KnownFile],
        files: Sequence[Path],
        gone: Sequence[str],
        read: Readers | None = None,
    ) -> Iterator[Indexed]:
        """Bring files up to date and take others out; gives each once that is stored.

        Args:
            known: The files of the collection.
            files: Media files as they are named in the collection, sorted.
            gone: Files of the collection to take out.
            read: Reads and stores files in the place of `self.read`.
        """
        plan = survey(known, files)
        yield from _skipped(plan)
        self._tell(plan)
        yield from self._take_over(plan)
        yield from (read or self.read)(plan.read)
        self.collection.table.remove(gone)
        yield from (_known(known[file], "removed") for file in gone)

    def read(self, versions: Sequence[FileVersion]) -> Iterator[Indexed]:
        """Read files and store them, some at a time; those that the collection has are skipped.

        It can be repeated and shared out: each file is stored whole, in the place of what was known
        of it, by whoever reads it last.
        """
        known = self.collection.table.files([version.file for version in versions])
        there = {v.file for v in versions if v.file in known and _same(v, known[v.file].version)}
        yield from (_known(known[file], "unchanged") for file in sorted(there))
        todo = [version for version in versions if version.file not in there]
        with Overlap() as overlap:
            yield from overlap.ahead(self._read(todo, known, overlap), CHANGES_AHEAD)

    def _tell(self, plan: Survey) -> None:
        """Say of unchanged files what is told of them, where nothing was said."""
        files = [one.version.file for one in plan.unchanged if one.version.file in self.taker.told]
        table = self.collection.table
        for group in batches(files, FILES_TOLD):
            with self.collection.writing():  # what another process says meanwhile stays
                said = table.notes(group)
                told: dict[str, list[Note]] = defaultdict(list)
                for moment in table.moments([file for file in group if file not in said]):
                    caption, tags = self.taker.told.of(moment)
                    if caption or tags:
                        told[moment.file].append((moment.start, moment.end, caption, tags))
                if told:
                    table.annotate_same(told)

    def _take_over(self, plan: Survey) -> Iterator[Indexed]:
        """Give vectors of known bytes to new names; where they changed meanwhile, the file is read."""
        table = self.collection.table
        for group in batches(plan.same, FILES_AT_ONCE):
            with self.collection.writing():
                held = table.files([holder for _, holder in group])
                valid = [
                    one
                    for one in group
                    if one[1] in held and held[one[1]].version.signature == one[0].signature
                ]
                moved = [(version, holder) for version, holder in valid if version.file != holder]
                holders = sorted({holder for _, holder in moved})
                whole = {one.version.file: one for one in table.read(holders)}
                table.put([_renamed(whole[holder], version) for version, holder in moved])
                table.touch([version for version, holder in valid if version.file == holder])
            plan.read.extend(version for version, holder in group if (version, holder) not in valid)
            for version, holder in valid:
                there = replace(held[holder], version=version)
                yield replace(_known(there, "same"), reason=there.reason)

    def _read(
        self, files: Sequence[FileVersion], known: dict[str, KnownFile], overlap: Overlap
    ) -> Iterator[Indexed]:
        """Decode, embed and store files, some at a time; the stages overlap."""
        there = self.collection.description
        versions = {version.file: version for version in files}
        cuts = cut_files(self.decoder, sorted(versions), Cut(there.seconds, there.hop, there.cut))
        found = read_files(
            self.model,
            self.decoder,
            cuts,
            overlap,
            tokens=there.audio_types,
            taker=self.taker,
            frames=there.frames,
        )
        for group in _whole_files(overlap.ahead(found, ENTRIES_AHEAD), versions):
            self.collection.table.put(group)
            for one in group:
                yield _stored(one, "changed" if one.version.file in known else "new")


def _same(one: FileVersion, other: FileVersion) -> bool:
    """Whether two looks at a file saw the same bytes, and could see them."""
    return bool(one.signature) and replace(other, duration=one.duration) == one


def _whole_files(
    entries: Iterable[Entry], versions: dict[str, FileVersion]
) -> Iterator[list[FileEntries]]:
    """Files with all their moments, as many together as are stored at once."""
    group: list[FileEntries] = []
    for file, of_file in groupby(entries, key=lambda entry: entry.moment.file):
        whole = tuple(of_file)
        version = replace(versions[file], duration=_duration(whole))
        group.append(FileEntries(version=version, entries=whole))
        if sum(len(one.entries) for one in group) >= MOMENTS_A_COMMIT:
            yield group
            group = []
    yield group


def _duration(entries: Sequence[Entry]) -> float | None:
    """Seconds to the end of the last moment, which is the file's; None of a file that was not read."""
    end = entries[-1].moment.end
    return end if end > 0 or entries[0].status in USABLE else None


def _skipped(plan: Survey) -> Iterator[Indexed]:
    for file in plan.unnameable:
        reason = "its path is not valid UTF-8: rename it"
        yield Indexed(file=file, change="unchanged", status="unsupported", reason=reason)
    for known in plan.unchanged:
        yield _known(known, "unchanged")


def _renamed(source: FileEntries, version: FileVersion) -> FileEntries:
    entries = tuple(
        replace(entry, moment=replace(entry.moment, file=version.file)) for entry in source.entries
    )
    version = replace(version, duration=source.version.duration)
    return FileEntries(version=version, entries=entries)


def _known(known: KnownFile, change: Change) -> Indexed:
    best = min(known.statuses, key=BEST_FIRST.index)
    return Indexed(file=known.version.file, change=change, status=best, moments=known.moments)


def _stored(file: FileEntries, change: Change) -> Indexed:
    best = min(file.entries, key=lambda entry: BEST_FIRST.index(entry.status))
    return Indexed(
        file=file.version.file,
        change=change,
        status=best.status,
        reason=best.reason,
        moments=sum(entry.findable for entry in file.entries),
    )


def settle(collection: Collection, model: "Embedder") -> None:
    """Make anew what follows from the table: its joined files, its index of words, the scales of scores."""
    if not collection.calibrated:
        collection.table.compact()
        collection.table.index_captions()
        some, version = collection.table.sample(MOMENTS)
        collection.keep(calibrate_for(model, some), version)
