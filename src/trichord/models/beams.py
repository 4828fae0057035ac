"""Batched beam search over token sequences."""

import math
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trichord.types.decoding import Beams, LengthPenalty, Longest
from trichord.types.rules import require_legal


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Options of beam search; the defaults are as published, except as `search` says.

    Raises:
        UserError: A value is impossible; named as the option of `trichord caption`.
    """

    beams: Beams = 5
    """Beam size; 1: greedy."""
    length_penalty: LengthPenalty = 0.0
    """A caption's score is its log-likelihood / tokens ** penalty, with the end and without the start.
    Published: 0, which favours short captions; 1: the mean over tokens."""
    longest: Longest = None
    """Most tokens of a caption, start and end included; None: as many as the captioner has positions."""
    keep: int | None = None
    """Number of captions to return for each clip; None: one per beam."""

    def __post_init__(self) -> None:
        require_legal(self)
        if self.keep is not None and not 1 <= self.keep <= self.beams:
            raise ValueError(f"Keep {self.keep} of {self.beams} beams: from 1 to {self.beams}.")

    @property
    def count(self) -> int:
        """Most captions returned for each clip."""
        return self.beams if self.keep is None else self.keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """A token sequence found by beam search."""

    tokens: tuple[int, ...]
    """Start, words, and the end unless `cut`."""
    log_likelihood: float
    """Natural logarithm, of all tokens except the start."""
    score: float
    """The log-likelihood with the length penalty."""
    cut: bool
    """Whether it reached the maximum length before its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """Special tokens of a vocabulary."""

    start: int
    end: int
    forbidden: Bool[Tensor, " token"]
    """Tokens that are never generated, among them the start."""


@runtime_checkable
class Scorer(Protocol):
    """Scores the next token of growing token sequences."""

    def next_logits(self, ids: Int[Tensor, " row"]) -> Float[Tensor, "row token"]:
        """Logits of the next token, given the newest token of each sequence."""
        ...

    def rows(self, indices: Int[Tensor, " row"]) -> "Scorer":
        """The rows of some indices, in their order; an index may occur several times."""
        ...


def search(
    scorer: Scorer, clips: int, special: SpecialTokens, decoding: Decoding, longest: int
) -> list[list[Hypothesis]]:
    """Find the captions with the best scores by beam search.

    In each round all unfinished beams of a clip are extended by every token, finished beams stay as
    they are, and the best of both are kept. A clip is done when its `count` best beams are finished and
    no other can still reach their scores; then its beams are dropped from the batch.

    As published, a clip is done when its best beam is finished. With a penalty of 0 this finds the same
    best caption: likelihoods only fall, so no beam overtakes a finished best beam. The published search
    differs in another way: finished beams that are not the best are extended, and tokens after the end,
    which are cut off later, reduce their scores. That makes no difference if only the end follows the
    end, as a loss that counts padding teaches.

    No caption is empty while the vocabulary has a word: an empty caption is useless, and without a
    penalty its score is hard to beat. Likelihoods are not renormalised for this, nor for forbidden
    tokens.

    Args:
        scorer: Of empty sequences, one per clip.
        clips: Number of clips.
        special: Start, end, and tokens that are never generated.
        decoding: Options.
        longest: Most tokens of a caption, start and end included.

    Returns:
        The best captions of each clip, best first.

    Raises:
        ValueError: Logits are not finite.
    """
    captions: list[list[Hypothesis]] = [[] for _ in range(clips)]
    beams = _Beams.start(clips, special, decoding)
    for place in range(1, longest):
        logits = scorer.next_logits(beams.tokens[..., -1][beams.live])
        beams, parents = beams.extend(*_best_next(logits, beams, special, empty=place == 1), place)
        done = beams.is_done(place, longest)
        for clip in done.nonzero()[:, 0].tolist():
            captions[int(beams.clips[clip])] = beams.best_captions(clip, last=place == longest - 1)
        if done.all():
            break
        beams = beams.select(~done)
        scorer = _select_rows(scorer, parents[~done][beams.live], len(logits))
    return captions


