"""The provenance of a run, so that only repetitions of the same experiment are pooled."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What a run was made from, independent of its seed and of where its files are.

    Attributes:
        settings: The experiment by option name, without the seed. Encoders are given by a hash of their
            weights, training clips (`clips`) by a hash of their manifest; settings of the run that it
            started from begin with `start.`, those of its teacher with `teacher.`.
        names: Names of encoders and manifests, by the same settings.
        seeds: Of the run, then of the runs that it started from or learned from.
        selected_on_test: Whether its epoch, or that of such a run, was chosen on the test split.
    """

    settings: dict[str, str]
    names: dict[str, str] = field(default_factory=dict[str, str])
    seeds: tuple[int, ...] = (0,)
    selected_on_test: bool = False
