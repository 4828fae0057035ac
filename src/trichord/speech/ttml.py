"""Subtitles of the W3C's Timed Text Markup Language (TTML, DFXP).

Source: W3C, "Timed Text Markup Language 2", section 12: times, and their inheritance.
"""

import re
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from trichord.speech.cues import Cue, SubtitleError, clean

_CLOCK = re.compile(r"(\d{1,4}):(\d{2}):(\d{2})(?:\.(\d+)|:(\d{1,3}))?")
_OFFSET = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|f|t)")


@dataclass(slots=True)
class _Element:
    """An open element: what it passes to those inside it, and its cue, if it is one."""

    name: str
    start: float
    end: float | None
    language: str
    line: int
    cue: bool = False
    words: list[str] = field(default_factory=list[str])


class _Reader:
    def __init__(self) -> None:
        self.cues: list[Cue] = []
        self.open: list[_Element] = [_Element("", 0.0, None, "", 1)]
        self.frames, self.ticks = 30.0, 0.0
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.characters
        self.parser.StartDoctypeDeclHandler = self.doctype

    def doctype(self, *_: object) -> None:
        # It could declare entities that grow to gigabytes. TTML has none.
        raise SubtitleError("a DOCTYPE, which subtitles do not have", self.line)

    @property
    def line(self) -> int:
        return self.parser.CurrentLineNumber

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        held = {key.rpartition(":")[2]: value for key, value in attributes.items()}
        if name == "tt":
            self.frames = float(held.get("frameRate", "30"))
            multiplier = [float(one) for one in held.get("frameRateMultiplier", "1 1").split()]
            self.frames *= multiplier[0] / multiplier[-1]
            self.ticks = float(held.get("tickRate", "0")) or self.frames
        above = self.open[-1]
        start = above.start + self.seconds(held["begin"]) if "begin" in held else above.start
        end = above.end
        if "end" in held:
            end = above.start + self.seconds(held["end"])
        elif "dur" in held:
            end = start + self.seconds(held["dur"])
        timed = bool({"begin", "end", "dur"} & held.keys())
        # A span with times of its own, such as a word of karaoke, is a part of a paragraph that has some.
        cue = (name == "p" or (name == "span" and timed)) and not any(one.cue for one in self.open)
        cue = cue and (timed or end is not None)
        if name == "br":
            self.characters(" ")
        language = held.get("lang", above.language)
        self.open.append(_Element(name, start, end, language, self.line, cue))

    def characters(self, text: str) -> None:
        for one in self.open:
            if one.cue:
                one.words.append(text)

    def end(self, _: str) -> None:
        one = self.open.pop()
        if not one.cue:
            return
        if one.end is None:
            raise SubtitleError("a subtitle without an end", one.line)
        words = clean("".join(one.words).replace("<", "&lt;"))
        self.cues.append(Cue(one.line, one.start, one.end, words, one.language))

    def seconds(self, time: str) -> float:
        time = time.strip()
        if found := _CLOCK.fullmatch(time):
            hours, minutes, seconds, fraction, frames = found.groups()
            whole = int(hours) * 3600 + int(minutes) * 60 + int(seconds)
            return whole + float(f"0.{fraction or 0}") + int(frames or 0) / self.frames
        if found := _OFFSET.fullmatch(time):
            units = {"h": 3600, "m": 60, "s": 1, "ms": 0.001}
            units |= {"f": 1 / self.frames, "t": 1 / self.ticks}
            return float(found[1]) * units[found[2]]
        raise SubtitleError(f"no time: {time[:60]!r}", self.line)


def read_ttml(text: str) -> list[Cue]:
    """The cues of a TTML file.

    Raises:
        SubtitleError: It is no XML, or a time is none.
    """
    reader = _Reader()
    parser: Any = reader.parser
    try:
        # The declaration may name another encoding than the one that this text was decoded from.
        parser.Parse(re.sub(r"^\s*<\?xml[^>]*\?>", "", text), True)
    except expat.ExpatError as error:
        raise SubtitleError(f"no XML: {expat.ErrorString(error.code)}", error.lineno) from None
    except (ValueError, ZeroDivisionError) as error:
        if isinstance(error, SubtitleError):
            raise
        raise SubtitleError(f"a rate that is no number: {error}", reader.line) from None
    return reader.cues
