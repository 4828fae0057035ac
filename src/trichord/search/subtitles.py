"""Captions of moments as WebVTT, which browsers and players show over a video.

Source: W3C, "WebVTT: The Web Video Text Tracks Format", sections 4 and 6.
"""

from collections.abc import Sequence

from trichord.types import Moment


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


def timestamp(seconds: float) -> str:
    """Seconds in the form of WebVTT: hh:mm:ss.mmm, with more digits of hours if needed."""
    minutes, thousandths = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{thousandths // 1000:02}.{thousandths % 1000:03}"


def escaped(text: str) -> str:
    """A text on one line, escaped: without markup, arrows and ends of cues."""
    line = " ".join(text.split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
