"""Updates of a collection: files are read, or keep their vectors under a new name.

Files that are missing stay in the collection: a drive may not be connected. Only `prune` removes them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trichord.corpora.footage import Scan
from trichord.media.decoder import Decoder
from trichord.media.pipeline import Pipeline
from trichord.media.plan import DecodePlan
from trichord.media.probe import USABLE, Status
from trichord.search.background import calibrate_by
from trichord.search.calibration import MOMENTS
from trichord.search.collection import Description, StoredCollection, files_below
from trichord.search.cutting import Cut, cut_files
from trichord.search.failures import is_outdated
from trichord.search.notes import ManifestNotes, NoteTaker
from trichord.search.query_vectors import TextVectors
from trichord.search.reading import batches, read_files
from trichord.search.survey import Survey, empty_folders, scan_places, survey
from trichord.search.table import Entry, FileEntries, FileVersion, KnownFile, Note
from trichord.speech.voice import speech_detector

if TYPE_CHECKING:  # the service knows of changes without torch
    from trichord.models.embedder import Embedder

Change = Literal["unchanged", "moved", "copied", "touched", "new", "changed", "missing", "removed"]
"""Files that are `moved`, `copied` or `touched` (a new time alone) have known content, and its vectors."""

BEST_FIRST: tuple[Status, ...] = (
    "cut_off", "ok", "no_audio", "no_video", "silent", "corrupt", "too_big", "timeout", "unsupported",
)  # fmt: skip
"""A file has the status of its best moment; one that is cut off has only one moment that says so."""
MOMENTS_A_COMMIT = 64
"""Moments after which complete files are stored: about what an interruption can cost."""
FILES_AT_ONCE = 16
"""Files whose vectors are copied together."""
FILES_ANNOTATED = 256
"""Files whose metadata are stored together."""
ENTRIES_AHEAD = 2 * MOMENTS_A_COMMIT
"""Moments with vectors that wait while others are stored."""
CHANGES_AHEAD = 64
"""Stored files that wait for the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """A file that is stored.

    `status` is that of its best moment; `reason` says why a file is unusable; `moments` is how many of
    its moments can be found.
    """

    file: str
    change: Change
    status: Status
    reason: str = ""
    moments: int = 0


Readers = Callable[[Sequence[FileVersion]], Iterator[Indexed]]
"""Reads files and stores them."""


