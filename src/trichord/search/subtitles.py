"""Captions of moments as WebVTT, which browsers and players show over a video."""

from collections.abc import Sequence

from trichord.speech.transcript import SpokenSegment, vtt_of
from trichord.types import Moment


def webvtt(
    captions: Sequence[tuple[Moment, str]], spoken: Sequence[SpokenSegment] | None = None
) -> str:
    """A WebVTT file of captions of one media file, one cue each, in order of time.

    A moment without length, such as a picture, has no cue.

    Args:
        captions: Moments and their captions.
        spoken: What is said, as cues of their own; captions are then in brackets, as subtitles for the deaf
            have sounds. None: captions alone.
    """
    form = "{}" if spoken is None else "[{}]"
    cues = [(moment.start, moment.end, form.format(text)) for moment, text in captions]
    cues += [(one.start, one.end, one.text) for one in spoken or ()]
    return vtt_of(sorted(cues))
