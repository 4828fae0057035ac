"""Which modalities a model compares: pairs whose encoders share a space."""

from collections.abc import Collection

from trichord.types import Modality

Pair = tuple[Modality, Modality]
ALL_PAIRS: frozenset[Pair] = frozenset({("text", "vision"), ("text", "audio"), ("audio", "vision")})
"""The pairs of a model with one space."""


def comparable_pairs(*, one_space: bool) -> frozenset[Pair]:
    """The pairs of a model whose vision and audio share a space, or do not."""
    return ALL_PAIRS if one_space else ALL_PAIRS - {("audio", "vision")}


def compares(pairs: Collection[Pair], one: Modality, other: Modality) -> bool:
    """Whether two modalities are among the pairs, in either order."""
    return (one, other) in pairs or (other, one) in pairs


def not_comparable(one: Modality, other: Modality) -> str:
    """Why two modalities cannot be compared, for a message: a clause without its full stop."""
    return (
        f"this model does not compare {one} with {other}: their encoders were not trained into one "
        "space"
    )
