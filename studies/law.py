"""Moments and queries drawn by the joint law of real vectors of pictures, sounds and captions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

DIM = 512
MOMENTS_A_FILE = 20
SAME_FILE = 0.7
"""Share of the variance between moments that those of a file have in common."""
RESIDUE = 0.02
"""Share of the variance that goes evenly to all directions: a few hundred clips span but some."""
QUERIES = 100


@dataclass(frozen=True)
class Gallery:
    """Moments that all have a picture, and all have a sound."""

    vision: np.ndarray
    has_vision: np.ndarray
    audio: np.ndarray
    has_audio: np.ndarray


@dataclass(frozen=True)
class Law:
    """The joint normal law of real (picture, sound, caption) triples, before they are scaled to length 1.

    Mean and covariance of each modality, the covariance between modalities, and so the gap between
    them, are the real ones. Vectors narrower than 512 are drawn several times and laid end to end: each
    stretch follows the law, and cosines keep their means.
    """

    mean: np.ndarray
    root: np.ndarray
    width: int

    @classmethod
    def of(cls, path: Path) -> "Law":
        """Measure the triples of real captions whose clip has both picture and sound."""
        stored = np.load(path)
        whole = (stored["has_vision"] & stored["has_audio"])[stored["owner"]]
        owner = stored["owner"][whole]
        triples = np.hstack(
            [stored["vision"][owner], stored["audio"][owner], stored["text"][whole]]
        )
        covariance = np.cov(triples.T)
        even = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        values, axes = np.linalg.eigh((1 - RESIDUE) * covariance + RESIDUE * even)
        root = (axes * np.sqrt(values.clip(0))).astype(np.float32)
        return cls(triples.mean(axis=0).astype(np.float32), root, stored["text"].shape[1])

    def draw(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Unit vectors of so many moments, files of 20 in a row, with a caption each."""
        stretches = -(-DIM // self.width)
        drawn = {name: np.empty((count, DIM), np.float32) for name in ("vision", "audio", "text")}
        portion = 500 * MOMENTS_A_FILE
        for i in range(0, count, portion):
            parts = [self._triples(min(portion, count - i), rng) for _ in range(stretches)]
            for place, vectors in enumerate(drawn.values()):
                columns = slice(place * self.width, (place + 1) * self.width)
                rows = np.hstack([part[:, columns] for part in parts])[:, :DIM]
                vectors[i : i + portion] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return drawn

    def _triples(self, count: int, rng: np.random.Generator) -> np.ndarray:
        files = -(-count // MOMENTS_A_FILE)
        size = len(self.mean)
        shared = rng.standard_normal((files, size), np.float32).repeat(MOMENTS_A_FILE, axis=0)
        own = rng.standard_normal((count, size), np.float32)
        mixed = SAME_FILE**0.5 * shared[:count] + (1 - SAME_FILE) ** 0.5 * own
        return self.mean + mixed @ self.root.T


def gallery_of(law: Law, count: int, rng: np.random.Generator, folder: Path) -> Gallery:
    """So many moments; drawn once a folder."""
    places = {side: folder / f"{side}-{count}.npy" for side in ("vision", "audio")}
    if not all(place.exists() for place in places.values()):
        drawn = law.draw(count, rng)
        folder.mkdir(parents=True, exist_ok=True)
        for side, place in places.items():
            np.save(place, drawn[side])
        drawn.clear()  # before they are read again
    everywhere = np.ones(count, bool)
    sight, sound = (np.load(place) for place in places.values())
    return Gallery(sight, everywhere, sound, everywhere)


def queries_of(law: Law, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """So many of each kind, each from a file of its own."""
    drawn = law.draw(QUERIES * MOMENTS_A_FILE, rng)
    one = {name: vectors[::MOMENTS_A_FILE].copy() for name, vectors in drawn.items()}
    return {
        "text→sight": one["text"],
        "text→sound": one["text"],
        "sound→sight": one["audio"],
        "picture→sight": one["vision"],
    }
