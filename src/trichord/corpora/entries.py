"""Streaming of JSON files that may not fit into memory: the entries of an object or a list."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from trichord.types import UserError

_CHUNK = 1 << 20  # characters
_BLANKS = re.compile(r"[ \t\r\n]*")
_LONGEST_WORD = len("-Infinity")
# If the text ends like this after a number, the number may continue in the unread part.
_UNFINISHED = ("", ".", "e", "E", "e+", "e-", "E+", "E-")
_DECODER = json.JSONDecoder()


def entries(path: Path, *, lists: bool = True) -> Iterator[tuple[str, Any]]:
    """Keys and values of a JSON file's object, or numbers from 0 and values of its list, in order.

    Memory holds one value and a megabyte at most. Without `lists`, only an object is accepted.

    Raises:
        UserError: the file cannot be read, or is not a JSON object or list (its line is named).
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _JsonReader(path, file).entries(lists)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8; save the file as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


class _JsonReader:
    """A position in a JSON file, and the text read after it."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self.path = path
        self.file = file
        self.text = ""
        self.at = 0
        self.line = 1

    def entries(self, lists: bool = True) -> Iterator[tuple[str, Any]]:
        if self.peek() not in (("{", "[") if lists else ("{",)):
            raise UserError(f"{self.path}: must hold a JSON object{' or list' if lists else ''}")
        closing = {"{": "}", "[": "]"}[self.mark("{[")]
        number = 0
        ended = self.peek() == closing and self.mark(closing)
        while not ended:
            key = str(number)
            if closing == "}":
                if self.peek() != '"':
                    raise self.wrong("Expecting a name in double quotes", self.at)
                key = str(self.value())
                self.mark(":")
            yield key, self.value()
            number += 1
            ended = self.mark("," + closing) == closing
        if self.peek():
            raise self.wrong("Extra data", self.at)

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except RecursionError as error:
                raise UserError(f"{self.path}: not annotations: nested too deeply") from error
            except json.JSONDecodeError as error:
                # The error may only be due to the end of the text read so far.
                near = error.pos >= len(self.text) - _LONGEST_WORD
                if (near or error.msg.startswith("Unterminated string")) and self.more():
                    continue
                raise self.wrong(error.msg, error.pos) from error
            except ValueError as error:  # a number of thousands of digits
                raise self.wrong(str(error), self.at) from error
            if self.text[end : end + 3] not in _UNFINISHED or not self.more():
                self.at = end
                return value

    def mark(self, expected: str) -> str:
        """Skip the next character, which must be one of those expected."""
        character = self.peek()
        if not character or character not in expected:
            raise self.wrong(f"Expecting {' or '.join(repr(mark) for mark in expected)}", self.at)
        self.at += 1
        return character

    def peek(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            match = _BLANKS.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def more(self) -> bool:
        """Read more, at least doubling the text, so that a long value costs at most twice its length."""
        piece = self.file.read(max(_CHUNK, len(self.text) - self.at))
        if piece:
            self.line += self.text.count("\n", 0, self.at)
            self.text, self.at = self.text[self.at :] + piece, 0
        return bool(piece)

    def wrong(self, what: str, position: int) -> UserError:
        line = self.line + self.text.count("\n", 0, position)
        return UserError(f"{self.path}:{line}: not JSON: {what}")
