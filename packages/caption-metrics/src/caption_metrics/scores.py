"""Scores of captions: BLEU-1 to BLEU-4, METEOR, ROUGE-L and CIDEr, with intervals.

The units are those of coco-caption: [0, 1], and up to 10 for CIDEr. The values agree with the package
`pycocoevalcap` and its two Java programs; the tests run both where they are installed.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from caption_metrics import bleu, meteor
from caption_metrics.cider import Variant, cider_scores
from caption_metrics.rouge import rouge_l
from caption_metrics.tokens import TOKENIZERS, Tokenizer, Tokens

Metric = Literal["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"]
METRICS: tuple[Metric, ...] = get_args(Metric)
METRICS_VERSION = 1
"""Raised whenever the definition of a metric changes."""
CONFIDENCE = 0.95
"""Of every interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The scores of a set of captions.

    Attributes:
        corpus: The score of the whole set by metric. BLEU and METEOR are those of summed counts, ROUGE-L
            and CIDEr are means. METEOR is absent where it was not measured.
        intervals: The 95 % interval of each of them: lower and upper end.
        captions: The score of each caption, by metric and clip.
        signature: How they were measured, in one line. Scores compare only where it is the same.
        notes: What a reader of the scores should know, one sentence each.
    """

    corpus: dict[Metric, float]
    intervals: dict[Metric, tuple[float, float]]
    captions: dict[Metric, dict[str, float]]
    signature: str
    notes: tuple[str, ...]


def score(
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, str],
    *,
    tokenizer: Tokenizer = "ptb",
    cider: Variant = "CIDEr-D",
    meteor: bool = True,
) -> dict[Metric, float]:
    """Score one caption per clip against the references of the clip.

    `evaluate` also gives scores of each caption and intervals. Warns where METEOR is left out, and where
    captions are empty.

    Args:
        references: The references of each clip, at least one.
        hypotheses: The caption of each clip.
        tokenizer: `ptb` as coco-caption, or `whitespace` as nlg-eval.
        cider: `CIDEr-D` is what coco-caption prints as CIDEr.
        meteor: Whether METEOR is measured.

    Returns:
        The score of the whole set by metric.

    Raises:
        ValueError: As for `evaluate`.
    """
    found = evaluate(
        references, hypotheses, tokenizer=tokenizer, cider=cider, meteor=meteor, resamples=0
    )
    for note in found.notes:
        warnings.warn(note, stacklevel=2)
    return found.corpus


def evaluate(
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, str],
    *,
    tokenizer: Tokenizer = "ptb",
    cider: Variant = "CIDEr-D",
    meteor: bool = True,
    truncate_references: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Score one caption per clip, with scores of each caption and bootstrap intervals over clips.

    Args:
        references: The references of each clip, at least one.
        hypotheses: The caption of each clip. An empty one scores 0 and is counted in the notes.
        tokenizer: `ptb` as coco-caption, or `whitespace` as nlg-eval, which leaves punctuation on words.
        cider: `CIDEr-D` is what coco-caption and nlg-eval print as CIDEr.
        meteor: Whether METEOR is measured. Its paraphrase table takes seconds to read.
        truncate_references: Keep as many references of each clip as the clip with the fewest has.
            nlg-eval does so: it zips the references to columns, which drops the rest.
        resamples: Draws behind each interval; 0 for no intervals.
        seed: Of the draws.

    Raises:
        ValueError: An option has a value that does not exist, no caption is given, captions and
            references are not of the same clips, or a clip has no reference or one without words.
    """
    _require_options(tokenizer, cider, resamples)
    _require_same_clips(references, hypotheses)
    clips = list(hypotheses)
    ours = [TOKENIZERS[tokenizer](hypotheses[clip]) for clip in clips]
    theirs = [_reference_tokens(clip, references[clip], tokenizer) for clip in clips]
    if truncate_references:
        fewest = min(map(len, theirs))
        theirs = [several[:fewest] for several in theirs]
    statistics, notes = _statistics(ours, theirs, cider=cider, with_meteor=meteor)
    each, total = _scores(statistics), _scores(statistics.sum(0, keepdims=True))[0]
    intervals = _intervals(statistics, resamples, seed) if resamples else []
    measured: list[tuple[int, Metric]] = [
        (n, metric) for n, metric in enumerate(METRICS) if not math.isnan(total[n])
    ]
    return Evaluation(
        corpus={metric: float(total[n]) for n, metric in measured},
        intervals={metric: intervals[n] for n, metric in measured if resamples},
        captions={
            metric: dict(zip(clips, map(float, each[:, n]), strict=True)) for n, metric in measured
        },
        signature=_signature(
            theirs, tokenizer=tokenizer, cider=cider, resamples=resamples, seed=seed
        ),
        notes=notes,
    )


