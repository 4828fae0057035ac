"""How bulk work is shared out: options, light enough for a command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

from trichord.types.cores import cores
from trichord.types.rules import Range, Workers, require, require_legal

RunnerKind = Literal["process", "ray"]


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """How bulk work is shared out."""

    runner: RunnerKind = "process"
    """Who does it: this process, or Ray Data."""
    jobs: Workers = 2
    """With 'ray': how many actors work at the same time, each with a model of its own."""
    shards: Annotated[int | None, Range(1, 1_000_000)] = None
    """Pieces that the work is cut into; small ones if not given."""

    def __post_init__(self) -> None:
        """Refuse what nobody could work with.

        Raises:
            UserError: Less than one at a time, or of pieces; or several at a time, and only this process.
        """
        require_legal(self)
        require(
            # An option without effect is refused. The default
            # cannot be told from no option, so it passes.
            self.runner != "process" or self.jobs == Sharing.jobs,
            "--jobs has no effect with --runner process: leave it out, or choose ray.",
        )

    @property
    def alone(self) -> bool:
        """Whether this process does everything, in one piece."""
        return self.runner == "process" and self.shards is None

    def decoders(self, asked: int) -> int:
        """Decoding processes of each, of so many in all."""
        # The user names the decoding processes of the whole machine, which actors share.
        return max(1, asked // self.jobs) if self.runner != "process" else asked


ALONE = Sharing()
"""This process does everything."""


def threads_beside(decoders: int) -> int:
    """Threads for towers on the processor, beside processes that decode.

    With one thread too many all of them spin while they wait for the one that has no core: on two
    busy cores, two threads took towers eight times the processor's time of one.
    """
    return max(1, cores() - decoders)
