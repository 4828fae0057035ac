"""Processes in parallel, one per device: their ranks and the exchange of tensors and objects.

Without a process group there is one process, and all functions return their input.
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
"""For a busy rank, for example in validation; torchrun notices a dead one at once."""


class OtherRankError(UserError):
    """An error that another rank reports; this rank ends without a message."""


@contextmanager
def process_group(device: str) -> Generator[None]:
    """Join the process group of torchrun, if it started several processes.

    Reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, as every launcher sets them.

    Args:
        device: The device of the models, as in torch. `cuda` becomes the GPU of the local rank;
            tensors go between GPUs by NCCL, everything else by Gloo.

    Raises:
        UserError: More processes than GPUs, or one GPU for all of them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    kind, _, number = device.partition(":")
    if number:
        raise UserError(f"--device {device}: each process uses the GPU of its rank: give {kind}.")
    if kind == "cuda":
        own_rank, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if own_rank >= gpus:
            raise UserError(f"--nproc-per-node: this machine has {gpus} GPUs: start so many.")
        torch.cuda.set_device(own_rank)
    own_rank, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group(
        # NCCL supports GPUs only; counts, flags and objects are exchanged on the CPU.
        "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo",
        timeout=WAIT,
        store=_rendezvous_store(own_rank, count),
        rank=own_rank,
        world_size=count,
    )
    try:
        yield
        on_all_ranks(lambda: None)  # a rank that leaves early would close connections in use
    finally:
        dist.destroy_process_group()
        gc.collect()  # reference cycles would keep the group and its threads alive


def _rendezvous_store(own_rank: int, count: int) -> Store:
    """The store through which processes find each other; rank 0 serves one for this attempt.

    torchrun's store serves all attempts: after a restart, processes would find the addresses of killed
    ones there and wait for them. So it is only used to announce the port of our own store.
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    # torchrun sets it if its agent serves the store; with other launchers rank 0 does.
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return TCPStore(host, port, count, is_master=own_rank == 0, timeout=WAIT)
    persistent = TCPStore(host, port, is_master=False, timeout=WAIT)
    if own_rank == 0:
        # At a free port that the system chooses. The others cannot connect
        # before they know it, so waiting for them here would never end.
        place = TCPStore(host, 0, count, is_master=True, timeout=WAIT, wait_for_workers=False)
        persistent.set("trichord", str(place.port))
        return place
    # `get` waits until a port is set.
    while not _answers(host, port := int(persistent.get("trichord"))):
        time.sleep(0.1)  # the port of an earlier attempt
    return TCPStore(host, port, count, is_master=False, timeout=WAIT)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def rank() -> int:
    """The number of this process; only rank 0 writes files and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def on_rank_0(compute: Callable[[], T]) -> T:
    """Compute a value on rank 0 and send it to all ranks.

    Raises:
        OtherRankError: Rank 0 failed; it raises the error itself.
    """
    if world_size() == 1:
        return compute()
    # The value, and whether rank 0 failed. Sent in both cases, because the others wait.
    outcome: list[Any] = [None, True]
    error: Exception | None = None
    if rank() == 0:
        try:
            outcome = [compute(), False]
        except Exception as failure:  # the others wait for the outcome
            error = failure
    dist.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
    if error is not None:
        raise error
    if outcome[1]:
        raise OtherRankError("Rank 0 reports the error.")
    return outcome[0]


def on_all_ranks(compute: Callable[[], T]) -> T:
    """Compute a value on each rank; if one fails, all stop.

    Raises:
        OtherRankError: Another rank failed; the first one that failed raises the error itself.
    """
    if world_size() == 1:
        return compute()
    result: T | None = None
    error: Exception | None = None
    try:
        result = compute()
    except Exception as failure:  # the others wait for the outcome
        error = failure
    # A flag for each rank, not a count, so that all know the first that failed.
    failed = torch.zeros(world_size(), dtype=torch.uint8)
    failed[rank()] = error is not None
    dist.all_reduce(failed, dist.ReduceOp.MAX)
    if not failed.any():
        return result  # pyright: ignore[reportReturnType]  # T may be None itself
    first = int(failed.argmax())
    if error is not None and first == rank():
        raise error
    raise OtherRankError(f"Rank {first} reports the error.")


def all_max(count: int) -> int:
    """The maximum of a count over all ranks."""
    if world_size() == 1:
        return count
    value = torch.tensor(count)
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)


def all_gather(
    rows: Shaped[Tensor, "row ..."],
) -> tuple[Shaped[Tensor, "all_rows ..."], slice]:
    """The rows of all ranks in order of rank, without gradient, and the slice of this rank's rows.

    Args:
        rows: Of this rank, any number; the other axes have the same size on all ranks.
    """
    rows = rows.detach()
    if world_size() == 1:
        return rows, slice(0, len(rows))
    every = torch.zeros(world_size(), dtype=torch.int64, device=rows.device)
    every[rank()] = len(rows)
    dist.all_reduce(every)
    counts: list[int] = every.tolist()
    first = sum(counts[: rank()])
    own_rows = slice(first, first + len(rows))
    # All ranks have the same counts and skip the exchange together.
    if not any(counts):
        return rows, own_rows
    # torch's `all_gather` needs one shape: short parts are padded and cut again.
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)]), own_rows


def all_gather_with_grad(rows: Shaped[Tensor, "row ..."]) -> Shaped[Tensor, "all_rows ..."]:
    """The rows of all ranks in order of rank, differentiable, if each rank computes the whole loss.

    The backward gives each rank the gradient of its own rows times the number of ranks, without
    communication: the mean of the parameters' gradients over ranks is then that of the loss.

    Args:
        rows: As for `all_gather`.
    """
    return rows if world_size() == 1 else _Shared.apply(rows)  # pyright: ignore[reportReturnType]


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        all_rows, ctx.own_rows = all_gather(rows)
        return all_rows

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        # Every rank computes the whole loss, so the gradient of its rows
        # is complete. The mean over ranks cancels the factor.
        return gradient[ctx.own_rows] * world_size()


def all_sum(value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The sum over all ranks, without gradient."""
    total = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(total)
    return total


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each parameter's gradient by its mean over ranks; None stays if no rank has one.

    Args:
        parameters: The same on all ranks, in the same order.
    """
    if world_size() == 1:
        return
    trained = list(parameters)
    # A head may be unused on some ranks only, but all ranks must enter
    # the same exchanges. If no rank used it, None stays: with zeros
    # an optimizer would still move it, by its moments and decay.
    used = torch.tensor([parameter.grad is not None for parameter in trained], dtype=torch.uint8)
    dist.all_reduce(used, dist.ReduceOp.MAX)
    waiting: list[dist.Work | None] = []
    for parameter, somewhere in zip(trained, used.tolist(), strict=True):
        if somewhere:
            parameter.grad = (
                torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            )
            parameter.grad /= world_size()
            waiting.append(dist.all_reduce(parameter.grad, async_op=True))
    for work in waiting:
        if work is not None:
            work.wait()
