"""Subtitles as a file has them, and as a transcript."""

import html
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trichord.speech.transcript import SpokenSegment, Transcript

LARGEST = 32 * 1024**2
"""Bytes of a subtitle file at most; 10,000 cues take about 1 MB."""
_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<[\d:.,]+>|\{\\[^{}]*\}")
"""HTML tags, times of karaoke, and codes of ASS. A "<3" is text."""


class SubtitleError(ValueError):
    """A file that cannot be read as subtitles; the message names the line where there is one."""

    def __init__(self, fault: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {fault}" if line else fault)


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle as its file has it: the line, times in seconds, text without markup."""

    line: int
    start: float
    end: float
    text: str
    language: str = ""
    speaker: str = ""


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file, and its encoding where that is a guess: UTF-8, UTF-16 or Windows-1252.

    Raises:
        SubtitleError: It cannot be read, is too large, or has bytes that none of them has.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise SubtitleError(f"it cannot be opened: {error.strerror}") from error
    if len(content) > LARGEST:
        raise SubtitleError(f"it is larger than {LARGEST // 1024**2} MiB")
    sure = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    for encoding, guessed in ((sure, ""), ("cp1252", "Windows-1252")):
        try:
            return content.decode(encoding), guessed
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
    raise SubtitleError("its bytes are neither UTF-8 nor Windows-1252", line)


def transcript_of(
    cues: Sequence[Cue], engine: str, language: str = "", notes: Sequence[str] = ()
) -> Transcript:
    """Cues as a transcript, in order of time; what has no time or no text is left out, and noted.

    Raises:
        SubtitleError: A cue ends before it starts, or none is left.
    """
    counts: Counter[str] = Counter()
    languages = list(dict.fromkeys(cue.language for cue in cues if cue.language))
    chosen = next((one for one in languages if same_language(one, language)), "")
    chosen = chosen or next(iter(languages), language)
    segments: list[SpokenSegment] = []
    for cue in cues:
        if cue.end < cue.start:
            raise SubtitleError("a subtitle ends before it starts", cue.line)
        counts["before the start of the file"] += cue.end <= 0 and cue.start < 0
        counts["without length"] += cue.end == cue.start >= 0
        counts["without text"] += cue.end > max(0.0, cue.start) and not cue.text
        other = bool(cue.language) and cue.language != chosen
        counts[f"in another language than {chosen}"] += other
        if cue.end > max(0.0, cue.start) and cue.text and not other:
            start = max(0.0, cue.start)
            segments.append(
                SpokenSegment(
                    start=start,
                    end=cue.end,
                    text=cue.text,
                    language=chosen,
                    speaker=cue.speaker,
                )
            )
    if not segments:
        raise SubtitleError("it has no subtitle", 1)
    left_out = [f"{n} subtitles {what} are left out" for what, n in counts.items() if n]
    return Transcript(
        segments=tuple(sorted(segments, key=lambda one: (one.start, one.end))),
        language=chosen,
        engine=engine,
        source="subtitles",
        notes=(*notes, *left_out),
    )


def same_language(one: str, other: str) -> bool:
    """Whether two codes are of one language: 'en-GB' and 'en' are."""
    return bool(one) and one.lower().partition("-")[0] == other.lower().partition("-")[0]


def clean(text: str) -> str:
    """A text on one line, without tags, entities and marks of direction."""
    plain = html.unescape(_TAG.sub("", text)).translate({0x200E: None, 0x200F: None, 0xFEFF: None})
    return " ".join(plain.split())


def clean_ass(text: str) -> str:
    """The words of a text of ASS, without codes, breaks and drawings."""
    if re.search(r"\{[^}]*\\p[1-9]", text):  # its "text" is the outline of a picture
        return ""
    return clean(re.sub(r"\\[Nnh]", " ", re.sub(r"\{[^{}]*\}", "", text)))
