"""Captions scored against references: BLEU-1 to -4, METEOR, ROUGE-L and CIDEr, with intervals.

Values have coco-caption's units: [0, 1], CIDEr up to 10. They agree with the `pycocoevalcap` package and
its two Java programs, which the tests run beside this code where they are installed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy import ndarray

from trichord.evaluation.bootstrap import LEVEL, Estimate
from trichord.evaluation.captions.metrics import bleu, meteor
from trichord.evaluation.captions.metrics.cider import Variant, consensus
from trichord.evaluation.captions.metrics.rouge import rouge_l
from trichord.evaluation.captions.metrics.tokens import TOKENISATIONS, Tokenisation, Tokens
from trichord.types import UserError
from trichord.types.arrays import Float

Metric = Literal["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"]
METRICS: tuple[Metric, ...] = (
    "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"
)  # fmt: skip
CAPTION_METRICS = 1
"""Raised whenever the definition of a caption metric changes."""

METEOR_EXTRA = "captions"
"""The optional extra that brings METEOR's word lists (the package pycocoevalcap)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """How captions are scored."""

    tokens: Tokenisation = "ptb"
    """`ptb` as coco-caption, or nlg-eval's `blanks`, which leaves punctuation on the words."""
    kept: Literal["all", "as_published"] = "all"
    """`as_published` keeps as many references of each clip as the clip with the fewest has: nlg-eval
    is handed columns of references, and zipping them to columns drops the rest."""
    cider: Variant = "CIDEr-D"
    """`CIDEr-D` is what coco-caption and nlg-eval print as CIDEr."""
    meteor: bool = True
    """Off saves the seconds it takes to read the paraphrase table."""
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionProtocol:
    """Everything besides the captions that their scores depend on."""

    scoring: Scoring
    clips: int
    fewest: int
    most: int
    metrics: int = CAPTION_METRICS

    def line(self) -> str:
        """The protocol in one line, to stand beneath a table."""
        words = {"ptb": "PTB tokens, punctuation dropped", "blanks": "lower-cased, split at blanks"}
        span = f"{self.fewest}" if self.fewest == self.most else f"{self.fewest}–{self.most}"
        cut = ", cut to the smallest count as published" if self.scoring.kept != "all" else ""
        return (
            f"{words[self.scoring.tokens]}; {self.clips} clips, {span} references each{cut};"
            f" {self.scoring.cider} with document frequencies of these references;"
            f" 95 % bootstrap intervals over clips, {self.scoring.resamples} resamples,"
            f" seed {self.scoring.seed}; caption metrics {self.metrics}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionScores:
    """What captions scored.

    Attributes:
        corpus: The value of the whole set with its interval, None for a metric that could not be
            computed. BLEU and METEOR are those of summed counts, ROUGE-L and CIDEr are means.
        captions: The value of each clip's caption, by metric and clip.
        protocol: How they were scored.
        notes: What a reader of the values should know, a sentence each.
    """

    corpus: Mapping[Metric, Estimate | None]
    captions: Mapping[Metric, Mapping[str, float]]
    protocol: CaptionProtocol
    notes: tuple[str, ...]


def score(
    candidates: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    scoring: Scoring | None = None,
) -> CaptionScores:
    """Score one caption a clip against the clip's references.

    Args:
        candidates: The caption of each clip; an empty one scores 0 and is counted in the notes.
        references: The references of the same clips, at least one each.
        scoring: None for coco-caption's protocol.

    Raises:
        UserError: A clip has no reference, or one without words.
        ValueError: No caption is given, or not the same clips have captions and references.
    """
    scoring = scoring or Scoring()
    _same_clips(candidates, references)
    tokenise = TOKENISATIONS[scoring.tokens]
    own = [tokenise(caption) for caption in candidates.values()]
    theirs = [_words(clip, references[clip], scoring) for clip in candidates]
    counts = [len(several) for several in theirs]
    if scoring.kept == "as_published":
        theirs = [several[: min(counts)] for several in theirs]
    counted, notes = _counted(own, theirs, scoring)
    corpus, captions = _estimates(counted, scoring), _values(counted)
    clips = list(candidates)
    return CaptionScores(
        corpus=corpus,
        captions={
            metric: dict(zip(clips, map(float, column), strict=True))
            for metric, column in zip(METRICS, captions.T, strict=True)
            if corpus[metric] is not None
        },
        protocol=CaptionProtocol(
            scoring=scoring,
            clips=len(own),
            fewest=min(map(len, theirs)),
            most=max(map(len, theirs)),
        ),
        notes=notes,
    )


def _same_clips(candidates: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> None:
    if not candidates:
        raise ValueError("There is no caption to score.")
    for clip in candidates.keys() ^ references.keys():
        missing = "references" if clip in candidates else "caption to score"
        raise ValueError(f'Clip "{clip}" has no {missing}; both mappings need the same clips.')


def _words(clip: str, references: Sequence[str], scoring: Scoring) -> list[Tokens]:
    if not references:
        raise UserError(f'Clip "{clip}" has no reference caption; give it one or leave it out.')
    found = [TOKENISATIONS[scoring.tokens](reference) for reference in references]
    for words, reference in zip(found, references, strict=True):
        if not words:
            raise UserError(
                f'Clip "{clip}" has a reference without words ({reference!r}); remove that caption.'
            )
    return found


# A row of what is counted of a caption: BLEU's 10 columns, METEOR's 21, ROUGE-L, CIDEr, and 1 for the
# caption itself. Whatever clips are drawn, their summed rows give the value of the set.
_BLEU, _METEOR, _MEANS = slice(0, 10), slice(10, 31), slice(31, 33)


def _counted(
    candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]], scoring: Scoring
) -> tuple[Float[ndarray, "clip 34"], tuple[str, ...]]:
    rows = np.ones((len(candidates), 34))
    pairs = list(zip(candidates, references, strict=True))
    rows[:, _BLEU] = [bleu.counts(*pair) for pair in pairs]
    rows[:, _METEOR] = np.nan
    rows[:, 31] = [rouge_l(*pair) for pair in pairs]
    rows[:, 32] = consensus(candidates, references, scoring.cider)
    notes: list[str] = []
    if scoring.meteor:
        everything = {words for own, several in pairs for words in (own, *several)}
        matchers = meteor.read(everything)
        if matchers is None:
            notes.append(f"METEOR is not reported: its word lists need the extra `{METEOR_EXTRA}`.")
        else:
            rows[:, _METEOR] = [matchers.statistics(*pair) for pair in pairs]
    if empty := sum(not words for words in candidates):
        notes.append(f"{empty} of {len(candidates)} captions are empty and score 0.")
    if len(candidates) == 1:
        notes.append("CIDEr is 0 for a single clip by construction, and intervals have no width.")
    return rows, tuple(notes)


def _values(rows: Float[ndarray, "row 34"]) -> Float[ndarray, "row metric"]:
    """Every metric of each row, or of each sum of rows; NaN where METEOR was not counted."""
    columns = [bleu.values(rows[:, _BLEU]), meteor.values(rows[:, _METEOR])[:, None]]
    return np.concatenate([*columns, rows[:, _MEANS] / rows[:, -1:]], axis=1)


def _estimates(
    counted: Float[ndarray, "clip 34"], scoring: Scoring
) -> dict[Metric, Estimate | None]:
    """The value of the set, and the interval over draws of as many clips with replacement."""
    rng = np.random.default_rng(scoring.seed)
    clips = len(counted)
    sums = np.empty((scoring.resamples, counted.shape[1]))
    for draw in range(scoring.resamples):
        sums[draw] = np.bincount(rng.integers(clips, size=clips), minlength=clips) @ counted
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(_values(sums), (tail, 1 - tail), axis=0)
    value = _values(counted.sum(0, keepdims=True))[0]
    return {
        metric: None if np.isnan(one) else Estimate(*map(float, (one, *ends)))
        for metric, one, *ends in zip(METRICS, value, low, high, strict=True)
    }
