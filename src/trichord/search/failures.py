"""Stored failures that are out of date: a limit, or what is installed, has changed since."""

import re
from pathlib import Path

from trichord.media.containers import HEAD, UNKNOWN_FORMAT, container_of
from trichord.media.plan import Limits
from trichord.media.probe import USABLE
from trichord.search.entries import KnownFile
from trichord.types.extras import is_cured

PIXELS = re.compile(r"(\d+) x (\d+) pixels, the limit is (\d+) pixels")
TIMEOUT = re.compile(r"not done within (\S+) s")


def is_outdated(known: KnownFile, limits: Limits) -> bool:
    """Whether a file that could not be read when it was stored may be readable now.

    Another failure is stored with another reason, so that no file is read at every update.

    Args:
        known: The file.
        limits: Of the decoder that would read it.
    """
    reason = known.reason
    if any(status in USABLE for status in known.statuses):
        return False
    if (found := PIXELS.fullmatch(reason)) is not None:
        width, height, limit = map(int, found.groups())
        # The limit of a video or an animation is another one than that of a still.
        return limit != limits.pixels and width * height <= limits.still_pixels
    if (found := TIMEOUT.fullmatch(reason)) is not None:
        return float(found[1]) < limits.wall_seconds
    return is_cured(reason) or (reason == UNKNOWN_FORMAT and _has_format(known.version.file))


def _has_format(file: str) -> bool:
    """Whether this version reads the format of a file."""
    try:
        with Path(file).open("rb") as opened:
            return container_of(opened.read(HEAD)) is not None
    except OSError:
        return False
