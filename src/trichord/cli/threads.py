"""Where a command's model computes, and in how many threads: a command decides for its own process."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from trichord.bulk.options import threads_beside
from trichord.types.threads import set_torch_threads

if TYPE_CHECKING:  # torch stays out until a model is loaded
    from trichord.config import Experiment
    from trichord.models.embedder import Embedder

SMALL_TOWER = 4_000_000
"""Weights of a tower below which one thread reads it; the smallest published ones have twenty times as
many."""


def leave_cores(decoders: int, device: str) -> None:
    """Let towers on the processor have the cores that decoding leaves."""
    import torch

    if device == "cpu":
        set_torch_threads(min(torch.get_num_threads(), threads_beside(decoders)))


def loader_on(device: str) -> "Callable[[str], Embedder]":
    """As `load_embedder`, onto a device; `auto`: a GPU if there is one.

    Raises:
        UserError: There is no such device here; for `auto` and `cpu` nothing is looked up.
    """
    from trichord.api.model import device_of

    chosen = device if device == "auto" else device_of(device)  # before anything heavy is loaded
    return lambda name: load_embedder(name).to(device_of(chosen))


def load_embedder(name: "str | Experiment", start: Path | None = None) -> "Embedder":
    """As `embedder_of`; where all towers are small, one thread reads them from now on.

    Their layers are so soon done that threads wait longer for one another than they save, while
    files are decoded beside them: reading the generated world took a fifth of the processor time.
    """
    from trichord.api.model import embedder_of

    model = embedder_of(name, start)
    sizes = [sum(one.numel() for one in tower.parameters()) for tower in model.encoders().values()]
    if 0 < max(sizes) < SMALL_TOWER:  # 0: none of them is torch's
        set_torch_threads(1)
    return model
