"""Captions that speak of sounds which are not there, or cannot be seen, where a package knows the truth."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trichord.types import Clip
from trichord.types.plugins import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Invention:
    """Shares of captions, of all that were written.

    Attributes:
        captions: How many there are.
        named: Say that something is heard, speech included.
        untrue: Name a sound that is not heard in the clip, or speech or a phrase that is not.
        unseen: Name a sound that is not the visible thing's, or any speech: no picture tells it.
        speech: Say that somebody speaks.
        untrue_speech: Say so where nobody does, or quote another phrase.
    """

    captions: int
    named: float
    untrue: float
    unseen: float
    speech: float
    untrue_speech: float

    def line(self) -> str:
        """In one line, to stand beneath a table."""
        return (
            f"Of {self.captions} captions {self.named:.1%} name sounds: {self.untrue:.1%} one that is "
            f"not heard, {self.unseen:.1%} one that cannot be seen; {self.speech:.1%} speak of speech, "
            f"{self.untrue_speech:.1%} falsely."
        )


CaptionCheck = Callable[[Mapping[str, str], Sequence[Clip]], Invention | None]
"""Takes the captions by clip id and the clips; gives None where it does not know these clips."""
CAPTION_CHECKS: Group[CaptionCheck] = Group("caption_checks", "check of captions", {})
"""Checks of other packages, by the entry point `trichord.caption_checks`."""


def count_invention(captions: Mapping[str, str], clips: Sequence[Clip]) -> Invention | None:
    """What the first check that knows the clips counts; None where no installed package knows them."""
    found = (CAPTION_CHECKS.find(kind)(captions, clips) for kind in CAPTION_CHECKS.kinds())
    return next((one for one in found if one is not None), None)
