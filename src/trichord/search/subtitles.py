"""Captions of moments as WebVTT, which browsers and players show over a video.

Source: W3C, "WebVTT: The Web Video Text Tracks Format", sections 4 and 6.
"""

from collections.abc import Sequence

from trichord.speech.transcript import escaped, timestamp
from trichord.types import Moment

__all__ = ["escaped", "timestamp", "webvtt"]


def webvtt(captions: Sequence[tuple[Moment, str]]) -> str:
    """A WebVTT file of captions of one media file, one cue each, in order of time.

    A moment without length, such as a picture, has no cue.

    Args:
        captions: Moments and their captions.
    """
    cues = [
        f"{timestamp(moment.start)} --> {timestamp(moment.end)}\n{escaped(text)}\n"
        for moment, text in sorted(captions, key=lambda pair: (pair[0].start, pair[0].end))
        if timestamp(moment.end) > timestamp(moment.start) and text.strip()
    ]
    return "\n".join(["WEBVTT\n", *cues])