def _require_options(tokenizer: str, cider: str, resamples: int) -> None:
    for name, value, known in (
        ("tokenizer", tokenizer, get_args(Tokenizer)),
        ("cider", cider, get_args(Variant)),
    ):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; choose one of {', '.join(known)}.")
    if resamples < 0:
        raise ValueError(f"resamples is {resamples}; it must be 0 or more.")


def _require_same_clips(
    references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str]
) -> None:
    if not hypotheses:
        raise ValueError("There is no caption to score.")
    for clip in hypotheses.keys() ^ references.keys():
        missing = "references" if clip in hypotheses else "caption to score"
        raise ValueError(f'Clip "{clip}" has no {missing}; both mappings need the same clips.')


def _reference_tokens(clip: str, references: Sequence[str], tokenizer: Tokenizer) -> list[Tokens]:
    if isinstance(references, str):
        raise ValueError(f'The references of clip "{clip}" are one string; pass a list of strings.')
    if not references:
        raise ValueError(f'Clip "{clip}" has no reference caption; give it one or leave it out.')
    found = [TOKENIZERS[tokenizer](reference) for reference in references]
    for tokens, reference in zip(found, references, strict=True):
        if not tokens:
            raise ValueError(
                f'Clip "{clip}" has a reference without words ({reference!r}); remove that caption.'
            )
    return found


# A row holds the statistics of one caption: 10 of BLEU, 21 of METEOR, ROUGE-L, CIDEr, and 1 for the
# caption itself. A sum of rows gives the scores of those captions together: a draw of the bootstrap.
_BLEU, _METEOR, _MEANS = slice(0, 10), slice(10, 31), slice(31, 33)


def _statistics(
    hypotheses: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    *,
    cider: Variant,
    with_meteor: bool,
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The statistics of each caption, (captions, 34), NaN for METEOR where it is not measured; notes."""
    rows = np.ones((len(hypotheses), 34))
    pairs = list(zip(hypotheses, references, strict=True))
    rows[:, _BLEU] = [bleu.statistics(*pair) for pair in pairs]
    rows[:, _METEOR] = np.nan
    rows[:, 31] = [rouge_l(*pair) for pair in pairs]
    rows[:, 32] = cider_scores(hypotheses, references, cider)
    notes: list[str] = []
    if with_meteor:
        scorer = meteor.load({tokens for ours, several in pairs for tokens in (ours, *several)})
        if scorer is None:
            notes.append(
                "METEOR is not reported: its word lists come with "
                "`pip install 'caption-metrics[meteor]'`."
            )
        else:
            rows[:, _METEOR] = [scorer.statistics(*pair) for pair in pairs]
    if empty := sum(not tokens for tokens in hypotheses):
        notes.append(f"{empty} of {len(hypotheses)} captions are empty and score 0.")
    if len(hypotheses) == 1:
        notes.append("CIDEr is 0 for a single clip by construction, and intervals have no width.")
    return rows, tuple(notes)


def _scores(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every metric of each row of statistics: (rows, 34) -> (rows, 7)."""
    columns = [bleu.scores(statistics[:, _BLEU]), meteor.scores(statistics[:, _METEOR])[:, None]]
    return np.concatenate([*columns, statistics[:, _MEANS] / statistics[:, -1:]], axis=1)


def _intervals(
    statistics: NDArray[np.float64], resamples: int, seed: int
) -> list[tuple[float, float]]:
    """Percentile bootstrap: as many clips are drawn with replacement as there are."""
    rng = np.random.default_rng(seed)
    clips = len(statistics)
    sums = np.empty((resamples, statistics.shape[1]))
    for draw in range(resamples):
        sums[draw] = np.bincount(rng.integers(clips, size=clips), minlength=clips) @ statistics
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(_scores(sums), (tail, 1 - tail), axis=0)
    return list(zip(map(float, low), map(float, high), strict=True))


def _signature(
    references: Sequence[Sequence[Tokens]],
    *,
    tokenizer: Tokenizer,
    cider: Variant,
    resamples: int,
    seed: int,
) -> str:
    fewest, most = min(map(len, references)), max(map(len, references))
    span = f"{fewest}" if fewest == most else f"{fewest}-{most}"
    bootstrap = f"|bootstrap:{resamples}|seed:{seed}" if resamples else ""
    return (
        f"clips:{len(references)}|refs:{span}|tok:{tokenizer}|cider:{cider}{bootstrap}"
        f"|version:{METRICS_VERSION}"
    )
