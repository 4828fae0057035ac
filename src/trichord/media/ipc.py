"""Messages between a decoder and its child: a length, a JSON header, raw array bytes. No pickle.

Bytes of arrays follow the header, or lie in a shared buffer that both share, at the place that it names.
The child works on untrusted files, so what it says is checked like an untrusted file: sizes are
capped and arrays have one of three element types.
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
# Pictures, sound and times; nothing else is accepted.
ELEMENTS = ("|u1", "<f4", "<f8")


@dataclass(frozen=True, slots=True)
class Listed:
    """An array as a header announces it."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    place: int | None
    """Where its bytes lie in the shared buffer; None: they follow the header."""


class IpcError(Exception):
    """The other side broke off or said something that is no message."""


NONSENSE = (IpcError, ValueError, KeyError, TypeError, OverflowError)
"""What reading an answer raises that is none."""


def send(
    stream: BufferedIOBase,
    header: Header,
    arrays: Arrays | None = None,
    buffer: SharedBuffer | None = None,
) -> None:
    """Write one message and flush it; arrays that fit into the shared buffer are laid there."""
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
    """Read one message whose arrays have at most `limit` bytes together; they are the reader's own.

    Raises:
        IpcError: the stream ended, or the message is malformed or too large.
    """
    length = int.from_bytes(_exactly(stream, 4), "big")
    if not 0 < length <= HEADER_BYTES:
        raise IpcError(f"header of {length} bytes")
    try:
        header = json.loads(_exactly(stream, length))
        listed = [_listed(*entry) for entry in header.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise IpcError(f"malformed header: {error}") from None
    if sum(math.prod(one.shape) * one.dtype.itemsize for one in listed) > limit:
        raise IpcError("arrays larger than the limit")
    try:
        return header, {one.name: _array(stream, one, buffer) for one in listed}
    except ValueError as error:  # no elements, but sides that numpy cannot count
        raise IpcError(f"malformed array: {error}") from None


def _listed(name: object, dtype: object, shape: object, place: object = None) -> Listed:
    if not isinstance(name, str) or dtype not in ELEMENTS or not isinstance(shape, list):
        raise IpcError("malformed array")
    sides = cast("list[object]", shape)
    if len(sides) > 4 or not all(isinstance(n, int) and 0 <= n < 2**40 for n in sides):
        raise IpcError("malformed array shape")
    if place is not None and not (isinstance(place, int) and place >= 0):
        raise IpcError("malformed array place")
    return Listed(name, np.dtype(str(dtype)), tuple(cast("list[int]", sides)), place)


def _array(stream: BufferedIOBase, listed: Listed, buffer: SharedBuffer | None) -> NDArray[Any]:
    # Only now that the sum of all sizes is known to be within the limit.
    array: NDArray[Any] = np.empty(listed.shape, listed.dtype)
    content = memoryview(cast("Any", array.reshape(-1).view(np.uint8)))
    if listed.place is None:
        _fill(stream, content)
    elif buffer is not None and listed.place + len(content) <= len(buffer.bytes):
        # Copied before anybody looks at it: the child could change it after a check.
        content[:] = buffer.bytes[listed.place : listed.place + len(content)]
    else:
        raise IpcError("an array that is not in the shared buffer")
    return array


def _fill(stream: BufferedIOBase, rest: memoryview) -> None:
    while len(rest):
        count = stream.readinto(rest)
        if not count:
            raise IpcError("the stream ended")
        rest = rest[count:]


def _exactly(stream: BufferedIOBase, count: int) -> bytes:
    got = stream.read(count)
    if len(got) < count:
        raise IpcError("the stream ended")
    return got
