"""Runs that differ in their seeds alone, grouped as one system, and what sets systems apart."""

from collections.abc import Mapping, Sequence

from trichord.config import Provenance
from trichord.evaluation.protocol import SELECTION, difference
from trichord.evaluation.report import AnyReport, Report
from trichord.types import UserError

SHOWN = 3
"""Settings in a heading, unless it takes more to tell systems apart."""
MARK = 6
"""Digits of a fingerprint that are shown."""


def group_by_seed(reports: Sequence[AnyReport]) -> list[list[AnyReport]]:
    """Reports on runs that differ in nothing but their seeds, in the order of these.

    Raises:
        UserError: No report, or two runs that are the same in everything, seed included; they are named.
    """
    if not reports:
        raise UserError("Nothing to compare; name at least one evaluated run.")
    groups: list[list[AnyReport]] = []
    for report in reports:
        settings = report.provenance.settings
        group = next((one for one in groups if one[0].provenance.settings == settings), None)
        if group is None:
            groups.append([report])
            continue
        seeds = report.provenance.seeds
        if twin := next((one for one in group if one.provenance.seeds == seeds), None):
            raise UserError(
                f"{twin.run} and {report.run} are the same experiment ({report.experiment}) on the same "
                f"clips with the same seed {report.seed}: leave one of them out."
            )
        group.append(report)
    return [sorted(group, key=lambda one: one.provenance.seeds) for group in groups]


def label_of(mine: Mapping[str, str], differs: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """What a heading shows: the first settings in which namesakes differ, as many as tell them apart."""
    count = SHOWN
    while (
        count < len(mine) and sum(_first(one, count) == _first(mine, count) for one in differs) > 1
    ):
        count += 1
    more = [f"{len(mine) - count} more"] if len(mine) > count else []
    return (*_first(mine, count), *more)


def _first(differs: Mapping[str, str], count: int) -> list[str]:
    return [f"{name} {value}" for name, value in differs.items()][:count]


def differing_settings(one: Provenance, namesakes: Sequence[Provenance]) -> dict[str, str]:
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
    """A setting's value; of a fingerprint the name of what it is of, where names tell it apart."""
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


def require_same_protocol(reports: Sequence[Report]) -> None:
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
