"""A transcript of a media file, and its file format `trichord-transcript`, version 1."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

Source = Literal["recognised", "subtitles"]
FORMAT, VERSION = "trichord-transcript", 1
PAUSE = 0.6
"""Seconds without a word after which another segment begins."""
LETTERS = 84
"""Letters of a segment at most: two lines of a subtitle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word with its times in seconds; `confidence` from 0 to 1, None where the engine gives none."""

    text: str
    start: float
    end: float
    confidence: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpokenSegment:
    """What is said between two times; words are empty where only the times of the segment are known.

    `speaker` is empty where the source does not say who speaks.
    """

    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    language: str = ""
    speaker: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """What is said in a file.

    Attributes:
        segments: In order of start; subtitles may overlap.
        language: Such as 'en'; empty if unknown.
        engine: Name of the recogniser, or of the subtitle format.
        source: Where it comes from.
        notes: What was guessed, changed or left out.
    """

    segments: tuple[SpokenSegment, ...]
    language: str
    engine: str
    source: Source
    notes: tuple[str, ...] = ()


class TranscriptError(ValueError):
    """A file is no transcript of this format."""


def segments_of(words: Sequence[Word], language: str = "") -> tuple[SpokenSegment, ...]:
    """Words as segments, which end at a pause or when they are long.

    Args:
        words: In order of time.
        language: Of the segments.
    """
    groups: list[list[Word]] = [[words[0]]] if words else []
    for before, word in pairwise(words):
        length = sum(len(one.text) + 1 for one in groups[-1]) + len(word.text)
        if word.start - before.end >= PAUSE or length > LETTERS:
            groups.append([])
        groups[-1].append(word)
    return tuple(
        SpokenSegment(
            start=group[0].start,
            end=max(word.end for word in group),
            text=" ".join(word.text for word in group),
            words=tuple(group),
            language=language,
        )
        for group in groups
    )


def as_json(transcript: Transcript, identity: dict[str, Any]) -> str:
    """A transcript in its file format.

    Args:
        transcript: The transcript.
        identity: Of what it was made, and how; see `trichord.speech.transcription`.
    """
    head = {"format": FORMAT, "version": VERSION, "made": identity}
    return json.dumps(head | asdict(transcript), ensure_ascii=False, indent=1) + "\n"


def from_json(text: str) -> tuple[Transcript, dict[str, Any]]:
    """A transcript and its identity, from the file format.

    Raises:
        TranscriptError: It has another format or version, or fields of another type.
    """
    try:
        held = json.loads(text)
        if (held["format"], held["version"]) != (FORMAT, VERSION):
            raise TranscriptError(f"it is not of the format {FORMAT} {VERSION}")
        if held["source"] not in get_args(Source):
            raise TranscriptError(f"its source {held['source']!r} is unknown")
        transcript = Transcript(
            segments=tuple(_segment(one) for one in held["segments"]),
            language=str(held["language"]),
            engine=str(held["engine"]),
            source=held["source"],
            notes=tuple(map(str, held["notes"])),
        )
        return transcript, dict(held["made"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, TranscriptError):
            raise
        raise TranscriptError(f"{type(error).__name__}: {error}") from error


def word_from(held: dict[str, Any]) -> Word:
    """A word from the fields of its JSON.

    Raises:
        ValueError: A time is not finite.
    """
    confidence = held["confidence"]
    return Word(
        text=str(held["text"]),
        start=finite(held["start"]),
        end=finite(held["end"]),
        confidence=None if confidence is None else finite(confidence),
    )


def finite(value: Any) -> float:
    """A finite number.

    Raises:
        ValueError: It is none.
    """
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a finite number")
    return number


def _segment(held: dict[str, Any]) -> SpokenSegment:
    return SpokenSegment(
        start=finite(held["start"]),
        end=finite(held["end"]),
        text=str(held["text"]),
        words=tuple(word_from(one) for one in held["words"]),
        language=str(held["language"]),
        speaker=str(held.get("speaker", "")),
    )


def as_vtt(transcript: Transcript) -> str:
    """A WebVTT file."""
    return vtt_of((one.start, one.end, one.text) for one in transcript.segments)


def vtt_of(cues: Iterable[tuple[float, float, str]]) -> str:
    """A WebVTT file of cues: start, end and text. Those without length or text are left out.

    Source: W3C, "WebVTT: The Web Video Text Tracks Format", sections 4 and 6.
    """
    shown = (
        f"{timestamp(start)} --> {timestamp(end)}\n{escaped(text)}\n"
        for start, end, text in cues
        if round(1000 * end) > round(1000 * start) and text.strip()
    )
    return "\n".join(["WEBVTT\n", *shown])


def as_srt(transcript: Transcript) -> str:
    """A SubRip file."""
    return srt_of((one.start, one.end, one.text) for one in transcript.segments)


def srt_of(cues: Iterable[tuple[float, float, str]]) -> str:
    """A SubRip file of cues: start, end and text."""
    shown = (
        f"{timestamp(start)} --> {timestamp(end)}".replace(".", ",")
        + f"\n{' '.join(text.split())}\n"
        for start, end, text in cues
    )
    return "\n".join(f"{number}\n{cue}" for number, cue in enumerate(shown, start=1))


def timestamp(seconds: float) -> str:
    """Seconds in the form of WebVTT: hh:mm:ss.mmm, with more digits of hours if needed."""
    minutes, thousandths = divmod(round(seconds * 1000), 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{thousandths // 1000:02}.{thousandths % 1000:03}"


def escaped(text: str) -> str:
    """A text on one line, escaped: without markup, arrows and ends of cues."""
    line = " ".join(text.split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
