"""Which index a column of vectors is searched with: exact search, or a measured ANN index in a cache file.

A cached file is opened only if its description says that it was built from the same gallery, with the
same settings and library, and if its SHA-256 is that of the file that was written: libraries trust such
files blindly. Otherwise the index is built again in the background, and searches are exact until it is
ready. An index that misses too much of what exact search finds is not used, however fast it is: for
queries of another modality than the moments, an index may miss most (rom1504/clip-retrieval#76).
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b, file_digest
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trichord.search.nearest.approximate import MEASURED, Approximate, Nearest, recall
from trichord.search.nearest.backends import Backend, BuildCancelledError, FaissScan
from trichord.search.nearest.exact import Exact, Queries, Vectors
from trichord.types import UserError
from trichord.types.arrays import Bool
from trichord.types.files import replacing, write_atomically
from trichord.types.plugins import Group

if TYPE_CHECKING:  # with Lance, which checking `--backend` does not need
    from trichord.search.gallery import Gallery

Side = Literal["vision", "audio"]
SIDES: dict[Side, str] = {"vision": "sight", "audio": "sound"}
"""The columns of a gallery, and their names in the kinds of held-out queries: `text→sight`. Cached files
store these names."""

FORMAT = 1
EXACT_UP_TO = 200_000
"""Rows up to which exact search is fast enough: 15 ms on one thread."""
RECALL_AT = MEASURED
TARGET = 0.95
HELD_OUT = 200
"""Queries of each kind that recall is measured with: the standard error of 0.95 is below 0.01."""
SAMPLED = 4096
"""Vectors in a gallery's digest: it tells galleries of one version at two audio type tokens apart."""
ABANDONED_AFTER = 86_400.0
"""Seconds after which an unfinished file, or one of a later version, is taken for abandoned."""
KEPT = 8
"""Indexes kept of a column and version, those last opened: there is one for each audio type token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How galleries are searched.

    Attributes:
        backend: Builds and opens indexes.
        exact_up_to: No index is built for up to this many rows.
        target: Recall@10 that an index must reach for queries of every modality.
        threads: Threads that build.
    """

    backend: Backend = field(default_factory=FaissScan)
    exact_up_to: int = EXACT_UP_TO
    target: float = TARGET
    threads: int = 1


BACKENDS: Group[Callable[[], Backend]] = Group(
    "search_backends", "search backend", {FaissScan.kind: FaissScan}
)
"""Built-in backends, and plugins by the entry point `trichord.search_backends`, with default settings."""


def settings_for_backend(kind: str | None) -> Settings | None:
    """Settings with the backend of a kind; None: the defaults.

    Raises:
        UserError: There is no such backend.
    """
    return None if kind is None else Settings(backend=BACKENDS.find(kind, "--backend")())


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """The state of the index of one column.

    Attributes:
        side: "vision" or "audio".
        moments: Moments that have a vector.
        used: Whether the index is searched; otherwise all moments are scored.
        why: The reason, as part of a sentence.
        backend: The backend and its settings; "" if no index was built.
        recall: Recall@10 against exact search by kind of held-out query, `text→sight`.
        budget: Search budget that recall was measured with.
        seconds: Time to build.
        bytes: Size of the file.
    """

    side: Side
    moments: int
    used: bool
    why: str
    backend: str = ""
    recall: dict[str, float] = field(default_factory=dict[str, float])
    budget: int = 0
    seconds: float = 0.0
    bytes: int = 0


