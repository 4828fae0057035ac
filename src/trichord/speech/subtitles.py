"""Subtitle files as transcripts: SubRip, WebVTT, ASS, TTML and LRC.

What is odd but clear is read, and noted; what is not clear is refused with its line.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from trichord.speech.cues import Cue, SubtitleError, clean, clean_ass, read_text, transcript_of
from trichord.speech.transcript import Transcript
from trichord.speech.ttml import read_ttml

LAST_LINE = 5.0
"""Seconds of the last line of LRC, whose format has starts alone."""


def read_subtitles(path: Path, language: str = "") -> Transcript:
    """A subtitle file as a transcript.

    Args:
        path: Its suffix is one of `FORMATS`.
        language: That its name says; of several languages inside it, the one that is read.

    Raises:
        SubtitleError: It cannot be read.
    """
    suffix = path.suffix.lower()
    text, guessed = read_text(path)
    cues = FORMATS[suffix](text)
    notes = [f"read as {guessed}: it is not UTF-8"] if guessed else []
    return transcript_of(cues, suffix[1:], language, notes)


# SubRip and WebVTT

_STAMP = r"(-?)\s*(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
"""Who speaks, as WebVTT says it."""
_TIMING = re.compile(rf"\s*{_STAMP}\s*-->\s*{_STAMP}(?:\s.*)?")


def _srt(text: str) -> list[Cue]:
    lines = _lines(text)
    timed = list(_timed(lines))
    # The number of a cue is no text of the one before it, and is often missing.
    heads = [at - (at > 0 and lines[at - 1].strip().isdecimal()) for at, *_ in timed]
    for at in range(heads[0] if heads else len(lines)):
        if lines[at].strip():
            raise SubtitleError("a text without times", at + 1)
    ends = [*heads[1:], len(lines)][: len(timed)]
    return [
        Cue(at + 1, start, end, clean("\n".join(lines[at + 1 : last])))
        for (at, start, end), last in zip(timed, ends, strict=True)
    ]


def _vtt(text: str) -> list[Cue]:
    lines = _lines(text)
    if not re.match(r"WEBVTT(\s|$)", lines[0]):
        raise SubtitleError("it does not begin with WEBVTT", 1)
    cues: list[Cue] = []
    for at, start, end in _timed(lines):
        # A blank line ends a cue; notes, styles and identifiers stand outside of them.
        last = next((n for n in range(at + 1, len(lines)) if not lines[n].strip()), len(lines))
        text = "\n".join(lines[at + 1 : last])
        voices = {clean(one) for one in _VOICE.findall(text)}
        speaker = voices.pop() if len(voices) == 1 else ""
        cues.append(Cue(at + 1, start, end, clean(text), speaker=speaker))
    return cues


def _timed(lines: Sequence[str]) -> Iterator[tuple[int, float, float]]:
    """Each line of times: its place from 0, start and end."""
    for at, line in enumerate(lines):
        if "-->" not in line:
            continue
        found = _TIMING.fullmatch(line)
        if found is None:
            raise SubtitleError(f"no times of a subtitle: {line.strip()[:60]!r}", at + 1)
        parts = found.groups()
        yield at, _seconds(parts[:5], at + 1), _seconds(parts[5:], at + 1)


def _seconds(parts: Sequence[str | None], line: int) -> float:
    """Sign, hours, minutes, seconds and digits behind the point as seconds."""
    sign, hours, minutes, seconds, fraction = (part or "0" for part in parts)
    if int(minutes) > 59 or int(seconds) > 59:
        raise SubtitleError(f"no time: {minutes}:{seconds}", line)
    value = int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")
    return -value if sign == "-" else value


def _lines(text: str) -> list[str]:
    # Not `splitlines`, which also splits at characters that a text may hold.
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


# ASS

_CLOCK = re.compile(r"\s*(-?)(\d{1,4}):(\d{1,2}):(\d{1,2})[.:](\d{1,3})\s*")


def _ass(text: str) -> list[Cue]:
    columns: list[str] = []
    cues: list[Cue] = []
    section = ""
    for number, line in enumerate(_lines(text), start=1):
        key, _, rest = line.strip().partition(":")
        section = line.strip().lower() if line.startswith("[") else section
        if section != "[events]":
            continue
        if key == "Format":
            columns = [name.strip().lower() for name in rest.split(",")]
            if not {"start", "end", "text"} <= set(columns):
                raise SubtitleError("its Format lacks Start, End or Text", number)
        elif key == "Dialogue":
            cues.append(_dialogue(rest, columns, number))
    return cues


def _dialogue(rest: str, columns: Sequence[str], line: int) -> Cue:
    values = rest.split(",", len(columns) - 1) if columns else []
    if len(values) != len(columns) or not columns:
        raise SubtitleError(f"a Dialogue with {len(values)} of {len(columns)} fields", line)
    field = dict(zip(columns, values, strict=True))
    times: list[float] = []
    for name in ("start", "end"):
        found = _CLOCK.fullmatch(field[name])
        if found is None:
            raise SubtitleError(f"no time: {field[name].strip()[:60]!r}", line)
        times.append(_seconds(found.groups(), line))
    return Cue(
        line, times[0], times[1], clean_ass(field["text"]), speaker=field.get("name", "").strip()
    )


# LRC

_START = re.compile(r"\[(\d{1,4}):(\d{1,2})(?:[.:](\d{1,3}))?\]")
_LABEL = re.compile(r"\[([A-Za-z#]\w*):(.*)\]\s*")


def _lrc(text: str) -> list[Cue]:
    offset = 0.0
    starts: list[tuple[float, int, str]] = []
    for number, line in enumerate(_lines(text), start=1):
        label = _LABEL.fullmatch(line.strip())
        if label is not None:
            offset = _offset(label[2], number) if label[1].lower() == "offset" else offset
            continue
        rest = line.strip()
        times: list[float] = []
        while (found := _START.match(rest)) is not None:
            times.append(_seconds(("", "0", *found.groups()), number))
            rest = rest[found.end() :].lstrip()
        if rest and not times:
            raise SubtitleError("a text without a time", number)
        starts += [(one, number, clean(rest)) for one in times]
    starts.sort()
    # A line lasts until the next one starts. A positive offset shows lines earlier.
    ends = [one for one, _, _ in starts[1:]] + [one + LAST_LINE for one, _, _ in starts[-1:]]
    return [
        Cue(line, start - offset, end - offset, words)
        for (start, line, words), end in zip(starts, ends, strict=True)
        if words
    ]


def _offset(value: str, line: int) -> float:
    try:
        return int(value) / 1000
    except ValueError:
        raise SubtitleError(f"no offset in milliseconds: {value.strip()[:60]!r}", line) from None


FORMATS: dict[str, Callable[[str], list[Cue]]] = {
    ".srt": _srt,
    ".vtt": _vtt,
    ".ass": _ass,
    ".ssa": _ass,
    ".ttml": read_ttml,
    ".dfxp": read_ttml,
    ".lrc": _lrc,
}
"""Readers by suffix."""
