"""Which structure a gallery is searched with: exact, or a measured one kept in a disposable file.

A file is opened only if what lies beside it says that it was built from this very gallery, with these
settings and this library, and if its bytes are the ones that were written, by their SHA-256: libraries
trust such files blindly. Anything else is built anew
in the background, and moments are searched exactly until it is there. A structure that misses too much
of what exact search finds is not used, however fast it is: of queries that come from another modality
than the moments, a structure may miss most (rom1504/clip-retrieval#76).
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
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from trichord.search.nearest.approximate import MEASURED, Approximate, recall
from trichord.search.nearest.backends import Backend, NotWantedError
from trichord.search.nearest.exact import Exact
from trichord.search.nearest.faiss_structures import FaissScan
from trichord.search.nearest.files import StructureFiles
from trichord.search.nearest.neighbours import Nearest, Queries, Vectors
from trichord.types import UserError
from trichord.types.arrays import Bool
from trichord.types.files import replacing, write_atomically
from trichord.types.plugins import Group

Side = Literal["vision", "audio"]
SIDES: dict[Side, str] = {"vision": "sight", "audio": "sound"}
"""The columns of a gallery, and what held-out queries call them: `text→sight`."""

FORMAT = 1
EXACT_UP_TO = 200_000
"""Rows up to which exact search is quick enough: 15 ms on one thread."""
RECALL_AT = MEASURED
TARGET = 0.95
HELD_OUT = 200
"""Queries measured of each modality: the standard error of a recall of 0.95 is below 0.01."""
SAMPLED = 4096
"""Vectors that tell a gallery from another of the same version: at another audio type token, say."""


@runtime_checkable
class Columns(Protocol):
    """What of a gallery is searched: unit vectors, and which rows have one."""

    @property
    def vision(self) -> Vectors:
        """Of sight, zero where there is none."""
        ...

    @property
    def has_vision(self) -> Bool[np.ndarray, " moment"]:
        """Rows that have one."""
        ...

    @property
    def audio(self) -> Vectors:
        """Of sound, zero where there is none."""
        ...

    @property
    def has_audio(self) -> Bool[np.ndarray, " moment"]:
        """Rows that have one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How galleries are searched.

    Attributes:
        backend: Of structures.
        exact_up_to: Rows up to which none is built.
        target: Recall@10 that a structure must reach for queries of every modality.
        threads: That build.
    """

    backend: Backend = field(default_factory=FaissScan)
    exact_up_to: int = EXACT_UP_TO
    target: float = TARGET
    threads: int = 1


BACKENDS: Group[Callable[[], Backend]] = Group(
    "search_backends", "search backend", {FaissScan.kind: FaissScan}
)
"""Ours, and those of others by the entry point `trichord.search_backends`, made with their defaults."""


def settings_for_backend(kind: str | None) -> Settings | None:
    """Settings with the backend of a kind; None: the usual ones.

    Raises:
        UserError: There is no such backend.
    """
    return None if kind is None else Settings(backend=BACKENDS.find(kind, "--backend")())


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of one side of a gallery.

    Attributes:
        side: "vision" or "audio".
        moments: That have a vector.
        used: Whether a structure is searched; otherwise all moments are scored.
        why: In a sentence's words, of either.
        backend: The structure's kind and settings, "" where none was built.
        recall: Recall@10 against exact search by kind of held-out query, `text→sight`.
        effort: That it was measured at.
        seconds: It took to build.
        bytes: Of its file.
    """

    side: Side
    moments: int
    used: bool
    why: str
    backend: str = ""
    recall: dict[str, float] = field(default_factory=dict[str, float])
    effort: int = 0
    seconds: float = 0.0
    bytes: int = 0

    @property
    def line(self) -> str:
        """All of it in a line."""
        measured = ", ".join(f"{name} {value:.3f}" for name, value in self.recall.items())
        recalled = f"; recall@{RECALL_AT} {measured}" if measured else ""
        way = self.backend if self.used else "exact"
        return f"{SIDES[self.side]}, {self.moments:,} moments: {way}, {self.why}{recalled}"


