"""Arguments of the wrong type, refused with what to write instead."""

import operator
from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike
from reprlib import Repr
from typing import Any

from trichord.types import UserError

SHORT = Repr()
SHORT.maxstring = SHORT.maxother = 60


class UserTypeError(UserError, TypeError):
    """An argument has the wrong type; also a TypeError, as Python code expects."""


def described(value: object) -> str:
    """A value and its type, in one short line."""
    return f"{' '.join(SHORT.repr(value).split())} is of type {type(value).__name__}"


def require_options(given: Iterable[str], known: Iterable[str], call: str) -> None:
    """Refuse unknown keywords, and suggest a known one.

    Args:
        given: The keywords of a call.
        known: All that it takes.
        call: What is called.

    Raises:
        UserTypeError: One of them is unknown.
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            close = get_close_matches(name, names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"it takes {', '.join(names)}."
            raise UserTypeError(f"{call} has no option '{name}': {hint}")


def require_number(name: str, value: Any) -> None:
    """Refuse what is no number; None is one that is not given.

    Raises:
        UserTypeError: Names the argument.
    """
    if value is not None and not hasattr(value, "__float__"):
        raise UserTypeError(f"{name}={described(value)}: give a number.")


def whole(name: str, value: Any) -> int:
    """A whole number, also one of NumPy.

    Raises:
        UserTypeError: It is something else.
    """
    try:
        return operator.index(value)
    except TypeError as error:
        raise UserTypeError(f"{name}={described(value)}: give a whole number.") from error


def require_file(name: str, value: Any) -> None:
    """Refuse what is no path; None is one that is not given.

    Raises:
        UserTypeError: Names the argument.
    """
    if value is not None and not isinstance(value, str | PathLike):
        raise UserTypeError(f"{name}={described(value)}: give the path of one file.")


def require_text(value: Any) -> None:
    """Refuse a text to search for that is no text; None is one that is not given.

    Raises:
        UserTypeError: Says what to write.
    """
    if value is None or isinstance(value, str):
        return
    remedy = "give a text, or a list of texts."
    if isinstance(value, bytes):
        remedy = "write .decode() after it."
    elif isinstance(value, PathLike):
        remedy = "to search by a file, write image=, audio= or video= before it."
    raise UserTypeError(f"The text to search for {described(value)}: {remedy}")


def texts_of(texts: Any, call: str) -> list[str]:
    """A list of texts.

    Args:
        texts: As the caller gives it.
        call: What takes it.

    Raises:
        UserTypeError: It is a single text, or one of them is no text.
    """
    if isinstance(texts, str | bytes):
        raise UserTypeError(f"{call} takes a list of texts: write [{SHORT.repr(texts)}].")
    found = list(texts)
    for number, one in enumerate(found, start=1):
        if not isinstance(one, str):
            raise UserTypeError(f"Text {number} of {len(found)}, {described(one)}: give a text.")
    return found


def require_several(value: Any, call: str) -> None:
    """Refuse a single path or text where a list is taken: its letters would be taken one by one.

    Raises:
        UserTypeError: Says to write brackets around it.
    """
    if isinstance(value, str | bytes | PathLike):
        raise UserTypeError(f"{call} takes a list: write [{value!r}].")
