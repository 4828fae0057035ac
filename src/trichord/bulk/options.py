"""Options for bulk work, light enough for a command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

from trichord.types.cores import cores
from trichord.types.rules import Range, Workers, require, require_legal

RunnerKind = Literal["process", "ray"]


@dataclass(frozen=True, kw_only=True)
class BulkOptions:
    """How bulk work is divided into shards."""

    runner: RunnerKind = "process"
    """Who does it: this process, or Ray Data."""
    jobs: Workers = 2
    """With 'ray': how many actors work at the same time, each with a model of its own."""
    shards: Annotated[int | None, Range(1, 1_000_000)] = None
    """Pieces that the work is cut into; small ones if not given."""

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            UserError: A number is too small, or there are several jobs but only this process.
        """
        require_legal(self)
        require(
            # An option without effect is refused. The default passes,
            # because it looks the same as no option.
            self.runner != "process" or self.jobs == BulkOptions.jobs,
            "--jobs has no effect with --runner process: leave it out, or choose ray.",
        )

    @property
    def alone(self) -> bool:
        """Whether this process does everything, in one shard."""
        return self.runner == "process" and self.shards is None

    def decoders(self, workers: int) -> int:
        """Decoding processes of each job, of `workers` in all."""
        # The option counts the decoding processes of the whole machine, which actors share.
        return max(1, workers // self.jobs) if self.runner != "process" else workers


ALONE = BulkOptions()
"""This process does everything."""


def threads_beside(decoders: int) -> int:
    """Threads for towers on the CPU, beside decoding processes.

    With one thread too many, all threads spin while they wait for the one without a core: on two busy
    cores, two threads took eight times the CPU time of one.
    """
    return max(1, cores() - decoders)