@dataclass(frozen=True, kw_only=True)
class _Beams:
    """Partial captions, best first; an unused beam has a log-likelihood of -inf."""

    decoding: Decoding
    special: SpecialTokens
    clips: Int[Tensor, " clip"]
    tokens: Int[Tensor, "clip beam token"]
    likelihood: Float[Tensor, "clip beam"]
    scored: Int[Tensor, "clip beam"]
    """Scored tokens: without the start and the padding of finished captions."""
    ended: Bool[Tensor, "clip beam"]

    @classmethod
    def start(cls, clips: int, special: SpecialTokens, decoding: Decoding) -> "_Beams":
        """The start token, in the first beam of each clip."""
        device = special.forbidden.device
        shape = (clips, decoding.beams)
        likelihood = torch.full(shape, -math.inf, device=device)
        likelihood[:, 0] = 0.0
        return cls(
            decoding=decoding,
            special=special,
            clips=torch.arange(clips, device=device),
            tokens=torch.full((*shape, 1), special.start, device=device),
            likelihood=likelihood,
            scored=torch.zeros(shape, dtype=torch.long, device=device),
            ended=torch.zeros(shape, dtype=torch.bool, device=device),
        )

    @property
    def live(self) -> Bool[Tensor, "clip beam"]:
        """Unfinished beams; the rows of the scorer, clip by clip."""
        return ~self.ended & self.likelihood.isfinite()

    def extend(
        self, ids: Int[Tensor, "row choice"], log_probs: Float[Tensor, "row choice"], place: int
    ) -> tuple["_Beams", Int[Tensor, "clip beam"]]:
        """The best beams with one more token, and the scorer's row that each continues.

        Args:
            ids: Candidates for the next token of each row.
            log_probs: Their log-likelihoods.
            place: Position of the next token, from 0.
        """
        live = self.live
        # A finished beam stays as it is; others continue with one of the candidates.
        shape = (*live.shape, 1 + ids.shape[1])
        likelihood = log_probs.new_full(shape, -math.inf)
        likelihood[..., 0] = torch.where(self.ended, self.likelihood, -math.inf)
        likelihood[..., 1:][live] = self.likelihood[live][:, None] + log_probs
        last_tokens = ids.new_full(shape, self.special.end)
        last_tokens[..., 1:][live] = ids
        scored = ids.new_full(shape, place)
        scored[..., 0] = self.scored
        likelihood, last_tokens, scored = (
            one.flatten(1) for one in (likelihood, last_tokens, scored)
        )
        scores = _score(likelihood, scored, self.decoding.length_penalty)
        best = scores.sort(dim=1, descending=True, stable=True).indices[:, : live.shape[1]]
        parents = best // shape[2]
        before = self.tokens.gather(1, parents[..., None].expand(-1, -1, place))
        last_tokens, likelihood = last_tokens.gather(1, best), likelihood.gather(1, best)
        beams = replace(
            self,
            tokens=torch.cat([before, last_tokens[..., None]], dim=2),
            likelihood=likelihood,
            scored=scored.gather(1, best),
            ended=(last_tokens == self.special.end) & likelihood.isfinite(),
        )
        row = torch.zeros_like(parents)
        row[live] = torch.arange(len(ids), device=ids.device)
        return beams, row.gather(1, parents)

    def is_done(self, place: int, longest: int) -> Bool[Tensor, " clip"]:
        """Clips whose best captions are final."""
        if place == longest - 1:
            return torch.ones_like(self.ended[:, 0])
        penalty = self.decoding.length_penalty
        # An upper bound: all further tokens are certain, and their number is the best for the penalty.
        bounds = [
            _score(self.likelihood, torch.full_like(self.scored, scored), penalty)
            for scored in (place + 1, longest - 1)
        ]
        bound = torch.where(self.live, torch.maximum(*bounds), -math.inf).amax(dim=1)
        scores = _score(self.likelihood, self.scored, penalty)
        ended = torch.where(self.ended, scores, -math.inf).sort(dim=1, descending=True).values
        return ended[:, self.decoding.count - 1] >= bound

    def select(self, indices: Bool[Tensor, " clip"]) -> "_Beams":
        """The beams of some clips."""
        names = ("clips", "tokens", "likelihood", "scored", "ended")
        return replace(self, **{name: getattr(self, name)[indices] for name in names})

    def best_captions(self, clip: int, *, last: bool) -> list[Hypothesis]:
        """A clip's captions, best first.

        Args:
            clip: Index of the clip.
            last: Whether the maximum length is reached, so that unfinished captions are cut.
        """
        complete = self.ended[clip] | self.live[clip] if last else self.ended[clip]
        places = complete.nonzero()[:, 0][: self.decoding.count].tolist()
        scores = _score(self.likelihood, self.scored, self.decoding.length_penalty)
        return [
            Hypothesis(
                tokens=tuple(self.tokens[clip, i, : int(self.scored[clip, i]) + 1].tolist()),
                log_likelihood=float(self.likelihood[clip, i]),
                score=float(scores[clip, i]),
                cut=not self.ended[clip, i],
            )
            for i in places
        ]


def _best_next(
    logits: Float[Tensor, "row token"], beams: _Beams, special: SpecialTokens, *, empty: bool
) -> tuple[Int[Tensor, "row choice"], Float[Tensor, "row choice"]]:
    """The most likely next tokens of each row, as many as there are beams, and their log-likelihoods.

    Raises:
        ValueError: Logits are not finite.
    """
    total = logits.float().logsumexp(dim=1, keepdim=True)
    if not total.isfinite().all():
        raise ValueError("The captioner's scores are not numbers: its weights are broken.")
    forbidden = special.forbidden
    if empty:
        forbidden_now = forbidden.clone()
        forbidden_now[special.end] = True
        forbidden = forbidden if forbidden_now.all() else forbidden_now
    count = min(beams.decoding.beams, logits.shape[1])
    best = logits.float().masked_fill(forbidden, -math.inf).topk(count, dim=1)
    return best.indices, best.values - total


def _score(
    likelihood: Float[Tensor, "clip candidate"],
    scored: Int[Tensor, "clip candidate"],
    penalty: float,
) -> Float[Tensor, "clip candidate"]:
    return likelihood / scored.clamp(min=1).to(likelihood.dtype) ** penalty


def _select_rows(scorer: Scorer, rows: Int[Tensor, " row"], of: int) -> Scorer:
    """Some rows of a scorer; itself if they are all rows in order, as in greedy search."""
    if len(rows) == of and torch.equal(rows, torch.arange(of, device=rows.device)):
        return scorer
    return scorer.rows(rows)
