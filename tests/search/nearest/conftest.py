"""Columns of vectors as real ones lie: pictures in a narrow cone, queries in another."""

from dataclasses import dataclass

import numpy as np
import pytest

DIM = 24


@dataclass
class Columns:
    vision: np.ndarray
    has_vision: np.ndarray
    audio: np.ndarray
    has_audio: np.ndarray


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
