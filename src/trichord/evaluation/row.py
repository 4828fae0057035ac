"""One line of a report: what was measured of a task, of a kind of caption, of a fold."""

from dataclasses import dataclass, field

from trichord.evaluation.bootstrap import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """What was measured of one thing, by the names of the measures.

    Attributes:
        name: The task, the kind of caption, the fold.
        sizes: How many queries, clips, references and the like.
        estimates: Measures with their 95 % intervals; none where there was nothing to measure.
        numbers: Measures without an interval.
        chance: What a random answer reaches.
        ceiling: The best possible value, where it is known.
    """

    name: str
    sizes: dict[str, int]
    estimates: dict[str, Estimate] = field(default_factory=dict[str, Estimate])
    numbers: dict[str, float] = field(default_factory=dict[str, float])
    chance: dict[str, float] = field(default_factory=dict[str, float])
    ceiling: dict[str, float] = field(default_factory=dict[str, float])
