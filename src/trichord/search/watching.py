"""Following folders: a collection that is brought up to date as media files come, change and go."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from trichord.media.decoder import Decoder
from trichord.search.collection import Collection, under, whereabouts
from trichord.search.notes import ManifestNotes, NoteTaker
from trichord.search.speech import speech_detector
from trichord.search.survey import media_under
from trichord.search.updating import Indexed, Update, settle
from trichord.types import Clip, UserError

if TYPE_CHECKING:  # with torch
    from trichord.models.embedder import Embedder

QUIET_SECONDS = 2.0
"""A file that has not grown or changed for so long is taken to be whole."""
LOOK_SECONDS = 0.5
"""How often growing files are looked at."""


@dataclass(frozen=True, slots=True)
class _Look:
    """How a path was found, and when it was first found so; size -1: it is not there."""

    size: int
    mtime_ns: int
    since: float


@dataclass(slots=True)
class Unsettled:
    """Paths that have changed, until they have come to rest.

    One that has gone rests twice as long: it may be on its way to another name, which then takes its
    vectors over before they are deleted.
    """

    quiet: float
    looks: dict[Path, _Look] = field(default_factory=dict[Path, _Look])

    def add(self, path: Path, now: float) -> None:
        """Note that a path has changed."""
        self.looks[path] = _look(path, now)

    def rested(self, now: float) -> list[Path]:
        """Paths that have come to rest, sorted; they are settled with this."""
        found: list[Path] = []
        for path, before in list(self.looks.items()):
            look = _look(path, now)
            if (look.size, look.mtime_ns) != (before.size, before.mtime_ns):
                self.looks[path] = look
            elif now - before.since >= self.quiet * (2 if look.size < 0 else 1):
                found.append(path)
                del self.looks[path]
        return sorted(found)


def _look(path: Path, now: float) -> _Look:
    try:
        there = path.stat()
    except OSError:
        return _Look(-1, 0, now)
    return _Look(there.st_size, there.st_mtime_ns, now)


def watch(
    collection: Collection,
    model: "Embedder",
    decoder: Decoder,
    places: Sequence[Path],
    *,
    told: Sequence[Clip] = (),
    speech: bool = True,
    quiet: float = QUIET_SECONDS,
    stop: Event | None = None,
) -> Iterator[Indexed]:
    """Bring a collection up to date with files and folders, and keep it so; gives what changes.

    Each file comes once it is stored, unchanged ones not at all. A file is read when it has stopped
    growing. It ends when `stop` is set, within a second and the file under way, or when the caller
    stops; whatever was given is stored.

    Args:
        collection: As for `index`.
        model: As for `index`.
        decoder: As for `index`.
        places: Media files and folders.
        told: As for `index`.
        speech: As for `index`.
        quiet: Seconds for which a file must not have changed.
        stop: Ends it.

    Raises:
        UserError: As for `index`; or the extra `watch` is not installed, or the system watches no
            more folders.
    """
    collection.require(model.fingerprint)
    unsettled = Unsettled(quiet)
    update = Update(
        collection,
        model,
        decoder,
        NoteTaker(ManifestNotes(told), speech_detector() if speech else None),
    )
    begun = False
    for changes in _changes(places, stop):
        # Only now is every folder followed: what changes from here on is not missed.
        if not begun:
            yield from _brought(update, [whereabouts(place) for place in places])
            begun = True
        now = time.monotonic()
        for path in changes:
            unsettled.add(path, now)
        rested = unsettled.rested(now)
        for place in places:
            if not place.exists():
                raise UserError(
                    f"{place} has gone: nothing was taken out of the collection; bring it back, or "
                    "take it out with trichord index --remove."
                )
        if rested:
            yield from _brought(update, rested)


def _brought(update: Update, paths: Sequence[Path]) -> Iterator[Indexed]:
    """Bring paths up to date that may be files, or folders with all below them, or gone."""
    known = update.collection.table.files()
    files = sorted({file for path in paths for file in media_under(path)})
    gone = {file for path in paths for file in under(known, path)} - {str(file) for file in files}
    if files or gone:
        done = update.run(known, files, sorted(gone))
        yield from (one for one in done if one.change != "unchanged")
        settle(update.collection, update.model)


def _changes(places: Sequence[Path], stop: Event | None) -> Iterator[list[Path]]:
    """Changed paths below places, again and again, if only to say that there are none."""
    try:
        from watchfiles import watch as followed
    except ImportError as error:
        raise UserError(
            'Following folders needs watchfiles: pip install "trichord[watch]".'
        ) from error
    for place in places:
        if not place.exists():
            raise UserError(f"{place}: no such file or folder: check the path.")
    chosen = [whereabouts(place) for place in places]
    # A single file that is replaced is another file by the same name: its folder is followed.
    folders = sorted({place if place.is_dir() else place.parent for place in chosen})
    options: dict[str, Any] = {"debounce": 200, "rust_timeout": round(1000 * LOOK_SECONDS)}
    try:
        for changes in followed(
            *folders, watch_filter=None, stop_event=stop, yield_on_timeout=True, **options
        ):
            paths = sorted(Path(path) for _, path in changes)
            yield [path for path in paths if any(_within(path, place) for place in chosen)]
    except OSError as error:
        raise UserError(
            f"{folders[0]}: cannot be followed ({error}): on Linux, raise "
            "fs.inotify.max_user_watches."
        ) from error


def _within(path: Path, place: Path) -> bool:
    """Whether a path is a place or below it, and not in a hidden folder there."""
    if not path.is_relative_to(place):
        return False
    parts = path.relative_to(place).parts
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)
