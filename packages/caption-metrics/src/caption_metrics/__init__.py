"""BLEU, METEOR, ROUGE-L and CIDEr of captions, in Python, with the values of coco-caption.

>>> import caption_metrics
>>> references = {"1.mp4": ["a dog barks", "a hound barks"], "2.mp4": ["rain falls"]}
>>> hypotheses = {"1.mp4": "a dog barks", "2.mp4": "rain"}
>>> caption_metrics.score(references, hypotheses, meteor=False)["BLEU-1"]
0.7788007826820048
"""

from caption_metrics.cider import Variant
from caption_metrics.scores import (
    CONFIDENCE,
    METRICS,
    METRICS_VERSION,
    Evaluation,
    Metric,
    evaluate,
    score,
)
from caption_metrics.tokens import TOKENIZERS, Tokenizer

__all__ = [
    "CONFIDENCE",
    "METRICS",
    "METRICS_VERSION",
    "TOKENIZERS",
    "Evaluation",
    "Metric",
    "Tokenizer",
    "Variant",
    "evaluate",
    "score",
]
