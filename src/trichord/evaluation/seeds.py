"""Runs of several seeds as one system: grouped, put in order, and summed up in cells of a table."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Protocol as Shape
from typing import TypeVar, runtime_checkable

from trichord.evaluation.bootstrap import Estimate, short
from trichord.types import UserError

Rules = TypeVar("Rules", covariant=True)
Stamp = TypeVar("Stamp")


@runtime_checkable
class Measured(Shape[Rules]):
    """A report on one run; `Rules` is its protocol."""

    @property
    def run(self) -> str:
        """What the run is called."""
        ...

    @property
    def experiment(self) -> str:
        """What was trained."""
        ...

    @property
    def seed(self) -> int:
        """Of the training."""
        ...

    @property
    def protocol(self) -> Rules:
        """How it was measured."""
        ...


Of = TypeVar("Of", bound=Measured[object])


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One system on one task: the mean of a number over training seeds.

    `sd` is the sample standard deviation (n - 1) over several seeds. With one seed there is none,
    and `low` and `high` hold that run's 95 % bootstrap interval.
    """

    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, found: Sequence[Estimate]) -> "Cell | None":
        """Sum up the numbers of several seeds; None where there is none."""
        if not found:
            return None
        if len(found) == 1:
            return cls(mean=found[0].value, low=found[0].low, high=found[0].high)
        values = [one.value for one in found]
        return cls(mean=mean(values), sd=stdev(values))

    @property
    def span(self) -> tuple[float, float]:
        """The ends of the bar to draw: mean ± sd, or the interval."""
        if self.sd is not None:
            return self.mean - self.sd, self.mean + self.sd
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    def __str__(self) -> str:
        if self.sd is not None:
            return f"{self.mean:.2f}±{short(self.sd)}"
        return str(Estimate(self.mean, *self.span))


def spread(counts: Iterable[int]) -> str:
    """What the number beside each mean is, in words, where systems have so many seeds each."""
    held = set(counts)
    words = ["mean ± sample sd over training seeds"] if held - {1} else []
    words += ["one seed: its 95 % interval over clips"] if 1 in held else []
    return "; ".join(words)


def by_experiment(reports: Sequence[Of]) -> Mapping[str, list[Of]]:
    """Reports by what was trained, each in the order of its seeds.

    Raises:
        UserError: No report, or the same experiment and seed twice; the runs are named.
    """
    if not reports:
        raise UserError("Nothing to compare; name at least one evaluated run.")
    grouped: dict[str, dict[int, Of]] = defaultdict(dict)
    for report in reports:
        if twin := grouped[report.experiment].get(report.seed):
            raise UserError(
                f"{twin.run} and {report.run} are both {report.experiment} with seed {report.seed};"
                " name one of them, or train with other seeds."
            )
        grouped[report.experiment][report.seed] = report
    return {name: [held[seed] for seed in sorted(held)] for name, held in grouped.items()}


def require_alike(
    reports: Sequence[Measured[Stamp]], difference: Callable[[Stamp, Stamp], Sequence[str]]
) -> None:
    """Refuse reports under unlike protocols.

    Raises:
        UserError: Two runs, and what sets their protocols apart.
    """
    for other in reports[1:]:
        if unlike := difference(reports[0].protocol, other.protocol):
            raise UserError(
                f"{reports[0].run} and {other.run} were measured under unlike protocols"
                f" ({'; '.join(unlike)}); evaluate both on the same manifest with the same options."
            )
