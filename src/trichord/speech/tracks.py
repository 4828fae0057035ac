"""Subtitle tracks inside a media file as transcripts."""

from collections import Counter
from pathlib import Path

from trichord.media.decoder import Decoder
from trichord.media.subtitle_tracks import SubtitleTrack
from trichord.speech.cues import Cue, SubtitleError, clean_ass, same_language, transcript_of
from trichord.speech.transcript import Transcript

ISO = {
    "eng": "en", "ger": "de", "deu": "de", "fre": "fr", "fra": "fr", "spa": "es", "ita": "it",
    "por": "pt", "dut": "nl", "nld": "nl", "rus": "ru", "ukr": "uk", "pol": "pl", "jpn": "ja",
    "kor": "ko", "chi": "zh", "zho": "zh", "ara": "ar", "hin": "hi", "tur": "tr", "swe": "sv",
    "und": "",
}  # fmt: skip
"""Codes of three letters, which containers have, as two letters; others stay as they are."""


def read_tracks(
    path: Path, decoder: Decoder, language: str = ""
) -> tuple[Transcript | None, list[str]]:
    """The transcript of the first text track in the wanted language, and what is to be said of others.

    Args:
        path: A media file.
        decoder: Reads it.
        language: The wanted one; empty: the first track.

    Returns:
        None if it has no such track.
    """
    tracks, fault = decoder.subtitles(path)
    remarks = [f"its subtitle tracks cannot be read: {fault}"] if fault else []
    bitmaps = Counter(track.codec for track in tracks if track.bitmap)
    if bitmaps:
        kinds = ", ".join(f"{count} {codec}" for codec, count in bitmaps.items())
        remarks.append(f"subtitle tracks of pictures are not read: {kinds}")
    transcript: Transcript | None = None
    for track in tracks:
        if track.bitmap:
            continue
        named = ISO.get(track.language, track.language)
        if transcript is not None or (language and named and not same_language(named, language)):
            remarks.append(f"the {track.codec} track in '{named or '?'}' is not read")
            continue
        try:
            transcript = _transcript(track, named or language)
        except SubtitleError as error:
            remarks.append(f"the {track.codec} track in '{named or '?'}' is not read: {error}")
    return transcript, remarks


def _transcript(track: SubtitleTrack, language: str) -> Transcript:
    cues = [
        Cue(number, start, end, clean_ass(text))
        for number, (start, end, text) in enumerate(track.cues, start=1)
    ]
    return transcript_of(cues, f"track {track.codec}", language)
