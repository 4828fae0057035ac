"""Atomic writing of files."""

import os
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from trichord.types import UserError

_PART = re.compile(r"\.[0-9a-f]{16}\.part")


def exists(path: Path | str) -> bool:
    """Whether a path exists; not if its folder may not be entered, or its drive does not answer."""
    try:
        return Path(path).exists()
    except OSError:
        return False


def is_folder(path: Path | str) -> bool:
    """Whether a path is a folder; not if that one's folder may not be entered."""
    return exists(path) and Path(path).is_dir()


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file so that readers see either the old content or the new, also after a crash.

    Text is written as UTF-8. The file's folder is made if it is missing.

    Raises:
        UserError: The file cannot be written.
    """
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Generator[BinaryIO]:
    """A file to write to, which replaces `path` when the block succeeds.

    If the block raises, `path` is unchanged and nothing is left beside it.

    Raises:
        UserError: the place cannot be written to.
    """
    # In the same folder, because a rename is atomic only within a file system.
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # already renamed, if all went well
            temporary.unlink()


def leftovers(folder: Path) -> list[Path]:
    """Temporary files of killed writes in a folder; some may be of writes in progress."""
    if not folder.is_dir():
        return []
    return sorted(one for one in folder.iterdir() if _PART.fullmatch(one.name))


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed writes from a folder that no other process writes to."""
    for one in leftovers(folder):
        with suppress(OSError):
            one.unlink()


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power failure: the name is stored in the folder, not in the file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
