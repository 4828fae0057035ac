"""Messages between a decoder and its child: a length, a JSON header, raw array bytes. No pickle.

The child reads untrusted files, so its messages are not trusted either: sizes are limited and arrays
have one of three element types.
"""

import json
import math
from io import BufferedIOBase
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Header = dict[str, Any]
Arrays = dict[str, NDArray[Any]]

HEADER_BYTES = 4 * 1024**2
# Frames, audio and times; nothing else is accepted.
ELEMENTS = ("|u1", "<f4", "<f8")
ArrayHeader = tuple[str, np.dtype[Any], tuple[int, ...]]
"""Name, element type and shape of an array."""


class IpcError(Exception):
    """The stream ended, or a message is malformed."""


MALFORMED = (IpcError, ValueError, KeyError, TypeError, OverflowError)
"""Errors that reading a malformed answer raises."""


def send(stream: BufferedIOBase, header: Header, arrays: Arrays | None = None) -> None:
    """Write one message and flush it."""
    listing: list[list[Any]] = []
    contents: list[memoryview] = []
    for name, array in (arrays or {}).items():
        listing.append([name, array.dtype.str, list(array.shape)])
        contents.append(memoryview(cast("Any", np.ascontiguousarray(array))).cast("B"))
    # Names that are not UTF-8 are lone surrogates; ASCII escapes carry them.
    text = json.dumps({**header, "arrays": listing}).encode("ascii")
    stream.write(len(text).to_bytes(4, "big") + text)
    for content in contents:
        stream.write(content)
    stream.flush()


def receive(stream: BufferedIOBase, limit: int) -> tuple[Header, Arrays]:
    """Read one message with arrays of at most `limit` bytes in all.

    Raises:
        IpcError: the stream ended, or the message is malformed or too large.
    """
    length = int.from_bytes(_read_exactly(stream, 4), "big")
    if not 0 < length <= HEADER_BYTES:
        raise IpcError(f"header of {length} bytes")
    try:
        header = json.loads(_read_exactly(stream, length))
        declared = [_array_header(*entry) for entry in header.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise IpcError(f"malformed header: {error}") from None
    # Before any array is allocated.
    if sum(math.prod(shape) * dtype.itemsize for _, dtype, shape in declared) > limit:
        raise IpcError("arrays larger than the limit")
    try:
        return header, {name: _array(stream, dtype, shape) for name, dtype, shape in declared}
    except ValueError as error:  # an empty array with sides too large for numpy
        raise IpcError(f"malformed array: {error}") from None


def _array_header(name: object, dtype: object, shape: object) -> ArrayHeader:
    if not isinstance(name, str) or dtype not in ELEMENTS or not isinstance(shape, list):
        raise IpcError("malformed array")
    sides = cast("list[object]", shape)
    if len(sides) > 4 or not all(isinstance(n, int) and 0 <= n < 2**40 for n in sides):
        raise IpcError("malformed array shape")
    return name, np.dtype(str(dtype)), tuple(cast("list[int]", sides))


def _array(stream: BufferedIOBase, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    array: NDArray[Any] = np.empty(shape, dtype)
    rest = memoryview(cast("Any", array.reshape(-1).view(np.uint8)))
    while len(rest):
        count = stream.readinto(rest)
        if not count:
            raise IpcError("the stream ended")
        rest = rest[count:]
    return array


def _read_exactly(stream: BufferedIOBase, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise IpcError("the stream ended")
    return content