@dataclass(frozen=True, slots=True)
class Update:
    """An update of a collection.

    Attributes:
        collection: The collection.
        load: Gives its model; called when there are files to read, or scales to measure.
        decoder: Reads the files.
        metadata: Captions and labels of a manifest.
        speech: Measure the share of speech, if the extra `speech` is installed.
        prune: Remove missing files, unless they may only be out of reach: those of a place or a folder
            that holds nothing, or that cannot be read.
    """

    collection: StoredCollection
    load: "Callable[[], Embedder]"
    decoder: Decoder
    metadata: ManifestNotes = field(default_factory=ManifestNotes)
    speech: bool = True
    prune: bool = False

    def at(
        self,
        places: Sequence[Path],
        readers: Readers | None = None,
        found: tuple[dict[str, KnownFile], Scan] | None = None,
    ) -> Iterator[Indexed]:
        """Bring files and folders up to date; see `indexing.index`.

        Args:
            places: Files and folders.
            readers: Read and store files instead of `read_versions`.
            found: The known files, and after them what is at the places, if they were looked up already.
        """
        # The table first: a file that another process adds in between must not seem to be missing.
        known = self.collection.table.files() if found is None else found[0]
        scan = scan_places(places, known) if found is None else found[1]
        if self.collection.add_roots(places, known):
            known = self.collection.table.files()
            scan = scan_places(places, known)
        files = scan.files
        present = {str(file) for file in files}
        missing = {file for place in places for file in files_below(known, place)} - present
        kept: set[str] = set()
        if self.prune:  # `remove` alone removes what may only be out of reach
            gone = [place for place in places if not files_below(present, place)]
            for place in (*gone, *empty_folders(missing), *scan.unreadable):
                kept.update(files_below(missing, place))
        yield from self.run(known, files, sorted(missing - kept), readers)
        left = self.collection.table.files(sorted(kept)) if kept else {}  # some may have moved
        yield from (_outcome(file, "missing") for file in left.values())

    def run(
        self,
        known: dict[str, KnownFile],
        files: Sequence[Path],
        missing: Sequence[str],
        readers: Readers | None = None,
    ) -> Iterator[Indexed]:
        """Bring files up to date. Yields each once it is stored.

        Args:
            known: The files of the collection.
            files: Media files as they are named in the collection, sorted.
            missing: Files of the collection that are missing.
            readers: Read and store files instead of `read_versions`.
        """
        table = self.collection.table
        version, plan = table.version, survey(known, files, self.decoder.limits)
        if plan.read:
            self.load()  # refuses before anything is changed
        yield from _skipped(plan)
        self._annotate(plan)
        yield from self._take_over(plan)
        if plan.read:
            yield from (readers or self.read_versions)(plan.read)
        left = [file for file in missing if file not in plan.moved]
        if self.prune:
            table.remove(left)
        change: Change = "removed" if self.prune else "missing"
        yield from (_outcome(known[file], change) for file in left)
        finish(self.collection, self.load, version)

    def read_versions(self, versions: Sequence[FileVersion]) -> Iterator[Indexed]:
        """Read files and store them, some at a time; those that the collection has are skipped.

        It can be repeated and distributed: each file is stored completely, in place of its old rows.
        """
        known = self.collection.table.files([version.file for version in versions])
        done = {v.file for v in versions if v.file in known and self._done(v, known[v.file])}
        yield from (_outcome(known[file], "unchanged") for file in sorted(done))
        todo = [version for version in versions if version.file not in done]
        if todo:
            with Pipeline() as pipeline:
                yield from pipeline.ahead(self._read(todo, known, pipeline), CHANGES_AHEAD)

    def _done(self, version: FileVersion, known: KnownFile) -> bool:
        """Whether a file is stored in this version, and reading it again would change nothing."""
        return _same(version, known.version) and not is_outdated(known, self.decoder.limits)

    def _annotate(self, plan: Survey) -> None:
        """Add metadata to unchanged files that have no captions and tags."""
        metadata = self.metadata
        files = [known.version.file for known in plan.unchanged if known.version.file in metadata]
        table = self.collection.table
        for group in batches(files, FILES_ANNOTATED):
            with self.collection.keeping_scales():  # locked: notes of other processes stay
                annotated = table.notes(group)
                notes: dict[str, list[Note]] = defaultdict(list)
                for moment in table.moments([file for file in group if file not in annotated]):
                    caption, tags = metadata.of(moment)
                    if caption or tags:
                        notes[moment.file].append((moment.start, moment.end, caption, tags))
                if notes:
                    table.annotate_same(notes)

    def _take_over(self, plan: Survey) -> Iterator[Indexed]:
        """Rename or copy known content; a file that changed in the meantime is read."""
        table = self.collection.table
        renamed: dict[str, str] = {}
        for wanted in batches(plan.same, FILES_AT_ONCE):
            # A moved file may have copies in a later group.
            group = [(version, renamed.get(holder, holder)) for version, holder in wanted]
            moved = {holder for _, holder in group} & plan.moved
            others = [v for v, holder in group if v.file != holder and holder not in moved]
            scales = self.collection.writing if others else self.collection.keeping_scales
            with scales():
                known = table.files([holder for _, holder in group])
                valid = [
                    (version, holder)
                    for version, holder in group
                    if holder in known and known[holder].version.signature == version.signature
                ]
                copied = [(version, holder) for version, holder in valid if version.file != holder]
                holders = sorted({holder for _, holder in copied})
                sources = {file.version.file: file for file in table.read_files(holders)}
                table.put(
                    [_renamed(sources[holder], version) for version, holder in copied],
                    instead_of=[holder for holder in holders if holder in moved],
                )
                table.touch([version for version, holder in valid if version.file == holder])
            renamed |= {holder: version.file for version, holder in copied if holder in moved}
            plan.read.extend(version for version, holder in group if (version, holder) not in valid)
            for version, holder in valid:
                change: Change = "touched" if version.file == holder else "copied"
                if holder in moved:  # further files of this content are copies
                    change = "moved"
                    moved.remove(holder)
                file = replace(known[holder], version=version)
                yield replace(_outcome(file, change), reason=file.reason)

    def _read(
        self, files: Sequence[FileVersion], known: dict[str, KnownFile], pipeline: Pipeline
    ) -> Iterator[Indexed]:
        """Decode, embed and store files, some at a time; the stages pipeline."""
        own = self.collection.description
        versions = {version.file: version for version in files}
        detector = speech_detector() if self.speech else None
        cuts = cut_files(self.decoder, sorted(versions), Cut(own.seconds, own.hop, own.cut))
        model = self.load()
        entries = read_files(
            model,
            self.decoder,
            cuts,
            pipeline,
            plan_of(own, model),
            tokens=own.audio_types,
            taker=NoteTaker(self.metadata, detector),
        )
        for group in _complete_files(pipeline.ahead(entries, ENTRIES_AHEAD), versions):
            self.collection.table.put(group)
            for file in group:
                yield _stored(file, "changed" if file.version.file in known else "new")


