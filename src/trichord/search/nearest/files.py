"""The files of structures: what they are called, and which of them are kept."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FORGOTTEN = 86_400.0
"""Seconds after which an unfinished file is nobody's any more."""
PASSING = 2
"""Structures of sound heard at other sound tokens than a collection's own that are kept at a time: a
page's dial has twenty."""


@dataclass(frozen=True, slots=True)
class StructureFiles:
    """Where structures of a version of a table lie, and whether these are kept for a while only."""

    folder: Path
    version: int
    passing: bool

    def path(self, side: str, name: str) -> Path:
        """Of a structure by a digest of what it is made from."""
        return self.folder / f"{side}-{self.version}-{'passing-' * self.passing}{name}.index"

    def sweep(self, side: str) -> None:
        """Delete what is of older versions, what has passed, and what a killed process left.

        Others may be searching with any of it: they have opened it, and do not need its name. Who is
        about to open it finds it gone, and builds it anew.
        """
        for path in self.folder.glob(f"{side}-*-*.*"):
            version = path.name.split("-")[1]
            if version.isdecimal() and int(version) < self.version:
                _delete(path)
        # One without a report is being built.
        passing = self.folder.glob(f"{side}-{self.version}-passing-*.json")
        for path in sorted(passing, key=_time, reverse=True)[PASSING:]:
            _delete(path)
            _delete(path.with_suffix(".index"))
        for path in self.folder.glob(".*.part"):
            if time.time() - _time(path) > FORGOTTEN:
                _delete(path)


def _delete(path: Path) -> None:
    with suppress(OSError):  # on Windows it stays while others have it open
        path.unlink(missing_ok=True)


def _time(path: Path) -> float:
    """When a file was last written or opened; now, where it has just gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()
