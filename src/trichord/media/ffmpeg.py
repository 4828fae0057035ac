"""The version of FFmpeg in use, and its known vulnerabilities."""

import re

FIXED = (8, 1, 3)
"""The first release that fixes the vulnerabilities known to us."""
HOLES = "CVE-2026-107695 and CVE-2026-107697, both in playlists"


def known_holes(version: str | None = None) -> str:
    """One line on known vulnerabilities of FFmpeg and what they mean here; empty if none is known.

    Args:
        version: Such as `8.1.2` or `n8.1.2`; None: the one in use. A build between releases has no
            such number and counts as new.
    """
    if version is None:
        import av

        version = av.ffmpeg_version_info
    numbers = re.match(r"n?(\d+)\.(\d+)(?:\.(\d+))?", version)
    if numbers is None or tuple(int(number or 0) for number in numbers.groups()) >= FIXED:
        return ""
    fixed = ".".join(str(number) for number in FIXED)
    return (
        f"FFmpeg {version} has vulnerabilities that {fixed} fixes ({HOLES}). Trichord refuses playlists "
        "and opens no address, so that files do not reach them; install a newer PyAV once it has one."
    )
