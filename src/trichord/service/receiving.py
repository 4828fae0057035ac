"""The file of a multipart form, by Starlette's parser with its limits."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect, Request

from trichord.service.errors import RefusedError

FIELD = "file"
FIELDS = 8
"""Fields of a form beside the file; the page sends none."""
FIELD_BYTES = 4096
"""Size of each of them: they are kept in memory."""


async def receive_file(request: Request, path: Path) -> int:
    """Write the form's file to a new file that only this user can read.

    Args:
        request: Its body is already limited in size and time (`RequestLimits`).
        path: The new file.

    Returns:
        Its size in bytes.

    Raises:
        HTTPException: 400: the form is incomplete or malformed, has no file, or too many or too large
            fields; 415: it is not a form.
        OSError: The disk is full, or `path` exists.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise RefusedError(415, f"Send the file as multipart/form-data, in a field '{FIELD}'.")
    limits = {"max_files": 1, "max_fields": FIELDS, "max_part_size": FIELD_BYTES}
    try:
        async with request.form(**limits) as form:
            file = form.get(FIELD)
            if not isinstance(file, UploadFile):
                raise RefusedError(
                    400, f"The upload broke off or holds no file: send one, in a field '{FIELD}'."
                )
            # The client's name of the file is ignored: its content decides what it is.
            return await asyncio.to_thread(_copy, file.file, path)
    except ClientDisconnect:
        raise RefusedError(400, "The upload broke off: send it again.", close=True) from None


def _copy(source: Any, path: Path) -> int:
    # Starlette's file has no name, but the decoding process needs one.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
        return file.tell()
