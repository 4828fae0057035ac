"""Terms of the loss by name: the sides that each compares, and its loss."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, ClassVar, Literal, cast, get_args

from trichord.types import Side, UserError
from trichord.types.plugins import Group

SIDES_OF = {
    "info_nce": 2,
    "intra_nce": 2,
    "sigmoid": 2,
    "volume": 3,
    "area": 3,
    "distil": 2,
    "distil_vectors": 1,
}
"""Number of sides that our losses compare."""
RESERVED = ("scale", "directions", "tile", "groups")
"""Keywords that every loss gets."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A number that a loss learns: its start, and the bounds to which each step clamps it."""

    start: float
    bounds: tuple[float, float] = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One term of the loss, under an inverse temperature of its own.

    It skips clips that lack one of its sides. A term of your own is a value of this class,
    named by an entry point of the group `trichord.losses` or passed by `--plugin`; `Draw.terms` then
    names it by its kind.

    Attributes:
        kind: Its name in `Draw.terms`.
        sides: What it compares: two or more of text, audio, vision and masked (audio with stretches of
            time and bands hidden).
        loss: A function of unit vectors (pair, dim), one tensor for each side, and of the keywords scale,
            directions, tile and groups (see `trichord.losses.objective.Loss`), which gives a scalar.
            Ours are `info_nce`, the default, `intra_nce` and `sigmoid`, of three sides `volume` and
            `area`; `distil` (two sides) and `distil_vectors` (one) also get a teacher's vectors; `fused`
            is InfoNCE of texts and clips, whose similarity the model's fusion gives; `words` is the
            cross-entropy of a caption's words.
        weights: Numbers that the loss learns, such as a bias, by the keyword with which it gets each. The
            objective owns them: the optimizer trains them and a run saves them.

    Raises:
        UserError: A side is unknown, there are too few or too many, a weight is impossible, or the loss has
            weights that are not listed, or does not take what it is called with.
    """

    group: ClassVar[str] = "losses"
    kind: str
    sides: tuple[Side, ...]
    loss: (
        Literal["info_nce", "intra_nce", "sigmoid", "volume", "area"]
        | Literal["distil", "distil_vectors", "fused", "words"]
        | Callable[..., Any]
    ) = "info_nce"
    weights: Mapping[str, Weight] = field(default_factory=dict[str, Weight], hash=False)

    def __post_init__(self) -> None:
        odd = [side for side in self.sides if side not in get_args(Side)]
        if odd or not self.sides:
            known = ", ".join(get_args(Side))
            raise UserError(
                f"The term '{self.kind}': its sides are {self.sides}; choose of {known}."
            )
        self._require_fitting_sides()
        self._require_weights()
        self._require_keywords()

    def _require_fitting_sides(self) -> None:
        count = SIDES_OF.get(self.loss) if isinstance(self.loss, str) else None
        if count == 1 and len(self.sides) != 1:
            raise UserError(f"The term '{self.kind}': {self.loss} has one side: name one.")
        if count == 2 and len(self.sides) != 2:
            raise UserError(f"The term '{self.kind}': {self.loss} compares two sides: name two.")
        if count == 3 and not len(self.sides) == len(set(self.sides)) == 3:
            raise UserError(
                f"The term '{self.kind}': {self.loss} compares three different sides: name three."
            )

    def _require_weights(self) -> None:
        if self.loss == "sigmoid" and set(self.weights) != {"bias"}:
            raise UserError(
                f"The term '{self.kind}': sigmoid learns a bias and nothing else: give "
                'weights={"bias": Weight(-10.0)}.'
            )
        if self.weights and isinstance(self.loss, str) and self.loss != "sigmoid":
            raise UserError(f"The term '{self.kind}': {self.loss} learns no weights: give none.")
        for name, weight in self.weights.items():
            low, high = weight.bounds
            if not name.isidentifier() or name in RESERVED:
                raise UserError(
                    f"The term '{self.kind}': its weight is called '{name}': give it a Python name other "
                    f"than {', '.join(RESERVED)}."
                )
            if not (low <= weight.start <= high and math.isfinite(weight.start)):
                raise UserError(
                    f"The term '{self.kind}': its weight '{name}' starts at {weight.start:g}, outside of "
                    f"{low:g} to {high:g}: give a finite start within the bounds."
                )
        hidden = getattr(self.loss, "parameters", None)
        if callable(hidden) and next(iter(cast("Any", hidden())), None) is not None:
            raise UserError(
                f"The term '{self.kind}': its loss has weights, which nothing trains or saves: list them "
                "as numbers in Term(weights=...), or use the term's scale."
            )

    def _require_keywords(self) -> None:
        if not callable(self.loss):
            return
        try:
            parameters = signature(self.loss)
        except (TypeError, ValueError):  # some functions in C have none
            return
        keywords = [*RESERVED, *self.weights]
        try:
            parameters.bind(*self.sides, **dict.fromkeys(keywords))
        except TypeError as error:
            raise UserError(
                f"The term '{self.kind}': its loss is called with {len(self.sides)} tensors and the "
                f"keywords {', '.join(keywords)} ({error}): take what it needs by name and the rest as **_."
            ) from error

    @property
    def contrasts(self) -> bool:
        """Whether it compares clips with one another."""
        return self.loss not in ("words", "distil_vectors")

    @property
    def distils(self) -> bool:
        """Whether it needs a teacher's vectors."""
        return self.loss in ("distil", "distil_vectors")


