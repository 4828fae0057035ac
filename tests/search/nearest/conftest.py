"""Columns of vectors as real ones lie: pictures in a narrow cone, queries in another."""

from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from trichord.search.nearest import AnnIndexes, Settings
from trichord.search.nearest.backends import BuildCancelledError

DIM = 24
BUILT: list[str] = []
"""What fake backends built since the test began."""
LATER = Event()
"""Not set: they wait."""


@dataclass
class Columns:
    vision: np.ndarray
    has_vision: np.ndarray
    audio: np.ndarray
    has_audio: np.ndarray
    file: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    mtime_ns: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


def to_unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw(count, seed=0):
    """Files of four moments that are alike; every fifth lacks a picture, every third a sound."""
    rng = np.random.default_rng(seed)
    files = rng.normal(size=(-(-count // 4), DIM)).repeat(4, axis=0)[:count]
    vision = to_unit(3 * np.eye(DIM)[0] + files + 0.5 * rng.normal(size=(count, DIM)))
    audio = to_unit(files + 0.5 * rng.normal(size=(count, DIM)))
    seen, heard = np.arange(count) % 5 != 0, np.arange(count) % 3 != 0
    return Columns(vision * seen[:, None], seen, audio * heard[:, None], heard)


@pytest.fixture(scope="session")
def unit():
    """Scales rows to length 1, float32."""
    return to_unit


@pytest.fixture(scope="session")
def columns():
    """Draws a gallery of so many moments."""
    return draw


@pytest.fixture(scope="session")
def gallery():
    """3,000 moments: treat as read-only."""
    return draw(3000)


@pytest.fixture(scope="session")
def texts():
    """Forty queries from a cone of their own."""
    rng = np.random.default_rng(5)
    return to_unit(3 * np.eye(DIM)[1] + rng.normal(size=(40, DIM)))


@pytest.fixture(scope="session")
def brute():
    """The k best rows and cosines by sorting all, in float64; equal ones by row."""

    def brute(vectors, has, queries, k, allowed=None):
        findable = has if allowed is None else has & allowed
        rows = np.full((len(queries), k), -1)
        cosines = np.full((len(queries), k), -np.inf)
        for i, query in enumerate(queries.astype(np.float64)):
            every = [
                (-float(np.dot(vector, query)), row)
                for row, vector in enumerate(vectors.astype(np.float64))
                if findable[row]
            ]
            for place, (cosine, row) in enumerate(sorted(every)[:k]):
                rows[i, place], cosines[i, place] = row, -cosine
        return rows, cosines

    return brute


@dataclass(frozen=True)
class Fake:
    """A structure that knows the best rows, and at low effort only one in so many of them."""

    enough: int = 1
    fails: str = ""
    written: str = "structure"
    vectors: list = field(default_factory=list, repr=False)

    def library(self):
        return "fake 1"

    def search_budgets(self, rows):
        return (1, 2, 4, 8)

    def build(self, vectors, rows, path, threads, should_continue):
        if not LATER.wait(60.0) or not should_continue():
            raise BuildCancelledError
        if self.fails:
            raise RuntimeError(self.fails)
        BUILT.append(f"{len(rows)} rows")
        self.vectors.append(vectors)
        Path(path).write_text(self.written)

    def open(self, path):
        return OpenIndex(Path(path).read_text(), self.enough)


@dataclass
class OpenIndex:
    written: str
    enough: int

    def candidates(self, queries, count, budget):
        best = np.argsort(-(queries @ OpenIndex.gallery.T), axis=1, kind="stable")[:, :300]
        return best if budget >= self.enough else best[:, 40:]


@pytest.fixture(name="fake")
def fake_():
    return Fake


@pytest.fixture(name="opened")
def opened_():
    return OpenIndex


@pytest.fixture
def later():
    """Fakes are built while it is set."""
    LATER.set()
    return LATER


@pytest.fixture
def built():
    """What fakes have built."""
    BUILT.clear()
    return BUILT


@pytest.fixture
def structured(gallery, texts, tmp_path, built, later):
    """Structures of pictures: sounds are few enough to be searched exactly."""
    OpenIndex.gallery = gallery.vision

    def structured(backend=None, columns=gallery, version=7, held_out=None, **settings):
        settings = {"exact_up_to": 2200, **settings}
        made = AnnIndexes(
            tmp_path / "cache",
            columns,
            version,
            {"text→sight": texts} if held_out is None else held_out,
            Settings(backend=backend or Fake(), **settings),
        )
        assert made.wait(60.0)
        return made

    return structured
