"""The JSON of Whisper and WhisperX as transcripts."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from trichord.speech.cues import SubtitleError, read_text
from trichord.speech.transcript import SpokenSegment, Transcript, Word, finite


def read_whisper(path: Path, language: str = "") -> Transcript:
    """A JSON file of Whisper or WhisperX as a transcript.

    Args:
        path: The file.
        language: That its name says; the one inside the file comes first.

    Raises:
        SubtitleError: It is no JSON, has no segments, or one of them is malformed.
    """
    try:
        held = json.loads(read_text(path)[0])
    except (json.JSONDecodeError, RecursionError) as error:
        fault = getattr(error, "msg", "it is nested too deeply")
        raise SubtitleError(f"no JSON: {fault}", getattr(error, "lineno", 0)) from None
    if not isinstance(held, dict) or not isinstance(held.get("segments"), list):
        raise SubtitleError("no transcript of Whisper: it has no list of segments")
    language = str(held.get("language") or language)
    counts: Counter[str] = Counter()
    segments: list[SpokenSegment] = []
    for number, one in enumerate(held["segments"], start=1):
        try:
            segments.append(_segment(one, language, counts))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SubtitleError(f"segment {number} of it is malformed: {error}") from None
    kept = tuple(one for one in segments if one.text and one.end > one.start)
    counts["segments without text or length are left out"] += len(segments) - len(kept)
    return Transcript(
        segments=tuple(sorted(kept, key=lambda one: (one.start, one.end))),
        language=language,
        engine="whisper-json",
        source="subtitles",
        notes=tuple(f"{n} {what}" for what, n in counts.items() if n),
    )


def _segment(held: dict[str, Any], language: str, counts: Counter[str]) -> SpokenSegment:
    start, end = max(0.0, finite(held["start"])), finite(held["end"])
    if end < start:
        raise ValueError("it ends before it starts")
    words: list[Word] = []
    for one in held.get("words") or ():
        # WhisperX times no numbers and signs.
        if one.get("start") is None or one.get("end") is None:
            counts["words have no times: they are in the text alone"] += 1
            continue
        confidence = one.get("probability", one.get("score"))
        words.append(
            Word(
                text=str(one.get("word", "")).strip(),
                start=max(0.0, finite(one["start"])),
                end=finite(one["end"]),
                confidence=None if confidence is None else finite(confidence),
            )
        )
    text = " ".join(str(held["text"]).split())
    return SpokenSegment(
        start=start,
        end=end,
        text=text,
        words=tuple(words),
        language=language,
        speaker=str(held.get("speaker") or ""),
    )
