"""Tensor files with a digest of all their bytes in the header.

They are ordinary safetensors files. Nothing in them is ever unpickled.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trichord.types import UserError
from trichord.types.files import replacing

DIGEST = "digest"
BLANK = "0" * 64
"""Placeholder of the digest while it is computed."""
LONGEST_HEADER = 100_000_000
"""Bytes; the limit of safetensors itself."""
AT_ONCE = 8 * 1024**2


class DamagedError(UserError):
    """A file that is cut off, changed, or no tensor file."""


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str], *, keep: Path | None = None
) -> None:
    """Write a tensor file with a digest, atomically.

    The same tensors and notes give the same bytes.

    Args:
        path: Of the file.
        tensors: By name.
        notes: Metadata.
        keep: New path of the old file at `path`, once the new one is complete on disk.

    Raises:
        UserError: The file cannot be written; the old one is unchanged.
    """
    content = memoryview(save(dict(tensors), {**notes, DIGEST: BLANK}))
    size = int.from_bytes(content[:8], "little")
    header, values = _ordered(bytes(content[8 : 8 + size])), content[8 + size :]
    start = header.index(f'"{DIGEST}":"{BLANK}"'.encode()) + len(DIGEST) + 4
    taken = hashlib.blake2b(header, digest_size=len(BLANK) // 2)
    taken.update(values)
    with replacing(path) as file:
        digest = taken.hexdigest().encode()
        for part in (header[:start], digest, header[start + len(BLANK) :], values):
            file.write(part)
        if keep is not None and path.exists():
            file.flush()
            os.fsync(file.fileno())
            path.replace(keep)


def _ordered(header: bytes) -> bytes:
    """A header with sorted notes, after its length.

    safetensors sorts tensors itself, but writes notes in an order that varies from call to call.
    """
    document = json.loads(header)
    document["__metadata__"] = dict(sorted(document["__metadata__"].items()))
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # as in safetensors: the tensors are aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text


def read_tensors(path: Path, *, unsealed: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and notes of a file that `write_tensors` made.

    Args:
        path: Of the file.
        unsealed: Accept a file without a digest, as earlier versions wrote it.

    Raises:
        DamagedError: It is no tensor file, or its bytes have changed.
    """
    try:
        with path.open("rb") as file:
            _check(file, unsealed=unsealed)
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            notes = file.metadata() or {}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged ({error})") from error
    notes.pop(DIGEST, None)
    return tensors, notes


def _check(file: BinaryIO, *, unsealed: bool) -> None:
    """Refuse a file whose digest does not match its header.

    Raises:
        ValueError: Gives the reason.
    """
    length = file.read(8)
    size = int.from_bytes(length, "little")
    if len(length) < 8 or size > min(LONGEST_HEADER, os.fstat(file.fileno()).st_size - 8):
        raise ValueError("no tensor file, or one that is cut off")
    header = file.read(size)
    document: object = json.loads(header)
    found = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    notes = found.get("__metadata__")
    digest = cast("dict[str, object]", notes).get(DIGEST) if isinstance(notes, dict) else None
    if digest is None and unsealed:
        return
    if not isinstance(digest, str):
        raise ValueError("it has no digest")
    taken = hashlib.blake2b(length, digest_size=len(BLANK) // 2)
    taken.update(header.replace(digest.encode(), BLANK.encode(), 1))
    while part := file.read(AT_ONCE):
        taken.update(part)
    if taken.hexdigest() != digest:
        raise ValueError("its bytes are not those that were written")
