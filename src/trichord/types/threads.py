"""The one place that sets how many threads torch and NumPy compute with.

A command owns its process and may set them for good. Everything below `cli` may be called by somebody
else's program: it sets them for its own threads alone, and only while these are at work.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager


def set_torch_threads(count: int) -> None:
    """Compute with so many threads of torch from now on: for a process of our own."""
    import torch

    torch.set_num_threads(count)


@contextmanager
def torch_threads(count: int) -> Generator[None]:
    """Compute with so many threads of torch in this thread; afterwards with as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def torch_threads_restored() -> Generator[None]:
    """Whatever threads started within set for themselves, the caller's setting stays what it is.

    torch has a number for each thread, which a thread takes from the process when it first asks, and
    `torch.set_num_threads` sets the one of its thread and that of the process.
    """
    import torch

    before = torch.get_num_threads()  # asking fixes the caller's own number
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
    # NumPy's threads wait for the next product by spinning, for tens of milliseconds after each: the
    # cores they hold are wanted by torch and by decoders. Now they sleep after some 16 cycles.
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
