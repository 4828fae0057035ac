"""Files shown in the file manager of this machine: where `trichord serve --open-folders` allows it."""

import sys
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired

from trichord.service.errors import RefusedError

SECONDS = 3.0
"""A program that still runs after so long is taken to show the folder: some end with their window."""


def command_of(file: Path, system: str = sys.platform) -> list[str]:
    """The command that shows a file.

    Args:
        file: Its absolute path, which therefore is no option of the program.
        system: As `sys.platform`.
    """
    if system == "darwin":
        return ["open", "-R", str(file)]
    if system == "win32":
        return ["explorer", "/select,", str(file)]
    return ["xdg-open", str(file.parent)]  # it has no way to select a file


def show(file: Path) -> None:
    """Show a file in the file manager; no shell reads its name.

    Raises:
        RefusedError: 501: there is no file manager, or it cannot be started.
    """
    command = command_of(file)
    try:
        started = Popen(
            command, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
        )
        code = started.wait(SECONDS)
    except TimeoutExpired:
        return
    except OSError:
        raise RefusedError(501, f"No folder opens here: {command[0]} is not there.") from None
    if code and command[0] != "explorer":  # which ends with 1 whenever it shows a file
        raise RefusedError(501, f"No folder opens here: {command[0]} finds no file manager.")
