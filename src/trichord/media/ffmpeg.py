"""Which FFmpeg decodes, and what is known to be wrong with it."""

import re

MENDED = (8, 1, 3)
"""The first release in which the holes known to us are closed."""
HOLES = "CVE-2026-107695 and CVE-2026-107697, both in playlists"


def known_holes(version: str | None = None) -> str:
    """One line on known holes of FFmpeg and what they mean here; empty where none is known.

    Args:
        version: As FFmpeg calls itself, such as `8.1.2` or `n8.1.2`; of the one in use, if not said.
            One built between releases, which has no such number, is taken to be new.
    """
    if version is None:
        import av

        version = av.ffmpeg_version_info
    numbers = re.match(r"n?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if numbers is None or tuple(int(number or 0) for number in numbers.groups()) >= MENDED:
        return ""
    mended = ".".join(str(number) for number in MENDED)
    return (
        f"FFmpeg {version} has holes that {mended} has not ({HOLES}). Trichord refuses playlists and "
        "opens no address, so that files do not reach them; install a newer PyAV once it has one."
    )
