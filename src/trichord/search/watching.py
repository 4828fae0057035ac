"""Watching folders: a collection follows media files as they appear, change and disappear."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from trichord.media.decoder import Decoder
from trichord.search.collection import StoredCollection, files_below, whereabouts
from trichord.search.notes import ManifestNotes
from trichord.search.survey import media_under
from trichord.search.updating import Indexed, Update
from trichord.types import Clip, UserError
from trichord.types.files import exists

if TYPE_CHECKING:  # with torch
    from trichord.models.embedder import Embedder

QUIET_SECONDS = 2.0
"""A file that has not changed for so long counts as complete."""
LOOK_SECONDS = 0.5
"""How often growing files are checked."""


@dataclass(frozen=True, slots=True)
class _Look:
    """The state of a path, and since when; size -1: it does not exist."""

    size: int
    mtime_ns: int
    since: float


@dataclass(slots=True)
class PendingPaths:
    """Changed paths that wait until they stop changing.

    A missing file waits twice as long: it may be renamed, and the new name then takes over its vectors
    before they are deleted.
    """

    quiet: float
    looks: dict[Path, _Look] = field(default_factory=dict[Path, _Look])

    def add(self, path: Path, now: float) -> None:
        """Add a changed path."""
        self.looks[path] = _look(path, now)

    def pop_quiet(self, now: float) -> list[Path]:
        """Remove and return the paths that no longer change, sorted."""
        quiet: list[Path] = []
        for path, before in list(self.looks.items()):
            look = _look(path, now)
            if (look.size, look.mtime_ns) != (before.size, before.mtime_ns):
                self.looks[path] = look
            elif now - before.since >= self.quiet * (2 if look.size < 0 else 1):
                quiet.append(path)
                del self.looks[path]
        return sorted(quiet)


def _look(path: Path, now: float) -> _Look:
    try:
        stat = path.stat()
    except OSError:
        return _Look(-1, 0, now)
    return _Look(stat.st_size, stat.st_mtime_ns, now)


def watch(
    collection: StoredCollection,
    model: "Embedder",
    decoder: Decoder,
    places: Sequence[Path],
    *,
    metadata: Sequence[Clip] = (),
    speech: bool = True,
    quiet: float = QUIET_SECONDS,
    stop: Event | None = None,
) -> Iterator[Indexed]:
    """Bring a collection up to date with files and folders, and follow their changes.

    Yields each changed file once it is stored. A file is read when it has stopped growing; one that is
    deleted stays in the collection, as missing. It ends when
    `stop` is set, within a second after the current file, or when the caller stops.

    Args:
        collection: As for `index`.
        model: As for `index`.
        decoder: As for `index`.
        places: Media files and folders.
        metadata: As for `index`.
        speech: As for `index`.
        quiet: Seconds for which a file must not have changed.
        stop: Ends it.

    Raises:
        UserError: As for `index`; or the extra `watch` is not installed, or the system cannot watch
            more folders.
    """
    collection.require(model.fingerprint)
    pending = PendingPaths(quiet)
    notes = ManifestNotes(metadata)
    update = Update(collection, lambda: model, decoder, notes, speech)
    started = False
    for changes in _changes(places, stop):
        # Only now all folders are watched: no later change is missed.
        if not started:
            collection.add_roots(places, collection.table.files())
            yield from _update_paths(update, [whereabouts(place) for place in places])
            started = True
        now = time.monotonic()
        for path in changes:
            pending.add(path, now)
        paths = pending.pop_quiet(now)
        for place in places:
            if not exists(place):
                raise UserError(
                    f"{place} is missing: nothing was removed from the archive; restore it, or "
                    "remove it with trichord index --remove."
                )
        if paths:
            yield from _update_paths(update, paths)


def _update_paths(update: Update, paths: Sequence[Path]) -> Iterator[Indexed]:
    """Bring paths up to date: files, folders with all their files, or missing paths."""
    known = update.collection.table.files()
    files = sorted({file for path in paths for file in media_under(path)})
    below = {file for path in paths for file in files_below(known, path)}
    missing = below - {str(file) for file in files}
    if files or missing:
        outcomes = update.run(known, files, sorted(missing))
        yield from (outcome for outcome in outcomes if outcome.change != "unchanged")


def _changes(places: Sequence[Path], stop: Event | None) -> Iterator[list[Path]]:
    """Changed paths in places, again and again; an empty list if nothing changed."""
    try:
        from watchfiles import watch as watch_files
    except ImportError as error:
        raise UserError(
            'Watching folders needs watchfiles: pip install "trichord[watch]".'
        ) from error
    for place in places:
        if not exists(place):
            raise UserError(f"{place}: no such file or folder: check the path.")
    absolute = [whereabouts(place) for place in places]
    # A file may be replaced by another one of the same name: its folder is watched.
    folders = sorted({place if place.is_dir() else place.parent for place in absolute})
    options: dict[str, Any] = {"debounce": 200, "rust_timeout": round(1000 * LOOK_SECONDS)}
    try:
        for changes in watch_files(
            *folders, watch_filter=None, stop_event=stop, yield_on_timeout=True, **options
        ):
            paths = sorted(Path(path) for _, path in changes)
            yield [path for path in paths if any(_within(path, place) for place in absolute)]
    except OSError as error:
        raise UserError(
            f"{folders[0]}: cannot be watched ({error}): on Linux, raise "
            "fs.inotify.max_user_watches."
        ) from error


def _within(path: Path, place: Path) -> bool:
    """Whether a path is a place or in it, and not in a hidden folder there."""
    if not path.is_relative_to(place):
        return False
    parts = path.relative_to(place).parts
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)