class Structures:
    """The searches of a gallery's sight and sound; threads may share one."""

    def __init__(
        self,
        cache: Path,
        gallery: Columns,
        version: int,
        held_out: Mapping[str, Queries] | None = None,
        settings: Settings | None = None,
        persistent: bool = True,
    ) -> None:
        """Open what is cached, and begin to build what is not.

        Args:
            cache: A folder for structures, which may be deleted at any time.
            gallery: To search.
            version: Of the table that the gallery was read from.
            held_out: Queries that no structure is built from, by kind: `text→sight`, `text→sound`,
                `sound→sight`, `picture→sight`; what stands behind the arrow is the column they ask.
                A side without any stays exact, because nobody could say what its structure misses.
            settings: The defaults if not given.
            persistent: Whether sound is heard as the collection holds it. Otherwise its structure is
                kept until `PASSING` others of its kind have been searched with; that of sight is the
                same at every audio type token, and is kept.
        """
        self._settings = settings or Settings()
        self._unwanted = Event()
        self._sides = {
            side: _Side.of(
                StructureFiles(cache, version, side == "audio" and not persistent),
                side,
                gallery,
                held_out or {},
                self._settings,
            )
            for side in SIDES
        }
        missing = [side for side in self._sides.values() if not side.open()]
        for side in self._sides.values():
            side.cache.sweep(side.side)
        self._builder = Thread(target=self._build, args=(missing,), daemon=True)
        self._builder.start()

    def nearest(self, side: Side) -> Nearest:
        """What to search a column with at this moment."""
        return self._sides[side].nearest

    def report(self, side: Side) -> Report:
        """What is known of a column at this moment."""
        return self._sides[side].report

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until everything is built; says whether it is."""
        self._builder.join(seconds)
        return not self._builder.is_alive()

    def close(self) -> None:
        """Build no further. What is being searched stays usable."""
        self._unwanted.set()

    def _build(self, sides: "list[_Side]") -> None:
        for side in sides:
            side.build(lambda: not self._unwanted.is_set())


@dataclass(slots=True)
class _Side:
    """One column of a gallery, its file, and what it is searched with."""

    side: Side
    cache: StructureFiles
    path: Path
    identity: dict[str, Any]
    held_out: dict[str, Queries]
    exact: Exact
    settings: Settings
    nearest: Nearest
    report: Report

    @classmethod
    def of(
        cls,
        cache: StructureFiles,
        side: Side,
        gallery: Columns,
        held_out: Mapping[str, Queries],
        settings: Settings,
    ) -> "_Side":
        vectors, has = getattr(gallery, side), getattr(gallery, f"has_{side}")
        exact = Exact(vectors, has)
        asked = {
            name: queries[:HELD_OUT]
            for name, queries in held_out.items()
            if name.endswith(f"→{SIDES[side]}") and len(queries)
        }
        identity = {
            "format": FORMAT,
            "version": cache.version,
            "backend": repr(settings.backend),
            "target": settings.target,
            "vectors": _digest(vectors, has),
            "held out": {name: _bytes_digest(queries) for name, queries in asked.items()},
        }
        name = _bytes_digest(json.dumps(identity, sort_keys=True).encode())
        moments = int(has.sum())
        report = Report(side=side, moments=moments, used=False, why="a structure is being built")
        path = cache.path(side, name)
        return cls(side, cache, path, identity, asked, exact, settings, exact, report)

    @property
    def beside(self) -> Path:
        """What is known of the file."""
        return self.path.with_suffix(".json")

    def open(self) -> bool:
        """Open the cached structure; says whether nothing is left to be built."""
        if self.report.moments <= self.settings.exact_up_to:
            self.report = replace(self.report, why="so few are searched exactly as quickly")
            return True
        if not self.held_out:
            self.report = replace(self.report, why="there are no held-out queries to measure by")
            return True
        return self._opened()

    def _opened(self) -> bool:
        try:
            known = json.loads(self.beside.read_text(encoding="utf-8"))
            report = Report(**known["report"])
            if known["identity"] != self.identity:
                return False
            if report.used:
                if known["library"] != self.settings.backend.library():
                    return False
                if known["hash"] != _file_digest(self.path):
                    return False
                index = self.settings.backend.open(self.path)
                self.nearest = Approximate(index, report.effort, self.exact)
        # Whatever is wrong with a cache, the table still holds everything.
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, UserError):
            return False
        self.report = report
        with suppress(OSError):
            os.utime(self.beside)  # the one that was not opened for longest passes first
        return True

    def build(self, go_on: Callable[[], bool]) -> None:
        """Build, measure and keep the structure, or say why not; never raises."""
        try:
            self._build(go_on)
        except NotWantedError:
            self.report = replace(
                self.report, why="the gallery was left before its structure was built"
            )
        except Exception as error:  # whatever it was, all is still found, exactly
            why = next(iter(str(error).splitlines()), type(error).__name__)
            self.report = replace(self.report, why=f"no structure could be built ({why[:200]})")

    def _build(self, go_on: Callable[[], bool]) -> None:
        backend = self.settings.backend
        library = backend.library()
        began = time.monotonic()
        with replacing(self.path) as file:
            rows = np.flatnonzero(self.exact.has)
            written = Path(file.name)
            backend.build(self.exact.vectors, rows, written, self.settings.threads, go_on)
        seconds = time.monotonic() - began
        approximate, recalls = self._measured()
        used = min(recalls.values()) >= self.settings.target
        bound = f"recall@{RECALL_AT} of {self.settings.target}"
        report = Report(
            side=self.side,
            moments=self.report.moments,
            used=used,
            why=f"effort {approximate.effort}, built in {seconds:.0f} s"
            if used
            else f"a structure of this kind does not reach {bound} for every kind of query",
            backend=repr(backend),
            recall=recalls,
            effort=approximate.effort,
            seconds=seconds,
            bytes=self.path.stat().st_size,
        )
        known = {
            "identity": self.identity,
            "library": library,
            "hash": _file_digest(self.path),
            "report": asdict(report),
        }
        write_atomically(self.beside, json.dumps(known, indent=1, ensure_ascii=False) + "\n")
        if used:
            self.nearest = approximate
        else:
            self.path.unlink(missing_ok=True)
        self.report = report
        self.cache.sweep(self.side)

    def _measured(self) -> tuple[Approximate, dict[str, float]]:
        """The structure at the least effort that suffices, or at the most, and its recall."""
        truths = {
            name: self.exact.search(queries, RECALL_AT)[1]
            for name, queries in self.held_out.items()
        }
        index = self.settings.backend.open(self.path)
        tried: tuple[Approximate, dict[str, float]] | None = None
        for effort in self.settings.backend.efforts(self.report.moments):
            approximate = Approximate(index, effort, self.exact)
            recalls = {
                name: recall(approximate.search(queries, RECALL_AT)[1], truths[name])
                for name, queries in self.held_out.items()
            }
            tried = approximate, recalls
            if min(recalls.values()) >= self.settings.target:
                break
        assert tried is not None  # a backend has at least one effort
        return tried


def _digest(vectors: Vectors, has: Bool[np.ndarray, " moment"]) -> str:
    """Of a column: its shape, which rows have a vector, and some of those."""
    rows = np.linspace(0, len(has) - 1, min(SAMPLED, len(has))).astype(np.int64)
    shape = np.array(vectors.shape, np.int64)
    return _bytes_digest(shape.tobytes() + has.tobytes() + vectors[rows].tobytes())


def _bytes_digest(content: Any) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
