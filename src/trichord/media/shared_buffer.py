"""Memory that a child shares with its parent: arrays pass over it at half the cost of a pipe."""

import os
import sys
from mmap import mmap

BUFFER_BYTES = 32 * 1024**2
"""Room for the frames and the sound of a dozen clips; what does not fit goes through the pipe."""
ALIGNED = 64


class SharedBuffer:
    """Lays byte strings one behind the other, until it is cleared for the next request."""

    def __init__(self, descriptor: int) -> None:
        """Map what `memory_for_buffer` gave, in the child or in the parent."""
        self.bytes = memoryview(mmap(descriptor, BUFFER_BYTES))
        self.used = 0

    def clear(self) -> None:
        """Begin anew: nobody looks for what was laid down before."""
        self.used = 0

    def put(self, content: memoryview) -> int | None:
        """Lay bytes down and say where they begin; None where there is no room left."""
        begin, end = self.used, self.used + len(content)
        if end > BUFFER_BYTES:
            return None
        self.bytes[begin:end] = content
        self.used = -(-end // ALIGNED) * ALIGNED
        return begin


def memory_for_buffer() -> int | None:
    """An open descriptor of memory for one child and its parent; None where the system has none to give."""
    if sys.platform != "linux":
        return None
    import fcntl

    try:
        # Closed in other programs that are started; `pass_fds` opens it for the one child.
        descriptor = os.memfd_create("trichord-media", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError:
        return None
    try:
        # Before the seals, after which its size stays.
        os.ftruncate(descriptor, BUFFER_BYTES)
        # A parent that reads what its child has cut off would be killed.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def buffer_on(descriptor: int | None) -> SharedBuffer | None:
    """The shared buffer on that memory, whose descriptor may then be closed; None without one."""
    if descriptor is None:
        return None
    try:
        return SharedBuffer(descriptor)
    finally:
        os.close(descriptor)