class AnnIndexes:
    """The indexes of a gallery's vision and audio columns; threads may share one."""

    def __init__(
        self,
        cache: Path,
        gallery: "Gallery",
        version: int,
        held_out: Mapping[str, Queries] | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Open the cached indexes, and start to build the missing ones in a thread.

        Args:
            cache: A folder for index files, which may be deleted at any time.
            gallery: The vectors.
            version: Version of the table that the gallery was read from.
            held_out: Queries that recall is measured with, by kind: `text→sight`, `text→sound`,
                `sound→sight`, `picture→sight`; the part after the arrow is the column that is searched.
                A column without any stays exact, because the recall of its index is unknown.
            settings: Defaults if not given.
        """
        settings = settings or Settings()
        self._stop = Event()
        self._columns = {
            side: _Column(cache, version, side, gallery, held_out or {}, settings) for side in SIDES
        }
        missing = [column for column in self._columns.values() if not column.open()]
        for side in SIDES:
            sweep(cache, version, side)
        self._builder = Thread(target=self._build, args=(missing,), daemon=True)
        self._builder.start()

    def nearest(self, side: Side) -> Nearest:
        """The current search of a column."""
        return self._columns[side].nearest

    def report(self, side: Side) -> IndexReport:
        """The current state of a column's index."""
        return self._columns[side].report

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until everything is built. Returns whether it is."""
        self._builder.join(seconds)
        return not self._builder.is_alive()

    def close(self) -> None:
        """Stop building. Running searches can go on."""
        self._stop.set()

    def _build(self, columns: "list[_Column]") -> None:
        for column in columns:
            column.build(lambda: not self._stop.is_set())


class _Column:
    """One column of a gallery, its index file, and its current search."""

    def __init__(
        self,
        folder: Path,
        version: int,
        side: Side,
        gallery: "Gallery",
        held_out: Mapping[str, Queries],
        settings: Settings,
    ) -> None:
        vectors, has = getattr(gallery, side), getattr(gallery, f"has_{side}")
        self.version, self.settings = version, settings
        self.side: Side = side
        self.held_out = {
            name: queries[:HELD_OUT]
            for name, queries in held_out.items()
            if name.endswith(f"→{SIDES[side]}") and len(queries)
        }
        self.identity: dict[str, Any] = {
            "format": FORMAT,
            "version": version,
            "backend": repr(settings.backend),
            "target": settings.target,
            "vectors": _column_digest(vectors, has),
            # Moments are ordered by path: a relocated folder may change that, and not the version.
            "order": _digest(gallery.mtime_ns.tobytes() + gallery.file.tobytes()),
            "held out": {name: _digest(queries) for name, queries in self.held_out.items()},
        }
        name = _digest(json.dumps(self.identity, sort_keys=True).encode())
        self.path = folder / f"{side}-{version}-{name}.index"
        self.exact = Exact(vectors, has)
        self.nearest: Nearest = self.exact
        self.report = IndexReport(
            side=side, moments=int(has.sum()), used=False, why="an index is being built"
        )

    def open(self) -> bool:
        """Open the cached index. Returns whether nothing is left to build."""
        if self.report.moments <= self.settings.exact_up_to:
            why = "so few are searched exactly as quickly"
        elif not self.held_out:
            why = "there are no held-out queries to measure by"
        else:
            return self._open_cached()
        self.report = replace(self.report, why=why)
        return True

    def _open_cached(self) -> bool:
        description, backend = self.path.with_suffix(".json"), self.settings.backend
        try:
            cached = json.loads(description.read_text(encoding="utf-8"))
            budget = cached["report"].pop("effort")
            report = IndexReport(**cached["report"], budget=budget)
            if cached["identity"] != self.identity:
                return False
            if report.used:
                if (cached["library"], cached["hash"]) != (backend.library(), _sha256(self.path)):
                    return False
                self.nearest = Approximate(backend.open(self.path), budget, self.exact)
        # A cache may be damaged in any way: the table still holds all vectors.
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, UserError):
            return False
        self.report = report
        with suppress(OSError):
            os.utime(description)  # `sweep` deletes the least recently opened first
        return True

    def build(self, should_continue: Callable[[], bool]) -> None:
        """Build, measure and store the index, or report why not; never raises."""
        try:
            self._build(should_continue)
        except BuildCancelledError:
            why = "the gallery was closed before its index was built"
            self.report = replace(self.report, why=why)
        except Exception as error:  # exact search still finds everything
            why = next(iter(str(error).splitlines()), type(error).__name__)
            self.report = replace(self.report, why=f"no index could be built ({why[:200]})")

    def _build(self, should_continue: Callable[[], bool]) -> None:
        backend, target = self.settings.backend, self.settings.target
        library = backend.library()
        began = time.monotonic()
        with replacing(self.path) as file:
            rows = np.flatnonzero(self.exact.has)
            path, threads = Path(file.name), self.settings.threads
            backend.build(self.exact.vectors, rows, path, threads, should_continue)
        seconds = time.monotonic() - began
        approximate, recalls = self._measure()
        used = min(recalls.values()) >= target
        report = IndexReport(
            side=self.side,
            moments=self.report.moments,
            used=used,
            why=f"search budget {approximate.budget}, built in {seconds:.0f} s"
            if used
            else f"an index of this kind does not reach recall@{RECALL_AT} of {target} for every "
            "kind of query",
            backend=repr(backend),
            recall=recalls,
            budget=approximate.budget,
            seconds=seconds,
            bytes=self.path.stat().st_size,
        )
        fields = asdict(report)
        fields["effort"] = fields.pop("budget")  # its name in cached files
        description = {
            "identity": self.identity,
            "library": library,
            "hash": _sha256(self.path),
            "report": fields,
        }
        content = json.dumps(description, indent=1, ensure_ascii=False) + "\n"
        write_atomically(self.path.with_suffix(".json"), content)
        if used:
            self.nearest = approximate
        else:
            self.path.unlink(missing_ok=True)
        self.report = report
        sweep(self.path.parent, self.version, self.side)

    def _measure(self) -> tuple[Approximate, dict[str, float]]:
        """The index with the smallest search budget that reaches the target, or the largest one."""
        truths = {
            name: self.exact.search(queries, RECALL_AT)[1]
            for name, queries in self.held_out.items()
        }
        approximate = Approximate(self.settings.backend.open(self.path), 0, self.exact)
        recalls: dict[str, float] = {}
        for budget in self.settings.backend.search_budgets(self.report.moments):
            approximate = replace(approximate, budget=budget)
            recalls = {
                name: recall(approximate.search(queries, RECALL_AT)[1], truths[name])
                for name, queries in self.held_out.items()
            }
            if min(recalls.values()) >= self.settings.target:
                break
        return approximate, recalls


def _column_digest(vectors: Vectors, has: Bool[np.ndarray, " moment"]) -> str:
    """Digest of a column: its shape, which rows have a vector, and a sample of the vectors."""
    rows = np.linspace(0, len(has) - 1, min(SAMPLED, len(has))).astype(np.int64)
    shape = np.array(vectors.shape, np.int64)
    return _digest(shape.tobytes() + has.tobytes() + vectors[rows].tobytes())


def _digest(content: Any) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def sweep(folder: Path, version: int, side: Side) -> None:
    """Delete files of older versions, the least recently opened ones, and those of killed processes.

    Files of later versions belong to another process, or to a table that has been replaced: they
    stay for a day after they were last opened. Processes that search with a deleted file have it
    open and do not need its name; one that is about to open it builds it again.
    """
    for path in folder.glob(f"{side}-*-*.*"):
        other = path.name.split("-")[1]
        if other.isdecimal() and int(other) != version:
            opened = _time(path, path.with_suffix(".json"))
            if int(other) < version or time.time() - opened > ABANDONED_AFTER:
                _delete(path)
    # One without a description is being built.
    files = sorted(folder.glob(f"{side}-{version}-*.json"), key=_time, reverse=True)
    for path in files[KEPT:]:
        _delete(path)
        _delete(path.with_suffix(".index"))
    for path in folder.glob(".*.part"):
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
