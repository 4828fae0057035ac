"""What chooses the best epoch: numbers on the validation clips, the higher the better."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from trichord.evaluation.retrieval import recalls_at
from trichord.evaluation.vectors import embed_source
from trichord.features.source import Source, portions
from trichord.models.embedder import Embedder
from trichord.types import CAPTION_KINDS, CaptionKind

WORDS = "words<-"
"""Begins the criteria that speak of captions that are written, not searched by."""
CAPTIONS_AT_ONCE = 64


def criteria(model: Embedder, validation: Source, names: Sequence[str]) -> dict[str, float]:
    """Those of the named criteria that the validation clips allow.

    Args:
        model: As far as it is trained.
        validation: Clips that nothing is learnt from.
        names: Retrieval tasks, of which R@10 counts, and `words<-KIND`.
    """
    tasks = tuple(name for name in names if not name.startswith(WORDS))
    reached = recalls_at(10, embed_source(model, validation), tasks) if tasks else {}
    for kind in CAPTION_KINDS:
        if f"{WORDS}{kind}" in names:
            found = word_likelihood(model, validation, kind)
            reached |= {} if found is None else {f"{WORDS}{kind}": found}
    return reached


def word_likelihood(model: Embedder, source: Source, kind: CaptionKind) -> float | None:
    """How likely a word of a caption is in the mean, the words before it known; None without captions.

    The geometric mean over all words, ends included, of all captions of a kind whose clips have
    something to be seen or heard: one over the perplexity.
    """
    numbers = source.captions.numbers.get(kind, np.zeros(0, np.int64))
    model.eval()
    total, places = 0.0, 0
    for some in portions(len(numbers), CAPTIONS_AT_ONCE):
        captions = numbers[some]
        with torch.inference_mode():
            batch = source.batch(source.captions.owners[captions], captions).to(model.device)
            words = model(batch).words
        if words is not None and len(words.targets):
            total += float(F.cross_entropy(words.logits.float(), words.targets, reduction="sum"))
            places += len(words.targets)
    return math.exp(-total / places) if places else None
