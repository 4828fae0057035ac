"""Multipart forms as they come over the wire: one file straight to disk, nothing else kept."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from trichord.service.errors import RefusedError

FIELD = "file"
PARTS = 8
"""Fields of a form; a page sends one."""
HEADERS = 8
"""Header lines of a field."""
HEADER_BYTES = 4096
FIELD_BYTES = 4096
"""Of all fields other than the file, which are read over."""
BOUNDARY = 200


def boundary_of(content_type: str) -> bytes:
    """The boundary of a multipart form.

    Raises:
        RefusedError: 415: it is something else; 400: its boundary is missing or too long.
    """
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise RefusedError(415, f"Send the file as multipart/form-data, in a field '{FIELD}'.")
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= BOUNDARY:
        raise RefusedError(400, "The form has no usable boundary.")
    return boundary


async def receive_file(portions: AsyncIterator[bytes], content_type: str, path: Path) -> int:
    """Write the form's one file to a new file that only this user can read.

    Args:
        portions: The body as it comes, already limited in size and time.
        content_type: The request's header.
        path: Where to write.

    Returns:
        Its bytes.

    Raises:
        RefusedError: 400: the form is broken off or malformed, or has no file; 413: it has too
            many fields or too much besides the file; 415: it is no form.
        OSError: The disk is full, or `path` exists.
    """
    from python_multipart.exceptions import MultipartParseError
    from python_multipart.multipart import MultipartParser

    boundary = boundary_of(content_type)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        form = _Form(file)
        parser = MultipartParser(boundary, form.callbacks())
        try:
            async for portion in portions:
                parser.write(portion)
            parser.finalize()
        except MultipartParseError:
            raise RefusedError(400, "The form is malformed: send multipart/form-data.") from None
        if form.files != 1 or not form.ended:
            raise RefusedError(
                400, f"The upload broke off or holds no file: send one, in a field '{FIELD}'."
            )
        return file.tell()


class _Form:
    """What a parser tells while it reads."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.parts = 0
        self.files = 0
        self.ended = False
        self._inside = False
        self._other = 0
        self._lines = 0
        self._header = 0
        self._name = b""
        self._value = b""

    def callbacks(self) -> Any:
        """By the names that the parser has for them."""
        return {
            "on_part_begin": self.begin,
            "on_header_field": self.header_name,
            "on_header_value": self.header_value,
            "on_header_end": self.header,
            "on_part_data": self.write,
            "on_part_end": self.end,
            "on_end": self.finish,
        }

    def begin(self) -> None:
        self.parts += 1
        if self.parts > PARTS:
            raise RefusedError(413, f"The form has more than {PARTS} fields: send one.", close=True)
        self._lines = self._header = 0
        self._inside = False
        self._name = self._value = b""

    def header_name(self, portion: bytes, start: int, end: int) -> None:
        self._grow(end - start)
        self._name += portion[start:end]

    def header_value(self, portion: bytes, start: int, end: int) -> None:
        self._grow(end - start)
        self._value += portion[start:end]

    def header(self) -> None:
        """A line is whole: does it say that this is the file?"""
        from python_multipart.multipart import parse_options_header

        self._lines += 1
        if self._lines > HEADERS:
            raise RefusedError(413, "A field of the form has too many headers.", close=True)
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            # The client's name for the file is not looked at: content decides what it is.
            if options.get(b"name") == FIELD.encode() and b"filename" in options:
                self._inside = True
                self.files += 1
        self._name = self._value = b""

    def write(self, portion: bytes, start: int, end: int) -> None:
        if self._inside and self.files == 1:
            self.file.write(memoryview(portion)[start:end])
            return
        self._other += end - start
        if self._other > FIELD_BYTES:
            raise RefusedError(413, "The form has too much besides the file.", close=True)

    def end(self) -> None:
        self._inside = False

    def finish(self) -> None:
        self.ended = True

    def _grow(self, count: int) -> None:
        self._header += count
        if self._header > HEADER_BYTES:
            raise RefusedError(413, "A field of the form has too long headers.", close=True)
