"""The files of structures: what they are called, and which of them are kept."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FORGOTTEN = 86_400.0
"""Seconds after which an unfinished file, or one of a version that is not to be seen, is nobody's."""
PASSING = 2
"""Structures of sound heard at other audio type tokens than a collection's own that are kept at a time: a
page's dial has twenty."""
LASTING = 8
"""Others of a version that are kept: for each of a collection's own audio type tokens, twice over."""


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
        """Delete what is of older versions, what was not opened for longest, and what a kill left.

        Structures of versions yet to come are another process's, or of a table that has been replaced:
        they stay for a day after they were last opened. Others may be searching with any of it: they
        have opened it, and do not need its name. Who is about to open it finds it gone, and builds it
        anew.
        """
        for path in self.folder.glob(f"{side}-*-*.*"):
            version = path.name.split("-")[1]
            if version.isdecimal() and int(version) != self.version:
                opened = _time(path, path.with_suffix(".json"))
                if int(version) < self.version or time.time() - opened > FORGOTTEN:
                    _delete(path)
        # One without a report is being built.
        known = sorted(self.folder.glob(f"{side}-{self.version}-*.json"), key=_time, reverse=True)
        passing = [path for path in known if path.name.split("-")[2] == "passing"]
        persistent = [path for path in known if path not in passing]
        for path in passing[PASSING:] + persistent[LASTING:]:
            _delete(path)
            _delete(path.with_suffix(".index"))
        for path in self.folder.glob(".*.part"):
            if time.time() - _time(path) > FORGOTTEN:
                _delete(path)


def _delete(path: Path) -> None:
    with suppress(OSError):  # on Windows it stays while others have it open
        path.unlink(missing_ok=True)


def _time(*paths: Path) -> float:
    """When any of some files was last written or opened; now, where all have just gone."""
    times: list[float] = []
    for path in paths:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times, default=time.time())