def plan_of(description: Description, model: "Embedder") -> DecodePlan:
    """What a collection decodes for a model."""
    plan = replace(model.plan, audio_track=description.audio_track)
    if description.frames == "keyframe" and plan.frames is not None:
        plan = replace(plan, frames=replace(plan.frames, nearest=description.frames))
    return plan


def _same(one: FileVersion, other: FileVersion) -> bool:
    """Whether two versions of a file have the same content, and it could be read."""
    return bool(one.signature) and replace(other, duration=one.duration) == one


def _complete_files(
    entries: Iterable[Entry], versions: dict[str, FileVersion]
) -> Iterator[list[FileEntries]]:
    """Files with all their moments, in groups that are stored together."""
    group: list[FileEntries] = []
    for file, moments in groupby(entries, key=lambda entry: entry.moment.file):
        own = tuple(moments)
        version = replace(versions[file], duration=_duration(own))
        group.append(FileEntries(version=version, entries=own))
        if sum(len(file.entries) for file in group) >= MOMENTS_A_COMMIT:
            yield group
            group = []
    yield group


def _duration(entries: Sequence[Entry]) -> float | None:
    """The end of the last moment, which is that of the file; None if the file was not read."""
    end = entries[-1].moment.end
    return end if end > 0 or entries[0].status in USABLE else None


def _skipped(plan: Survey) -> Iterator[Indexed]:
    for file in plan.unnameable:
        reason = "its path is not valid UTF-8: rename it"
        yield Indexed(file=file, change="unchanged", status="unsupported", reason=reason)
    for known in plan.unchanged:
        yield _outcome(known, "unchanged")


def _renamed(source: FileEntries, version: FileVersion) -> FileEntries:
    entries = tuple(
        replace(entry, moment=replace(entry.moment, file=version.file)) for entry in source.entries
    )
    version = replace(version, duration=source.version.duration)
    return FileEntries(version=version, entries=entries)


def _outcome(known: KnownFile, change: Change) -> Indexed:
    best = min(known.statuses, key=BEST_FIRST.index)
    reason = known.reason if change == "unchanged" and best not in USABLE else ""
    return Indexed(
        file=known.version.file, change=change, status=best, reason=reason, moments=known.moments
    )


def _stored(file: FileEntries, change: Change) -> Indexed:
    best = min(file.entries, key=lambda entry: BEST_FIRST.index(entry.status))
    return Indexed(
        file=file.version.file,
        change=change,
        status=best.status,
        reason=best.reason,
        moments=sum(entry.findable for entry in file.entries),
    )


def finish(
    collection: StoredCollection, load: "Callable[[], Embedder]", before: int | None = None
) -> None:
    """Update what is derived from the table: joined files, the full-text index, the scales of scores.

    Args:
        collection: Of moments.
        load: Gives its model; called if the scales have to be measured.
        before: Version of the table before an update; if it is the same now, nothing is done.
    """
    table, calibrated = collection.table, collection.calibrated
    if calibrated and before in (None, table.version):
        return
    with collection.keeping_scales():
        table.compact()
        table.index_captions()
        collection.keep_texts()
    if not calibrated:
        sample, version = table.sample(MOMENTS)
        collection.keep(calibrate_by(TextVectors(load()), sample), version)
