"""When search takes a first look by a sieve: where it is quicker, and as soon as it has been made."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from threading import Event, Lock, Thread

import numpy as np

from trichord.search.nearest.backends import NotWantedError
from trichord.search.nearest.exact import products
from trichord.search.nearest.sieve import MOST, Column, Sieve, multiplied, packed

DIM = 512
TRIED = 1024
"""Vectors, times 16 queries, by which the two ways to multiply are compared."""
ROUNDS = 4
"""In one of which products of bytes must be the quicker ones."""


class Sieving:
    """A sieve that is made beside searches, once the first is through."""

    def __init__(self, columns: Sequence[Column]) -> None:
        """Nothing is made before `begin`."""
        self._columns = columns
        self._unwanted = Event()
        self._starting = Lock()
        self._maker: Thread | None = None
        self.sieve: Sieve | None = None

    def begin(self) -> None:
        """Make the sieve where it is of use; to be asked as often as one likes."""
        with self._starting:
            if self._maker is None and quick() and not self._unwanted.is_set():
                self._maker = Thread(target=self._make, daemon=True)
                self._maker.start()

    def wait(self) -> None:
        """Until no sieve is being made."""
        if self._maker is not None:
            self._maker.join()

    def close(self) -> None:
        """Make it no further. One that is there stays usable."""
        self._unwanted.set()

    def _make(self) -> None:
        # Without it, whatever has happened, searches score all vectors.
        with suppress(NotWantedError, MemoryError, np.linalg.LinAlgError):
            self.sieve = Sieve.of(self._columns, lambda: not self._unwanted.is_set())


@cache
def quick() -> bool:
    """Whether this machine multiplies bytes without error, and quicker than float32.

    Without instructions that add products in 32 bits, libraries are slow at it or add in 16 bits,
    which the largest codes overflow.
    """
    random = np.random.default_rng(0)
    codes = random.integers(-MOST, MOST + 1, (TRIED, DIM)).astype(np.int8)
    codes[::2] = np.where(random.random((len(codes[::2]), 1)) < 0.5, MOST, -MOST)
    queries = np.concatenate([codes[:8], codes[-8:]])
    vectors, asked = codes.astype(np.float32), queries.astype(np.float32)
    try:
        bytes_ = packed(codes)
        same = np.array_equal(multiplied(queries, bytes_), products(vectors, asked))
    except (ImportError, RuntimeError, AttributeError):
        return False
    # Where others keep the processor busy, the quicker way is not always the first to be through.
    return same and any(
        _seconds(lambda: multiplied(queries, bytes_)) < _seconds(lambda: products(vectors, asked))
        for _ in range(ROUNDS)
    )


def _seconds(work: Callable[[], object]) -> float:
    """The least of a few times that work takes."""
    taken: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)
