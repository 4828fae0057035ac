"""A quick mark of a file's content, to tell whether it changed."""

import errno
import os
import stat
from hashlib import blake2b
from pathlib import Path

EDGE = 1024 * 1024


def file_signature(path: str | Path) -> str:
    """Mark of a file from its size and its first and last MiB (32 hexadecimal digits).

    A fast detector of changed and renamed files, not proof of equality: an edit in place that
    leaves the size, the head and the tail alone goes unnoticed.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    digest = blake2b(digest_size=16)
    # Without O_NONBLOCK, opening a FIFO would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        there = os.fstat(descriptor)
        if not stat.S_ISREG(there.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        size = there.st_size
        digest.update(size.to_bytes(8, "big"))
        digest.update(file.read(EDGE))
        file.seek(max(0, size - EDGE))
        digest.update(file.read(EDGE))
    return digest.hexdigest()
