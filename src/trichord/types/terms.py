"""Terms of the loss by name: the sides that each compares, and its loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast, get_args

from trichord.types import Side, UserError
from trichord.types.plugins import Group


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
            `info_nce`, the default, and `intra_nce` are ours; `fused` is InfoNCE of texts and clips, whose
            similarity the model's fusion gives; `words` is the cross-entropy of a caption's words.

    Raises:
        UserError: A side is unknown, the sides are too few, or the loss has its own weights.
    """

    group: ClassVar[str] = "losses"
    kind: str
    sides: tuple[Side, ...]
    loss: Literal["info_nce", "intra_nce", "fused", "words"] | Callable[..., Any] = "info_nce"

    def __post_init__(self) -> None:
        odd = [side for side in self.sides if side not in get_args(Side)]
        if odd or not self.sides:
            known = ", ".join(get_args(Side))
            raise UserError(
                f"The term '{self.kind}': its sides are {self.sides}; choose of {known}."
            )
        if self.loss in ("info_nce", "intra_nce") and len(self.sides) != 2:
            raise UserError(f"The term '{self.kind}': {self.loss} compares two sides: name two.")
        weights = getattr(self.loss, "parameters", None)
        if callable(weights) and next(iter(cast("Any", weights())), None) is not None:
            raise UserError(
                f"The term '{self.kind}': its loss has weights, which nothing trains or saves: compute "
                "them from the scores, or use the term's scale."
            )

    @property
    def contrasts(self) -> bool:
        """Whether it compares clips with one another."""
        return self.loss != "words"


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
    )
}
"""Our terms, named by their sides: audio, vision, text, masked audio, clip.

`av`, `at` and `vt` are SLAVA's L_av, L_at and L_vt, and CLIP4VLA's NCE_av and NCE_at. `aa` is CLIP4VLA's
intra-modal NCE of audio and its masked copy, `mt` that copy against text. `tt` and `vv` push texts
(frames) of different clips apart; the authors' second pretraining stage adds them. `ct` asks for the
clip, vision and audio fused, by its text. `lm` asks for a caption's words, one after another, given the
clip.
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
