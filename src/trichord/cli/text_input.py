"""Text that a command reads from a file, or from standard input."""

import sys
from pathlib import Path

from trichord.types import UserError
from trichord.types.rules import InputFile

STANDARD = "-"
"""Names standard input."""


def require_input(name: str) -> None:
    """Refuse a name that is neither a file nor standard input.

    Raises:
        UserError: It is none.
    """
    if name != STANDARD:
        InputFile().check(Path(name), "the file")


def read_input(name: str) -> str:
    """The text of a file or of standard input.

    Raises:
        UserError: It cannot be read, or is no text.
    """
    try:
        return sys.stdin.read() if name == STANDARD else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name} cannot be read as text ({error}): give a file in UTF-8.") from None


def lines_of(name: str) -> list[str]:
    """The lines of a file or of standard input that are not empty.

    Raises:
        UserError: There are none, or as for `read_input`.
    """
    lines = [line.strip() for line in read_input(name).splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{name} has no line with words: write a query on each.")
    return lines
