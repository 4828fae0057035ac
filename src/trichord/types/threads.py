"""The only module that sets the number of threads of torch and NumPy.

A command owns its process and may set them permanently. Everything below `cli` may run in another
program: it sets them only for its own threads, and only while these work.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager


def set_torch_threads(count: int) -> None:
    """Set the number of torch threads permanently, in a process of our own."""
    import torch

    torch.set_num_threads(count)


@contextmanager
def torch_threads(count: int | None = None) -> Generator[None]:
    """Set the number of torch threads in this thread, if given, and restore it afterwards.

    Also restores it after threads that started in the block have set theirs: torch has a number per
    thread, which a thread copies from the process at its first use, and `torch.set_num_threads` sets
    that of its thread and that of the process.
    """
    import torch

    before = torch.get_num_threads()  # reading it fixes the caller's own number
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def let_numpy_threads_sleep(*, one: bool) -> None:
    """Set what OpenBLAS reads when NumPy is first imported, unless the user has set it.

    Args:
        one: Use one thread: where matrices are small, more of them only wait for one another.
    """
    if one:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # NumPy's threads spin for tens of milliseconds after each product, on cores that torch and
    # decoders need. With this they sleep after some 16 cycles.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
