"""Messages between a decoder and its child: a length, a JSON header, raw array bytes. No pickle.

Bytes of arrays follow the header, or are in the shared buffer at the offset that it names. The child
reads untrusted files, so its messages are not trusted either: sizes are limited and arrays have one of
three element types.
"""

import json
import math
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from trichord.media.shared_buffer import SharedBuffer

Header = dict[str, Any]
Arrays = dict[str, NDArray[Any]]

HEADER_BYTES = 4 * 1024**2
# Frames, audio and times; nothing else is accepted.
ELEMENTS = ("|u1", "<f4", "<f8")


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """An array as declared in a header."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    place: int | None
    """Offset of its bytes in the shared buffer; None: they follow the header."""


class IpcError(Exception):
    """The stream ended, or a message is malformed."""


MALFORMED = (IpcError, ValueError, KeyError, TypeError, OverflowError)
"""Errors that reading a malformed answer raises."""


def send(
    stream: BufferedIOBase,
    header: Header,
    arrays: Arrays | None = None,
    buffer: SharedBuffer | None = None,
) -> None:
    """Write one message and flush it; arrays that fit go into the shared buffer."""
    listing: list[list[Any]] = []
    following: list[memoryview] = []
    for name, array in (arrays or {}).items():
        content = memoryview(cast("Any", np.ascontiguousarray(array))).cast("B")
        place = buffer.put(content) if buffer is not None else None
        listing.append([name, array.dtype.str, list(array.shape), place])
        if place is None:
            following.append(content)
    # Names that are not UTF-8 are lone surrogates; ASCII escapes carry them.
    text = json.dumps({**header, "arrays": listing}).encode("ascii")
    stream.write(len(text).to_bytes(4, "big") + text)
    for content in following:
        stream.write(content)
    stream.flush()


def receive(
    stream: BufferedIOBase, limit: int, buffer: SharedBuffer | None = None
) -> tuple[Header, Arrays]:
    """Read one message with arrays of at most `limit` bytes in all; the arrays are copies.

    Raises:
        IpcError: the stream ended, or the message is malformed or too large.
    """
    length = int.from_bytes(_read_exactly(stream, 4), "big")
    if not 0 < length <= HEADER_BYTES:
        raise IpcError(f"header of {length} bytes")
    try:
        header = json.loads(_read_exactly(stream, length))
        headers = [_array_header(*entry) for entry in header.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise IpcError(f"malformed header: {error}") from None
    if sum(math.prod(one.shape) * one.dtype.itemsize for one in headers) > limit:
        raise IpcError("arrays larger than the limit")
    try:
        return header, {one.name: _array(stream, one, buffer) for one in headers}
    except ValueError as error:  # an empty array with sides too large for numpy
        raise IpcError(f"malformed array: {error}") from None


def _array_header(name: object, dtype: object, shape: object, place: object = None) -> ArrayHeader:
    if not isinstance(name, str) or dtype not in ELEMENTS or not isinstance(shape, list):
        raise IpcError("malformed array")
    sides = cast("list[object]", shape)
    if len(sides) > 4 or not all(isinstance(n, int) and 0 <= n < 2**40 for n in sides):
        raise IpcError("malformed array shape")
    if place is not None and not (isinstance(place, int) and place >= 0):
        raise IpcError("malformed array place")
    return ArrayHeader(name, np.dtype(str(dtype)), tuple(cast("list[int]", sides)), place)


def _array(
    stream: BufferedIOBase, headers: ArrayHeader, buffer: SharedBuffer | None
) -> NDArray[Any]:
    # Allocated only after the sum of all sizes is checked.
    array: NDArray[Any] = np.empty(headers.shape, headers.dtype)
    content = memoryview(cast("Any", array.reshape(-1).view(np.uint8)))
    if headers.place is None:
        _fill(stream, content)
    elif buffer is not None and headers.place + len(content) <= len(buffer.bytes):
        # Copied before any check, because the child could change it afterwards.
        content[:] = buffer.bytes[headers.place : headers.place + len(content)]
    else:
        raise IpcError("an array that is not in the shared buffer")
    return array


def _fill(stream: BufferedIOBase, rest: memoryview) -> None:
    while len(rest):
        count = stream.readinto(rest)
        if not count:
            raise IpcError("the stream ended")
        rest = rest[count:]


def _read_exactly(stream: BufferedIOBase, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise IpcError("the stream ended")
    return content
