"""How a number was measured, so that two numbers are compared only when that is the same."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from trichord.evaluation.ranks import Ties
from trichord.evaluation.retrieval import ClipVectors, Gallery
from trichord.types import Split

CAPTION_RULE = "each caption a query, micro"
MISSING_RULE = "masked"
METRICS = 1
"""Raised whenever a metric's definition changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Everything besides the model that a retrieval number depends on.

    Hashes are the first 12 hexadecimal digits of a SHA-256: of a gallery's sorted clip ids, and of
    the sorted captions with their kind and clip. `split` is None for all of a manifest.
    """

    split: Split | None
    vision_gallery: str
    vision_clips: int
    audio_gallery: str
    audio_clips: int
    queries: str
    captions: int
    caption_rule: str
    ties: Ties
    missing: str
    resamples: int
    bootstrap_seed: int
    metrics: int

    def line(self) -> str:
        """The protocol in one line, to stand beneath every table and figure."""
        return (
            f"{self.split or 'all'} split; gallery {self.vision_clips} pictures"
            f" ({self.vision_gallery}), {self.audio_clips} sounds ({self.audio_gallery});"
            f" {self.captions} captions ({self.queries}), {self.caption_rule}; ties {self.ties};"
            f" missing modalities {self.missing}; 95 % intervals over clips,"
            f" {self.resamples} resamples, seed {self.bootstrap_seed}; metrics {self.metrics}"
        )


def stamp(
    vectors: ClipVectors,
    *,
    split: Split | None,
    ties: Ties = "pessimistic",
    resamples: int = 1000,
    seed: int = 0,
) -> Protocol:
    """The protocol under which `evaluate(vectors, ties=..., resamples=..., seed=...)` measures."""
    asked = [
        f"{kind}\0{vectors.ids[owner]}\0{text}"
        for kind, captions in vectors.captions.items()
        for owner, text in zip(captions.owner.tolist(), captions.texts, strict=True)
    ]
    vision, audio = _present(vectors, "vision"), _present(vectors, "audio")
    return Protocol(
        split=split,
        vision_gallery=_digest(vision),
        vision_clips=len(vision),
        audio_gallery=_digest(audio),
        audio_clips=len(audio),
        queries=_digest(asked),
        captions=len(asked),
        caption_rule=CAPTION_RULE,
        ties=ties,
        missing=MISSING_RULE,
        resamples=resamples,
        bootstrap_seed=seed,
        metrics=METRICS,
    )


def difference(one: Protocol, other: Protocol) -> list[str]:
    """What sets two protocols apart, in plain words; empty where numbers may share a column."""

    def gallery(of: Protocol, name: Gallery) -> str:
        if name == "vision":
            return f"{of.vision_clips} clips, list {of.vision_gallery}"
        return f"{of.audio_clips} clips, list {of.audio_gallery}"

    told = {
        "split": (one.split or "all", other.split or "all"),
        "vision gallery": (gallery(one, "vision"), gallery(other, "vision")),
        "audio gallery": (gallery(one, "audio"), gallery(other, "audio")),
        "captions asked": tuple(f"{p.captions} captions, list {p.queries}" for p in (one, other)),
        "caption rule": (one.caption_rule, other.caption_rule),
        "rule for ties": (one.ties, other.ties),
        "rule for missing modalities": (one.missing, other.missing),
        "number of resamples": (one.resamples, other.resamples),
        "bootstrap seed": (one.bootstrap_seed, other.bootstrap_seed),
        "version of the metrics": (one.metrics, other.metrics),
    }
    return [f"{name}: {a} against {b}" for name, (a, b) in told.items() if a != b]


def _present(vectors: ClipVectors, gallery: Gallery) -> list[str]:
    _, present = vectors.gallery(gallery)
    return [vectors.ids[row] for row in np.flatnonzero(present).tolist()]


def _digest(names: Iterable[str]) -> str:
    # Each name is hashed by its own, so that no id or text can forge a border between two.
    whole = hashlib.sha256()
    for name in sorted(names):
        whole.update(hashlib.sha256(name.encode()).digest())
    return whole.hexdigest()[:12]
