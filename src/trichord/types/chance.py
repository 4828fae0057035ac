"""Torch's random numbers, which belong to whoever calls us."""

from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def own_chance(seed: int | None = None) -> Generator[None]:
    """Draw from torch's random numbers inside; afterwards they are as they were.

    Args:
        seed: What the processor's begin with; None: with what they are.
    """
    # GPUs that nobody has used yet have no numbers to keep, and must not be started for their sake.
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=gpus):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield
