"""Memory that a child shares with its parent: arrays cost half as much as over a pipe."""

import os
import sys
from mmap import mmap

BUFFER_BYTES = 32 * 1024**2
"""Enough for frames and audio of a dozen clips; arrays that do not fit go through the pipe."""
ALIGNED = 64


class SharedBuffer:
    """Stores byte strings one after another, until it is cleared for the next request."""

    def __init__(self, descriptor: int) -> None:
        """Map the memory from `memory_for_buffer`, in the child or in the parent."""
        self.bytes = memoryview(mmap(descriptor, BUFFER_BYTES))
        self.used = 0

    def clear(self) -> None:
        """Start again from the beginning; the old content is no longer read."""
        self.used = 0

    def put(self, content: memoryview) -> int | None:
        """Store bytes and return their offset; None if they do not fit."""
        begin, end = self.used, self.used + len(content)
        if end > BUFFER_BYTES:
            return None
        self.bytes[begin:end] = content
        self.used = -(-end // ALIGNED) * ALIGNED
        return begin


def memory_for_buffer() -> int | None:
    """An open descriptor of memory for one child and its parent; None if the system has none."""
    if sys.platform != "linux":
        return None
    import fcntl

    try:
        # Closed in other programs that are started; `pass_fds` keeps it open for the one child.
        descriptor = os.memfd_create("trichord-media", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return None
    try:
        # Before the seals, which fix the size.
        os.ftruncate(descriptor, BUFFER_BYTES)
        # If a child shrank the file, its parent would be killed by SIGBUS.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def buffer_on(descriptor: int | None) -> SharedBuffer | None:
    """The shared buffer on that memory; closes the descriptor. None without one."""
    if descriptor is None:
        return None
    try:
        return SharedBuffer(descriptor)
    finally:
        os.close(descriptor)
