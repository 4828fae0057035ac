"""Why a file cannot be used: raised in the child, sent to the parent as a status."""

import errno

from trichord.media.probe import Status


class MediaError(Exception):
    """A file or span that cannot be decoded: its status and a short reason."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status: Status = status
        self.reason = reason


def refuse_out_of_memory(error: Exception) -> None:
    """Raise FFmpeg's "cannot allocate" as a MemoryError; other errors are damaged packets, skipped."""
    # FFmpeg reports this when it reaches the limit on address space.
    if getattr(error, "errno", None) == errno.ENOMEM:
        raise MemoryError from error