BIAS = {"bias": Weight(-10.0, (-100.0, 100.0))}
"""SigLIP's start. Beyond the bounds the sign of a logit would not depend on its pair, at the largest usual
scale of 100."""

TERMS: dict[str, Term] = {
    one.kind: one
    for one in (
        Term(kind="av", sides=("audio", "vision")),
        Term(kind="at", sides=("audio", "text")),
        Term(kind="vt", sides=("vision", "text")),
        Term(kind="aa", sides=("audio", "masked"), loss="intra_nce"),
        Term(kind="mt", sides=("masked", "text")),
        Term(kind="tt", sides=("text", "text")),
        Term(kind="vv", sides=("vision", "vision")),
        Term(kind="ct", sides=("text",), loss="fused"),
        Term(kind="lm", sides=("text",), loss="words"),
        Term(kind="av-sigmoid", sides=("audio", "vision"), loss="sigmoid", weights=BIAS),
        Term(kind="at-sigmoid", sides=("audio", "text"), loss="sigmoid", weights=BIAS),
        Term(kind="vt-sigmoid", sides=("vision", "text"), loss="sigmoid", weights=BIAS),
        Term(kind="tva-volume", sides=("text", "vision", "audio"), loss="volume"),
        Term(kind="tva-area", sides=("text", "vision", "audio"), loss="area"),
        Term(kind="av-distil", sides=("audio", "vision"), loss="distil"),
        Term(kind="at-distil", sides=("audio", "text"), loss="distil"),
        Term(kind="vt-distil", sides=("vision", "text"), loss="distil"),
        Term(kind="a-distil", sides=("audio",), loss="distil_vectors"),
        Term(kind="v-distil", sides=("vision",), loss="distil_vectors"),
        Term(kind="t-distil", sides=("text",), loss="distil_vectors"),
    )
}
"""Our terms, named by their sides: audio, vision, text, masked audio, clip.

`av`, `at` and `vt` are SLAVA's L_av, L_at and L_vt, and CLIP4VLA's NCE_av and NCE_at. `aa` is CLIP4VLA's
intra-modal NCE of audio and its masked copy, `mt` that copy against text. `tt` and `vv` push texts
(frames) of different clips apart; the authors' second pretraining stage adds them. `ct` asks for the
clip, vision and audio fused, by its text. `lm` asks for a caption's words, one after another, given the
clip. `av-sigmoid`, `at-sigmoid` and `vt-sigmoid` are SigLIP's loss of these pairs. `tva-volume` (GRAM) and
`tva-area` (TRIANGLE) contrast texts with clips by all three modalities at once. `av-distil`, `at-distil`
and `vt-distil` imitate how a teacher ranks a batch, `a-distil`, `v-distil` and `t-distil` its vectors.
"""
LOSSES: Group[Term] = Group("losses", "loss term", TERMS)


def term_of(name: str, option: str = "") -> Term:
    """The term of a name.

    Args:
        name: Its kind.
        option: The option that names it, for the message.

    Raises:
        UserError: There is none of this name, or it is no term.
    """
    found: Any = LOSSES.find(name, option)
    if not isinstance(found, Term):  # an entry point may hold anything
        raise UserError(
            f"The term '{name}' is no trichord.types.terms.Term but {found!r}: make it one."
        )
    return found
