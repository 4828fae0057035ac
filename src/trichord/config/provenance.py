"""What a run was made of, so that only repetitions of one and the same are pooled."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a run was made of, whatever its seed was and wherever its files lie.

    Attributes:
        settings: Of the experiment, by the names of their options, without the seed. Towers are told by
            a mark of their weights, the clips that were learnt from (`clips`) by one of their manifest;
            settings of the run that it started from begin with `start.`.
        names: What people call the towers and manifests, by the names of the same settings.
        seeds: Of the run, then of those that it started from, one after the other.
        selected_on_test: Whether its epoch, or that of a run that it started from, was chosen on the
            test split.
    """

    settings: dict[str, str]
    names: dict[str, str] = field(default_factory=dict[str, str])
    seeds: tuple[int, ...] = (0,)
    selected_on_test: bool = False
