"""Torch's global random generators, which belong to the caller."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def isolated_rng(seed: int | None = None) -> Generator[None]:
    """Use torch's global random generators inside the block and restore them afterwards.

    Args:
        seed: Of the CPU generator inside; None: it continues.
    """
    # Asking for the state of a GPU that is not used yet would initialise it.
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=gpus):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield
