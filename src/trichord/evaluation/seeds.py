"""Runs of one experiment on the same clips as one system: grouped, put in order, summed up in cells."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Generic, TypeVar, runtime_checkable
from typing import Protocol as Shape

from trichord.config import Provenance
from trichord.evaluation.bootstrap import Estimate, short
from trichord.evaluation.protocol import SELECTION
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
    def provenance(self) -> Provenance:
        """What it was made of."""
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
    and `low` and `high` hold that run's 95 % interval.
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


SHOWN = 3
"""Settings that a heading tells, unless it takes more to tell systems apart."""
MARK = 6
"""Digits of a mark that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Generic[Of]):
    """Reports on runs that differ in nothing but their seeds, in the order of these.

    `differs` is what sets it apart from others of the same experiment: values by setting. `told` is as
    much of that as a heading tells.
    """

    experiment: str
    differs: dict[str, str]
    told: tuple[str, ...]
    reports: tuple[Of, ...]


def in_one_line(experiment: str, told: Sequence[str]) -> str:
    """A system's name, and in brackets what sets it apart from its namesakes."""
    return f"{experiment} ({', '.join(told)})" if told else experiment


def grouped(reports: Sequence[Of]) -> list[Group[Of]]:
    """Reports by what their runs were made of, in the order in which they come.

    Raises:
        UserError: No report, or two runs that are the same in everything, seed included; they are named.
    """
    if not reports:
        raise UserError("Nothing to compare; name at least one evaluated run.")
    alike: list[list[Of]] = []
    for report in reports:
        settings = report.provenance.settings
        others = next((one for one in alike if one[0].provenance.settings == settings), None)
        if others is None:
            alike.append([report])
        else:
            _require_another_seed(report, others)
            others.append(report)
    namesakes: dict[str, list[Provenance]] = defaultdict(list)
    for others in alike:
        namesakes[others[0].experiment].append(others[0].provenance)
    return [_group(others, namesakes[others[0].experiment]) for others in alike]


def _require_another_seed(report: Measured[object], others: Sequence[Measured[object]]) -> None:
    seeds = report.provenance.seeds
    if twin := next((one for one in others if one.provenance.seeds == seeds), None):
        raise UserError(
            f"{twin.run} and {report.run} are the same experiment ({report.experiment}) on the same "
            f"clips with the same seed {report.seed}: leave one of them out."
        )


def _group(reports: Sequence[Of], namesakes: Sequence[Provenance]) -> Group[Of]:
    own, differs = reports[0].provenance, [_apart(one, namesakes) for one in namesakes]
    mine = differs[namesakes.index(own)]
    return Group(
        experiment=reports[0].experiment,
        differs=mine,
        told=_told(mine, differs),
        reports=tuple(sorted(reports, key=lambda one: one.provenance.seeds)),
    )


def _told(mine: Mapping[str, str], differs: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The first settings in which namesakes differ, as many as it takes to tell one from all of them."""
    count = SHOWN
    while (
        count < len(mine) and sum(_first(one, count) == _first(mine, count) for one in differs) > 1
    ):
        count += 1
    more = [f"{len(mine) - count} more"] if len(mine) > count else []
    return (*_first(mine, count), *more)


def _first(differs: Mapping[str, str], count: int) -> list[str]:
    return [f"{name} {value}" for name, value in differs.items()][:count]


def _apart(one: Provenance, namesakes: Sequence[Provenance]) -> dict[str, str]:
    """The settings in which runs differ, with one's own values, under names as short as they can be."""
    every = dict.fromkeys(name for other in namesakes for name in other.settings)
    unlike = [name for name in every if len({o.settings.get(name) for o in namesakes}) > 1]
    unlike.sort(key=lambda name: name != "clips")  # the clips first: nothing matters more
    return {
        _short_name(name, unlike): _value(name, one, namesakes)
        for name in unlike
        if name in one.settings
    }


def _value(name: str, one: Provenance, namesakes: Sequence[Provenance]) -> str:
    """A setting's value; of what is told by a mark the name, where names tell it apart."""
    value = one.settings[name]
    if name not in one.names:
        return value
    others = {o.names.get(name) for o in namesakes if o.settings.get(name) != value}
    return value[:MARK] if one.names[name] in others else one.names[name]


def _short_name(name: str, unlike: Sequence[str]) -> str:
    """The end of a setting's name that no other one of these has; of a start it is said to be."""
    start = "start " if name.startswith("start.") else ""
    others = [
        other for other in unlike if other != name and other.startswith("start.") == bool(start)
    ]
    parts = name.removeprefix("start.").split(".")
    for first in range(len(parts) - 1, 0, -1):
        end = ".".join(parts[first:])
        if end != "name" and not any(f".{other}".endswith(f".{end}") for other in others):
            return start + end
    return start + ".".join(parts)


def require_alike(
    reports: Sequence[Measured[Stamp]], difference: Callable[[Stamp, Stamp], Sequence[str]]
) -> None:
    """Refuse reports under unlike protocols.

    Raises:
        UserError: Two runs, and what sets their protocols apart.
    """
    for other in reports[1:]:
        unlike = difference(reports[0].protocol, other.protocol)
        if not unlike:
            continue
        selected = [one for one in unlike if one.startswith(SELECTION)]
        remedies = ["train both with or both without --select-on-test"] if selected else []
        if len(unlike) > len(selected):
            remedies.append("evaluate both on the same manifest with the same options")
        raise UserError(
            f"{reports[0].run} and {other.run} were measured under unlike protocols"
            f" ({'; '.join(unlike)}): {', and '.join(remedies)}."
        )
