"""Processes side by side, one a device: who we are among them, and what all of them hold.

Without a process group we are the only one, and everything here gives back what it was given.
"""

import gc
import os
import socket
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.distributed import Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from trichord.types import UserError

T = TypeVar("T")

WAIT = timedelta(hours=1)
"""For a rank that is busy, with the validation clips for one; torchrun notices a dead one at once."""


class EchoError(UserError):
    """A mistake that another rank reports; those who hear of it end without a word."""


@contextmanager
def joined(device: str) -> Generator[None]:
    """Belong to the processes that torchrun started, if it started several.

    Reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as every launcher sets them.

    Args:
        device: Where the models are, as torch calls it. Of a machine's GPUs the one of our number
            becomes `cuda`; tensors go between GPUs by NCCL, all else by Gloo.

    Raises:
        UserError: More processes than GPUs, or all on one of them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    kind, _, number = device.partition(":")
    if number:
        raise UserError(f"--device {device}: each process takes the GPU of its own number: {kind}.")
    if kind == "cuda":
        ours, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if ours >= there:
            raise UserError(f"--nproc-per-node: this machine has {there} GPUs: start so many.")
        torch.cuda.set_device(ours)
    ours, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group(
        # NCCL knows GPUs alone; counts, flags and objects are exchanged on the CPU.
        "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo",
        timeout=WAIT,
        store=_meeting_place(ours, count),
        rank=ours,
        world_size=count,
    )
    try:
        yield
        together(lambda: None)  # who left at once would close what others still speak through
    finally:
        dist.destroy_process_group()
        gc.collect()  # what lies in a cycle would keep the group, and its threads, beyond the end


def _meeting_place(ours: int, count: int) -> Store:
    """Where the processes tell each other their addresses, kept by rank 0 for this attempt alone.

    torchrun keeps one for all attempts: after a restart some would find there, and wait for, those that
    were killed. It serves to say where ours is.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    # torchrun sets it where its agent serves the store; with other launchers rank 0 does.
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return TCPStore(host, port, count, is_master=ours == 0, timeout=WAIT)
    persistent = TCPStore(host, port, is_master=False, timeout=WAIT)
    if ours == 0:
        # At a free port that the system picks. The others cannot come before
        # they know it, so that to wait for them here would never end.
        place = TCPStore(host, 0, count, is_master=True, timeout=WAIT, wait_for_workers=False)
        persistent.set("trichord", str(place.port))
        return place
    # `get` waits until a port is there.
    while not _answers(host, port := int(persistent.get("trichord"))):
        time.sleep(0.1)  # that of an attempt that has ended
    return TCPStore(host, port, count, is_master=False, timeout=WAIT)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def rank() -> int:
    """Our number among the processes; 0 leads: it alone writes and speaks."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def agreed(make: Callable[[], T]) -> T:
    """What rank 0 makes, on all ranks; only there is it made.

    Raises:
        EchoError: Making it failed; rank 0 raises what went wrong.
    """
    if ranks() == 1:
        return make()
    # What was made, and whether that failed. It is sent in both cases: the others wait for it.
    outcome: list[Any] = [None, True]
    error: Exception | None = None
    if rank() == 0:
        try:
            outcome = [make(), False]
        except Exception as raised:  # the others wait: they must hear of whatever it was
            error = raised
    dist.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
    if error is not None:
        raise error
    if outcome[1]:
        raise EchoError("Rank 0 says what went wrong.")
    return outcome[0]


def together(make: Callable[[], T]) -> T:
    """What each rank makes for itself, unless one of them fails: then none goes on.

    Raises:
        EchoError: Making it failed elsewhere; the first rank that failed raises what went wrong.
    """
    if ranks() == 1:
        return make()
    made: T | None = None
    error: Exception | None = None
    try:
        made = make()
    except Exception as raised:  # the others wait: they must hear of whatever it was
        error = raised
    # A flag for each rank, not a count: all know which rank speaks, the first that failed.
    failed = torch.zeros(ranks(), dtype=torch.uint8)
    failed[rank()] = error is not None
    dist.all_reduce(failed, dist.ReduceOp.MAX)
    if not failed.any():
        return made  # pyright: ignore[reportReturnType]  # T may be None itself
    first = int(failed.argmax())
    if error is not None and first == rank():
        raise error
    raise EchoError(f"Rank {first} says what went wrong.")


def largest(count: int) -> int:
    """The largest of all ranks' counts."""
    if ranks() == 1:
        return count
    value = torch.tensor(count)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)


def gathered(
    rows: Shaped[Tensor, "row ..."],
) -> tuple[Shaped[Tensor, "all_rows ..."], slice]:
    """The rows of all ranks in their order, without gradient, and where ours stand among them.

    Args:
        rows: Ours, as many as there are, be it none; what follows the first axis is as large
            everywhere.
    """
    rows = rows.detach()
    if ranks() == 1:
        return rows, slice(0, len(rows))
    counts = _counts(rows)
    first = sum(counts[: rank()])
    ours = slice(first, first + len(rows))
    # All ranks have the same counts and skip the exchange together.
    if not any(counts):
        return rows, ours
    # `all_gather` takes parts of one shape: short ones are filled up and cut again.
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]), ours


def _counts(rows: Tensor) -> list[int]:
    counts = torch.zeros(ranks(), dtype=torch.int64, device=rows.device)
    counts[rank()] = len(rows)
    dist.all_reduce(counts)
    return counts.tolist()


def shared(rows: Shaped[Tensor, "row ..."]) -> Shaped[Tensor, "all_rows ..."]:
    """The rows of all ranks in their order, differentiable, for losses that each rank computes whole.

    The backward gives each rank the gradient of its own rows times the number of ranks and sends
    nothing: the mean over ranks of the gradients of parameters is then the gradient of the one loss.

    Args:
        rows: As for `gathered`.
    """
    return rows if ranks() == 1 else _Shared.apply(rows)  # pyright: ignore[reportReturnType]


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        every, ctx.ours = gathered(rows)
        return every

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        # Every rank computes the whole loss, so the gradient of our
        # rows is complete. The factor is undone by the mean over ranks.
        return gradient[ctx.ours] * ranks()


def summed(value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The sum over all ranks, without gradient."""
    total = value.detach().clone()
    if ranks() > 1:
        dist.all_reduce(total)
    return total


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each parameter's gradient by its mean over ranks; None stays where none has any.

    Args:
        parameters: The same on all ranks, in the same order.
    """
    if ranks() == 1:
        return
    trained = list(parameters)
    # A head may be unused on one rank and not on another, but all must
    # enter the same exchanges. Where no rank used it, None stays: with
    # zeros an optimizer would still move it, by its moments and decay.
    used = torch.tensor([one.grad is not None for one in trained], dtype=torch.uint8)
    dist.all_reduce(used, dist.ReduceOp.MAX)
    waiting: list[dist.Work | None] = []
    for one, somewhere in zip(trained, used.tolist(), strict=True):
        if somewhere:
            one.grad = torch.zeros_like(one) if one.grad is None else one.grad
            one.grad /= ranks()
            waiting.append(dist.all_reduce(one.grad, async_op=True))
    for work in waiting:
        if work is not None:
            work.wait()
