"""Why a file cannot be used: raised in the child, told as a status."""

import errno

from trichord.media.probe import Status


class MediaError(Exception):
    """A file or span that gives nothing: its status and the reason in a few words."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status: Status = status
        self.reason = reason


def refuse_out_of_memory(error: Exception) -> None:
    """Pass FFmpeg's "cannot allocate" on as a MemoryError; a damaged packet is skipped instead."""
    # This is how FFmpeg reports that it met the limit on address space.
    if getattr(error, "errno", None) == errno.ENOMEM:
        raise MemoryError from error
