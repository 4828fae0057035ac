"""Captions of moments as WebVTT, which browsers and players show over a video."""

from collections.abc import Sequence

from trichord.speech.transcript import vtt_of
from trichord.types import Moment


def webvtt(captions: Sequence[tuple[Moment, str]]) -> str:
    """A WebVTT file of captions of one media file, one cue each, in order of time.

    A moment without length, such as a picture, has no cue.

    Args:
        captions: Moments and their captions.
    """
    return vtt_of(sorted((moment.start, moment.end, text) for moment, text in captions))
