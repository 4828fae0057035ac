"""The files of ANN indexes: their names, and which of them are kept."""

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ABANDONED_AFTER = 86_400.0
"""Seconds after which an unfinished file, or one of a later version, is taken for abandoned."""
TEMPORARY_KEPT = 2
"""Indexes kept for audio type tokens that are not stored: the page's dial has twenty steps."""
PERSISTENT_KEPT = 8
"""Other indexes kept of a version: two for each audio type token that a collection stores."""


@dataclass(frozen=True, slots=True)
class IndexFiles:
    """The index files of a version of a table. `temporary`: of an audio type token that is not stored."""

    folder: Path
    version: int
    temporary: bool

    def path(self, side: str, name: str) -> Path:
        """Path of an index, by the digest of what it was built from."""
        return self.folder / f"{side}-{self.version}-{'passing-' * self.temporary}{name}.index"

    def sweep(self, side: str) -> None:
        """Delete files of older versions, the least recently opened ones, and those of killed processes.

        Files of later versions belong to another process, or to a table that has been replaced: they
        stay for a day after they were last opened. Processes that search with a deleted file have it
        open and do not need its name; one that is about to open it builds it again.
        """
        for path in self.folder.glob(f"{side}-*-*.*"):
            version = path.name.split("-")[1]
            if version.isdecimal() and int(version) != self.version:
                opened = _time(path, path.with_suffix(".json"))
                if int(version) < self.version or time.time() - opened > ABANDONED_AFTER:
                    _delete(path)
        # One without a description is being built.
        files = sorted(self.folder.glob(f"{side}-{self.version}-*.json"), key=_time, reverse=True)
        temporary = [path for path in files if path.name.split("-")[2] == "passing"]
        persistent = [path for path in files if path not in temporary]
        for path in temporary[TEMPORARY_KEPT:] + persistent[PERSISTENT_KEPT:]:
            _delete(path)
            _delete(path.with_suffix(".index"))
        for path in self.folder.glob(".*.part"):
            if time.time() - _time(path) > ABANDONED_AFTER:
                _delete(path)


def _delete(path: Path) -> None:
    with suppress(OSError):  # Windows keeps it while others have it open
        path.unlink(missing_ok=True)


def _time(*paths: Path) -> float:
    """When any of the files was last written or opened; now, if all were just deleted."""
    times: list[float] = []
    for path in paths:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times, default=time.time())
