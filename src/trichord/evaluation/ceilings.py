"""The best that can be reached on given clips, where an installed package knows it."""

from collections.abc import Callable, Sequence

from trichord.types import Clip
from trichord.types.plugins import Group

Ceiling = Callable[[Sequence[Clip]], dict[str, dict[int, float]] | None]
"""The best possible R@k of each task (task, then k) on clips; None where it does not know these clips."""
CEILINGS: Group[Ceiling] = Group("ceilings", "ceiling", {})
"""Ceilings of other packages, by the entry point `trichord.ceilings`."""


def known_ceiling(clips: Sequence[Clip]) -> dict[str, dict[int, float]] | None:
    """What the first that knows these clips gives; None where no installed package knows them."""
    found = (CEILINGS.find(kind)(clips) for kind in CEILINGS.kinds())
    return next((one for one in found if one is not None), None)
