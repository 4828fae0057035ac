"""How captions were measured, so that two numbers are compared only when that is the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from trichord.evaluation.bootstrap import Resamples
from trichord.evaluation.protocol import (
    SELECTED_ON_TEST,
    SELECTION,
    digest,
    token_name,
    yes_or_no,
)
from trichord.types import AudioType, CaptionKind, Split
from trichord.types.decoding import Beams, LengthPenalty, Longest
from trichord.types.rules import Distinct

WORDS = {
    "ptb": "as the Penn Treebank splits them, without punctuation",
    "blanks": "split at blanks as published, references spelt as the run spells",
}
MISSING = "a clip without what a run reads has an empty caption"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How captions are scored, as reports keep it."""

    tokens: Literal["ptb", "blanks"] = "ptb"
    """`ptb` as coco-caption, or nlg-eval's `blanks`, which leaves punctuation on the words."""
    kept: Literal["all", "as_published"] = "all"
    """`as_published` keeps as many references of each clip as the clip with the fewest has, as nlg-eval."""
    cider: Literal["CIDEr-D", "CIDEr"] = "CIDEr-D"
    """`CIDEr-D` is what coco-caption and nlg-eval print as CIDEr."""
    meteor: bool = True
    """Off saves the seconds it takes to read the paraphrase table."""
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class CaptionRules:
    """How captions are measured, where the run writes some."""

    kind: Annotated[tuple[CaptionKind, ...], Distinct()] = ()
    """Kinds of captions to score against, each apart; those that the run has learnt if not given."""
    beams: Beams = 5
    """Beginnings of captions that are followed at once; 1: greedy."""
    length_penalty: LengthPenalty = 0.0
    """Above 0 favours longer captions; 1: the mean likelihood of a token counts."""
    longest: Longest = None
    """Tokens of a caption at most; as many as the run has room for if not given."""
    tokens: Literal["ptb", "blanks"] = "ptb"
    """Words as the Penn Treebank splits them, or at blanks as published."""
    references: Literal["all", "as_published"] = "all"
    """All that a clip has, or as published as many as every clip has."""
    meteor: bool = True
    """Whether METEOR is measured too: its dictionaries take seconds to read."""
    resamples: Resamples = 1000
    """Of the bootstrap over clips behind each 95 % interval."""

    @property
    def scoring(self) -> Scoring:
        """As reports keep it."""
        return Scoring(
            tokens=self.tokens,
            kept=self.references,
            meteor=self.meteor,
            resamples=self.resamples,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceSet:
    """Clips and references of a kind: how many, and their lists as 12 hexadecimal digits.

    `fewest` and `most` are of one clip.
    """

    clips: int
    clip_list: str
    references: int
    reference_list: str
    fewest: int
    most: int

    @property
    def per_clip(self) -> str:
        """References of a clip."""
        return f"{self.fewest}" if self.fewest == self.most else f"{self.fewest}–{self.most}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionProtocol:
    """Everything besides the model that a caption's score depends on.

    `references` is by kind of caption, `missing` what was done about clips that lack a modality.
    `selected_on_test` is of the run, or of one that it started from: its epoch was chosen on the test
    split. `metrics` is the version of the metrics' definitions, `name` that of a published protocol.
    """

    split: Split | None
    references: dict[CaptionKind, ReferenceSet]
    scoring: Scoring
    beams: int
    length_penalty: float
    longest: int | None
    missing: str
    metrics: int
    audio_type: AudioType | None = None
    selected_on_test: bool = False
    name: str | None = None

    def line(self) -> str:
        """The protocol in one line, to stand beneath every table and figure."""
        kinds = "; ".join(
            f"{kind}: {one.clips} clips ({one.clip_list}), {one.per_clip} references each "
            f"({one.reference_list})"
            for kind, one in self.references.items()
        )
        how = self.scoring
        longest = "" if self.longest is None else f", at most {self.longest} tokens"
        token = "" if self.audio_type is None else f"audio type {self.audio_type}; "
        used = "all" if how.kept == "all" else "as many of each clip as the fewest, as published"
        return (
            f"{SELECTED_ON_TEST if self.selected_on_test else ''}{f'{self.name}: ' if self.name else ''}"
            f"{self.split or 'all'} split; {kinds}; references used: {used}; words: {WORDS[how.tokens]}; "
            f"{how.cider}; beams {self.beams}, length penalty {self.length_penalty:g}{longest}; {token}"
            f"missing modalities {self.missing}; 95 % bootstrap intervals over clips, {how.resamples} "
            f"resamples, seed {how.seed}; caption metrics {self.metrics}"
        )

    def terms(self) -> dict[str, object]:
        """What numbers must have in common to share a column."""
        how = self.scoring
        terms: dict[str, object] = {
            SELECTION: yes_or_no(self.selected_on_test),
            "named protocol": self.name or "none",
            "split": self.split or "all",
            "kinds of captions": ", ".join(self.references),
            "words": how.tokens,
            "references used": how.kept,
            "beams": self.beams,
            "length penalty": self.length_penalty,
            "longest caption": self.longest,
            "rule for missing modalities": self.missing,
            "audio type": token_name(self.audio_type),
            "CIDEr": how.cider,
            "number of resamples": how.resamples,
            "bootstrap seed": how.seed,
            "version of the metrics": self.metrics,
        }
        for kind, one in self.references.items():
            terms[f"clips or references of kind {kind}"] = (
                f"{one.clips} clips {one.clip_list}, {one.references} references {one.reference_list}"
            )
        return terms


def stamp(
    rules: CaptionRules,
    references: Mapping[CaptionKind, Mapping[str, tuple[str, ...]]],
    *,
    split: Split | None,
    missing: str,
    audio_type: AudioType | None = None,
    selected_on_test: bool = False,
    name: str | None = None,
) -> CaptionProtocol:
    """The protocol under which captions are measured by some rules.

    Args:
        rules: How.
        references: Of each kind by clip.
        split: Of the manifest.
        missing: What was done about missing modalities, in words.
        audio_type: The audio type, if not that of the run.
        selected_on_test: Whether the run's epoch was chosen on the test split.
        name: Of a published protocol.
    """
    from caption_metrics import METRICS_VERSION  # reports are read where it is not installed

    return CaptionProtocol(
        split=split,
        references={
            kind: _reference_set(by_clip) for kind, by_clip in references.items() if by_clip
        },
        scoring=rules.scoring,
        beams=rules.beams,
        length_penalty=rules.length_penalty,
        longest=rules.longest,
        missing=f"{missing}, {MISSING}",
        metrics=METRICS_VERSION,
        audio_type=audio_type,
        selected_on_test=selected_on_test,
        name=name,
    )


def _reference_set(by_clip: Mapping[str, tuple[str, ...]]) -> ReferenceSet:
    texts = [f"{clip}\0{text}" for clip, said in by_clip.items() for text in said]
    return ReferenceSet(
        clips=len(by_clip),
        clip_list=digest(by_clip),
        references=len(texts),
        reference_list=digest(texts),
        fewest=min(map(len, by_clip.values())),
        most=max(map(len, by_clip.values())),
    )
