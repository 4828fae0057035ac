"""Messages between a decoder and its child: a length, a JSON header, raw array bytes. No pickle.

The child works on untrusted files, so what it says is checked like an untrusted file: sizes are
capped and arrays have one of three element types.
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
ELEMENTS = ("|u1", "<f4", "<f8")


class WireError(Exception):
    """The other side broke off or said something that is no message."""


NONSENSE = (WireError, ValueError, KeyError, TypeError, OverflowError)
"""What reading an answer raises that is none."""


def send(stream: BufferedIOBase, header: Header, arrays: Arrays | None = None) -> None:
    """Write one message and flush it."""
    arrays = arrays or {}
    listing = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    # Names that are not UTF-8 are lone surrogates; ASCII escapes carry them.
    text = json.dumps({**header, "arrays": listing}).encode("ascii")
    stream.write(len(text).to_bytes(4, "big") + text)
    for array in arrays.values():
        stream.write(memoryview(cast("Any", np.ascontiguousarray(array))).cast("B"))
    stream.flush()


def receive(stream: BufferedIOBase, limit: int) -> tuple[Header, Arrays]:
    """Read one message whose arrays have at most `limit` bytes together.

    Raises:
        WireError: the stream ended, or the message is malformed or too large.
    """
    length = int.from_bytes(_exactly(stream, 4), "big")
    if not 0 < length <= HEADER_BYTES:
        raise WireError(f"header of {length} bytes")
    try:
        header = json.loads(_exactly(stream, length))
        shapes = [_array_shape(*entry) for entry in header.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WireError(f"malformed header: {error}") from None
    if sum(math.prod(shape) * dtype.itemsize for _, dtype, shape in shapes) > limit:
        raise WireError("arrays larger than the limit")
    try:
        return header, {name: _fill(stream, dtype, shape) for name, dtype, shape in shapes}
    except ValueError as error:  # no elements, but sides that numpy cannot count
        raise WireError(f"malformed array: {error}") from None


def _array_shape(
    name: object, dtype: object, shape: object
) -> tuple[str, np.dtype[Any], tuple[int, ...]]:
    if not isinstance(name, str) or dtype not in ELEMENTS or not isinstance(shape, list):
        raise WireError("malformed array")
    sides = cast("list[object]", shape)
    if len(sides) > 4 or not all(isinstance(n, int) and 0 <= n < 2**40 for n in sides):
        raise WireError("malformed array shape")
    return name, np.dtype(str(dtype)), tuple(cast("list[int]", sides))


def _fill(stream: BufferedIOBase, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    array: NDArray[Any] = np.empty(shape, dtype)
    rest = memoryview(cast("Any", array.reshape(-1).view(np.uint8)))
    while len(rest):
        count = stream.readinto(rest)
        if not count:
            raise WireError("the stream ended")
        rest = rest[count:]
    return array


def _exactly(stream: BufferedIOBase, count: int) -> bytes:
    got = stream.read(count)
    if len(got) < count:
        raise WireError("the stream ended")
    return got
