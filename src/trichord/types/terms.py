"""Terms of the loss by name: what each compares, and by which loss."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from trichord.types import Side, UserError
from trichord.types.plugins import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One term of the loss, under an inverse temperature of its own.

    Clips that lack one of its sides are left out of it. A term of your own is a value of this class,
    named by an entry point of the group `trichord.losses` or passed by `--plugin`; `Draw.terms` then
    names it by its kind.

    Attributes:
        kind: Its name in `Draw.terms`.
        sides: What it compares: two or more of text, audio, vision and masked (audio with stretches of
            time and bands hidden).
        loss: A function `loss(*vectors, scale=..., options=...)` of unit vectors (pair, dim), one tensor
            for each side, rows of one clip in all of them; see `trichord.losses.Loss`. `info_nce` and
            `intra_nce` are ours; `fused` is InfoNCE of texts and clips, whose similarity the model's
            fusion gives; `words` is the cross-entropy of a caption's words.
    """

    group: ClassVar[str] = "losses"
    kind: str
    sides: tuple[Side, ...]
    loss: Literal["info_nce", "intra_nce", "fused", "words"] | Callable[..., Any] = "info_nce"

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
"""Ours, named for what they pull together: audio, vision, text, masked audio, the clip.

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
        option: What asks for it, for the message.

    Raises:
        UserError: There is none of this name, or what bears it is no term.
    """
    found: Any = LOSSES.find(name, option)
    if not isinstance(found, Term):  # an entry point may hold anything
        raise UserError(
            f"The term '{name}' is no trichord.types.terms.Term but {found!r}: make it one."
        )
    return found
