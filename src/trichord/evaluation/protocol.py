"""How a number was measured, so that two numbers are compared only when that is the same."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol as Interface
from typing import runtime_checkable

import numpy as np

from trichord.evaluation.dual_softmax import TEMPERATURE, Similarity
from trichord.evaluation.gallery import ClipVectors, Gallery, Weights
from trichord.evaluation.proportions import INTERVAL
from trichord.evaluation.ranks import Ties
from trichord.types import AudioType, Split

CAPTION_RULE = "each caption a query, micro"
MISSING_RULE = "masked"
METRICS_VERSION = 2
"""Raised whenever a metric's definition changes."""

SELECTED_ON_TEST = "SELECTION ON TEST: the run's epoch was chosen on the test split; "
"""What the protocol line of such a run begins with."""
SELECTION = "selection on the test split"
"""What the difference to a run without is called."""


@runtime_checkable
class Rules(Interface):
    """How numbers were measured: what the protocols of all kinds of reports have in common."""

    def line(self) -> str:
        """The protocol in one line, to stand beneath every table and figure."""
        ...

    def terms(self) -> dict[str, object]:
        """What numbers must have in common to share a column, by its name in plain words."""
        ...


def difference(one: Rules, other: Rules) -> list[str]:
    """What sets two protocols apart, in plain words; empty where numbers may share a column.

    A term that only one of them has is told by another term, such as the kinds of captions.
    """
    ours, theirs = one.terms(), other.terms()
    return [
        f"{name}: {value} against {theirs[name]}"
        for name, value in ours.items()
        if name in theirs and value != theirs[name]
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Everything besides the model that a retrieval number depends on.

    Hashes are the first 12 hexadecimal digits of a SHA-256: of a gallery's sorted clip ids, and of
    the sorted captions with their kind and clip. `split` is None for all of a manifest, `name` that of
    a published protocol. `visual_weight` and `audio_weight` are those of a fusion; the gallery of
    fused clips is all of both galleries. `audio_type` is None for the run's own. `selected_on_test`
    is of the run, or of one that it started from: its epoch was chosen on the test split. A `similarity`
    other than pairwise looks at all queries together.
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
    interval: str
    metrics: int
    name: str | None = None
    visual_weight: float = 1.0
    audio_weight: float = 1.0
    audio_type: AudioType | None = None
    selected_on_test: bool = False
    similarity: Similarity = "pairwise"

    def line(self) -> str:
        """The protocol in one line, to stand beneath every table and figure."""
        selected = SELECTED_ON_TEST if self.selected_on_test else ""
        name = f"{self.name}: " if self.name else ""
        return (
            f"{selected}{name}{self.split or 'all'} split; gallery {self.vision_clips} pictures"
            f" ({self.vision_gallery}), {self.audio_clips} sounds ({self.audio_gallery});"
            f" {self.captions} captions ({self.queries}), {self.caption_rule}; ties {self.ties};"
            f" missing modalities {self.missing}; {self._chosen()}{self.interval};"
            f" metrics {self.metrics}"
        )

    def terms(self) -> dict[str, object]:
        """What numbers must have in common to share a column."""
        return {
            SELECTION: yes_or_no(self.selected_on_test),
            "named protocol": self.name or "none",
            "split": self.split or "all",
            "vision gallery": f"{self.vision_clips} clips, list {self.vision_gallery}",
            "audio gallery": f"{self.audio_clips} clips, list {self.audio_gallery}",
            "captions asked": f"{self.captions} captions, list {self.queries}",
            "caption rule": self.caption_rule,
            "rule for ties": self.ties,
            "rule for missing modalities": self.missing,
            "visual weight": f"{self.visual_weight:g}",
            "audio weight": f"{self.audio_weight:g}",
            "audio type": token_name(self.audio_type),
            "similarity": self.similarity,
            "interval": self.interval,
            "version of the metrics": self.metrics,
        }

    def _chosen(self) -> str:
        """Weights, audio type and similarity, where they are not the defaults."""
        weights = f"visual weight {self.visual_weight:g} and audio weight {self.audio_weight:g}; "
        plain = self.visual_weight == self.audio_weight == 1
        token = "" if self.audio_type is None else f"audio type {token_name(self.audio_type)}; "
        dual = f"dual softmax over all queries at temperature {TEMPERATURE:g}; "
        return ("" if plain else weights) + token + ("" if self.similarity == "pairwise" else dual)


def stamp(
    vectors: ClipVectors,
    *,
    split: Split | None,
    ties: Ties = "pessimistic",
    missing: str = MISSING_RULE,
    audio_type: AudioType | None = None,
    name: str | None = None,
    selected_on_test: bool = False,
    similarity: Similarity = "pairwise",
) -> Protocol:
    """The protocol under which `evaluate(vectors, ties=..., similarity=...)` measures.

    Args:
        vectors: What is measured; fused clips bring their weights.
        split: Of the manifest.
        ties: How a tie counts.
        missing: What was done about missing modalities, in words.
        audio_type: The audio type, if not that of the run.
        name: Of a published protocol.
        selected_on_test: Whether the run's epoch was chosen on the test split.
        similarity: What queries and candidates are ranked by.
    """
    weights = vectors.fused.weights if vectors.fused else Weights()
    asked = [
        f"{kind}\0{vectors.ids[owner]}\0{text}"
        for kind, captions in vectors.captions.items()
        for owner, text in zip(captions.owner.tolist(), captions.texts, strict=True)
    ]
    vision, audio = _present(vectors, "vision"), _present(vectors, "audio")
    return Protocol(
        split=split,
        vision_gallery=digest(vision),
        vision_clips=len(vision),
        audio_gallery=digest(audio),
        audio_clips=len(audio),
        queries=digest(asked),
        captions=len(asked),
        caption_rule=CAPTION_RULE,
        ties=ties,
        missing=missing,
        interval=INTERVAL,
        metrics=METRICS_VERSION,
        name=name,
        visual_weight=weights.visual_weight,
        audio_weight=weights.audio_weight,
        audio_type=audio_type,
        selected_on_test=selected_on_test,
        similarity=similarity,
    )


def yes_or_no(truth: bool) -> str:
    """As people say it."""
    return "yes" if truth else "no"


def token_name(token: AudioType | None) -> str:
    """An audio type token as people write it."""
    if token is None:
        return "the run's own"
    return token if isinstance(token, str) else f"{token:g}"


def _present(vectors: ClipVectors, gallery: Gallery) -> list[str]:
    return [vectors.ids[row] for row in np.flatnonzero(vectors.present(gallery)).tolist()]


def digest(names: Iterable[str]) -> str:
    """A list of names in any order, as 12 hexadecimal digits."""
    # Each name is hashed by its own, so that no id or text can forge a border between two.
    whole = hashlib.sha256()
    for name in sorted(names):
        whole.update(hashlib.sha256(name.encode()).digest())
    return whole.hexdigest()[:12]
