"""Speech recognisers by name."""

from trichord.speech.recogniser import Builder, Recogniser, RecogniserOptions
from trichord.types.plugins import Group


def _pocketsphinx(options: RecogniserOptions) -> Recogniser:
    from trichord.speech.pocketsphinx import PocketSphinx

    return PocketSphinx(options)


def _transformers(options: RecogniserOptions) -> Recogniser:
    from trichord.speech.transformers_asr import TransformersRecogniser

    return TransformersRecogniser(options)


def _faster_whisper(options: RecogniserOptions) -> Recogniser:
    from trichord.speech.faster_whisper import FasterWhisper

    return FasterWhisper(options)


RECOGNISERS: Group[Builder] = Group(
    "recognisers",
    "engine",
    {
        "pocketsphinx": _pocketsphinx,
        "transformers": _transformers,
        "faster-whisper": _faster_whisper,
    },
)
"""Makers of recognisers by name; others come by the entry point `trichord.recognisers`."""
