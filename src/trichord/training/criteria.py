"""Criteria for the best epoch: numbers on the validation clips, higher is better."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from trichord.config import WORDS
from trichord.evaluation.retrieval import Ranked, ranked
from trichord.evaluation.vectors import embed_source
from trichord.features.source import Source, portions
from trichord.models.embedder import Embedder
from trichord.types import CAPTION_KINDS, CaptionKind

CAPTIONS_AT_ONCE = 64
FEW_CANDIDATES = 50
"""With fewer, R@10 is near 1 before any training; with ten candidates it is 1 by definition."""

Measure = Literal["R@10", "MRR", "likelihood of a word"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """The criterion of a model on the validation clips, higher is better.

    Attributes:
        measure: Kind of the numbers.
        value: By which epochs are compared.
        parts: Value of each retrieval task or kind of captions.
        queries: Number of queries of each retrieval task.
        candidates: Number of candidates of each retrieval task.
    """

    measure: Measure
    value: float
    parts: Mapping[str, float]
    queries: Mapping[str, int] = field(default_factory=dict[str, int])
    candidates: Mapping[str, int] = field(default_factory=dict[str, int])


def log_entry(criterion: Criterion | None) -> dict[str, Any]:
    """A criterion as an entry of the log."""
    return {
        "criterion": None if criterion is None else criterion.value,
        "measure": None if criterion is None else criterion.measure,
        "validation": {} if criterion is None else dict(criterion.parts),
        "queries": {} if criterion is None else dict(criterion.queries),
        "candidates": {} if criterion is None else dict(criterion.candidates),
    }


def measure_criterion(
    model: Embedder, validation: Source, names: Sequence[str]
) -> Criterion | None:
    """The criterion on the validation clips; None if they lack all that it needs.

    Args:
        model: To evaluate.
        validation: Clips that are not trained on.
        names: Retrieval tasks, or only `words<-KIND`.

    Raises:
        UnrankableError: A vector is zero or not finite, or a score is not finite.
    """
    kinds: list[CaptionKind] = [kind for kind in CAPTION_KINDS if f"{WORDS}{kind}" in names]
    if kinds:
        likelihoods = {f"{WORDS}{kind}": word_likelihood(model, validation, kind) for kind in kinds}
        parts = {name: value for name, value in likelihoods.items() if value is not None}
        value = sum(parts.values()) / max(1, len(parts))
        found = Criterion(measure="likelihood of a word", value=value, parts=parts)
        return found if parts else None
    rankings = ranked(embed_source(model, validation), names) if names else {}
    return criterion_of(rankings) if rankings else None


def criterion_of(rankings: Mapping[str, Ranked]) -> Criterion:
    """The mean R@10 of the tasks, or, if a task has few candidates, the MRR over all queries.

    The MRR weights tasks by their queries: in a small split a task may have only three.
    """
    queries = {name: one.queries for name, one in rankings.items()}
    candidates = {name: one.candidates for name, one in rankings.items()}
    if min(candidates.values()) >= FEW_CANDIDATES:
        parts = {name: float(one.ranks.hit(10).mean()) for name, one in rankings.items()}
        measure, value = "R@10", sum(parts.values()) / len(parts)
    else:
        parts = {name: float(one.ranks.reciprocal().mean()) for name, one in rankings.items()}
        total = sum(queries[name] * part for name, part in parts.items())
        measure, value = "MRR", total / sum(queries.values())
    return Criterion(
        measure=measure, value=value, parts=parts, queries=queries, candidates=candidates
    )


def selected_epoch(criteria: Sequence[float | None]) -> int:
    """The number of a stage's selected epoch: the first of the best.

    It is the last epoch if there is no criterion, or if all epochs have the same value.
    """
    if all_equal(criteria) or criteria[-1] is None:
        return len(criteria) - 1
    known = [value for value in criteria if value is not None]
    return known.index(max(known))


def all_equal(criteria: Sequence[float | None]) -> bool:
    """Whether the criterion is the same before training and in every epoch of a stage."""
    return len(criteria) > 1 and len(set(criteria)) == 1


def word_likelihood(model: Embedder, source: Source, kind: CaptionKind) -> float | None:
    """Mean likelihood of a caption's token given the tokens before it; None without captions.

    The geometric mean over all tokens, ends included, of the captions of a kind whose clips have vision
    or audio: one over the perplexity.
    """
    numbers = source.captions.numbers.get(kind, np.zeros(0, np.int64))
    model.eval()
    total, places = 0.0, 0
    for rows in portions(len(numbers), CAPTIONS_AT_ONCE):
        captions = numbers[rows]
        with torch.inference_mode():
            batch = source.batch(source.captions.owners[captions], captions).to(model.device)
            words = model(batch).words
        if words is not None and len(words.targets):
            total += float(F.cross_entropy(words.logits.float(), words.targets, reduction="sum"))
            places += len(words.targets)
    return math.exp(-total / places) if places else None
