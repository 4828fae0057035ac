"""Rules for values of options: declared with the field, checked in one place.

A field has its rule in the annotation, `beams: Annotated[int, Range(1, 100)] = 5`, and `require_legal`
checks all fields of a dataclass and of nested ones. Tests of options read the same rules.
"""

import math
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

from trichord.types import UserError


class Rule(ABC):
    """What a value may be. None, an option that is not given, is always legal."""

    whole: ClassVar[bool] = False
    """Whether a tuple is checked as one value; otherwise each of its elements is."""

    @abstractmethod
    def check(self, value: Any, option: str) -> None:
        """Refuse a value that is not legal.

        Args:
            value: The value.
            option: As it is typed.

        Raises:
            UserError: Names the option, the value and the legal values.
        """


@dataclass(frozen=True, slots=True)
class Range(Rule):
    """Finite numbers from `low` to `high` (inclusive), between `above` and `below` (exclusive)."""

    low: int | float = -math.inf
    high: int | float = math.inf
    above: int | float = -math.inf
    below: int | float = math.inf

    def check(self, value: Any, option: str) -> None:
        """See `Rule`; the type checks a word such as 'auto'."""
        if isinstance(value, str):
            return
        inside = self.low <= value <= self.high and self.above < value < self.below
        if not (inside and abs(value) < math.inf):
            shown = f"{value:.12g}" if isinstance(value, float) else value  # -1 where -1 is typed
            bounded = min(self.high, self.below) < math.inf
            finite = " and finite" if abs(value) == math.inf and not bounded else ""
            raise UserError(f"{option} {shown}: give {self.words}{finite}.")

    @property
    def words(self) -> str:
        """The numbers, in words."""
        parts = [f"more than {self.above:.12g}"] if self.above > -math.inf else []
        if self.low > -math.inf and self.high < math.inf:
            return f"a number from {self.low:.12g} to {self.high:.12g}"
        if self.low > -math.inf:
            parts.append(f"at least {self.low:.12g}")
        if self.high < math.inf:
            parts.append(f"at most {self.high:.12g}")
        if self.below < math.inf:
            parts.append(f"less than {self.below:.12g}")
        return " and ".join(parts) or "a finite number"


@dataclass(frozen=True, slots=True)
class Distinct(Rule):
    """Several different values, at least `least` of them."""

    least: int = 0

    whole: ClassVar[bool] = True

    def check(self, value: Any, option: str) -> None:
        """See `Rule`."""
        if len(value) < self.least:
            raise UserError(f"{option}: a value is missing: give at least {self.least}.")
        if twice := [one for one in value if value.count(one) > 1]:
            raise UserError(f"{option}: {twice[0]} is given twice: give it once.")


@dataclass(frozen=True, slots=True)
class Spelling(Rule):
    """Texts that match a pattern, described by `words`."""

    pattern: str
    words: str

    def check(self, value: Any, option: str) -> None:
        """See `Rule`."""
        if not re.fullmatch(self.pattern, value):
            raise UserError(f"{option} {value}: give {self.words}.")


@dataclass(frozen=True, slots=True)
class Checked(Rule):
    """Values that a function accepts; it raises a `UserError`, which need not name the option."""

    function: Callable[[Any], object]

    def check(self, value: Any, option: str) -> None:
        """See `Rule`."""
        try:
            self.function(value)
        except UserError as error:
            named = option in str(error) or not option.startswith("--")
            raise UserError(f"{error}" if named else f"{option}: {error}") from error


@dataclass(frozen=True, slots=True)
class InputFile(Rule):
    """A file that can be read."""

    def check(self, value: Any, option: str) -> None:
        """See `Rule`."""
        if _require_existing(value, option):
            raise UserError(f"{option} {value} is a folder: name a file.")
        if not os.access(value, os.R_OK):
            raise UserError(f"{option} {value} cannot be read: change its permissions.")


@dataclass(frozen=True, slots=True)
class InputFolder(Rule):
    """A folder that exists; with `bucket` also a location in a bucket, which is not checked."""

    bucket: bool = False

    def check(self, value: Any, option: str) -> None:
        """See `Rule`."""
        if not (self.bucket and in_bucket(value)) and not _require_existing(value, option):
            raise UserError(f"{option} {value} is a file: name a folder.")


@dataclass(frozen=True, slots=True)
class InputPlace(Rule):
    """A file or folder that exists."""

    def check(self, value: Any, option: str) -> None:
        """See `Rule`."""
        _require_existing(value, option)


@dataclass(frozen=True, slots=True)
class OutputFile(Rule):
    """A file to write or replace; parent folders are made. `suffix`: the end of its name."""

    suffix: str = ""

    def check(self, value: Any, option: str) -> None:
        """See `Rule`."""
        if not str(value).lower().endswith(self.suffix):
            raise UserError(f"{option} {value}: give a name that ends in {self.suffix}.")
        if _is_folder(Path(value), option):
            raise UserError(f"{option} {value} is a folder: name a file.")
        _require_writable(Path(value).parent, value, option)


@dataclass(frozen=True, slots=True)
class OutputFolder(Rule):
    """A folder to make or write into; `empty`: without files; `bucket`: may be in a bucket."""

    bucket: bool = False
    empty: bool = False

    def check(self, value: Any, option: str) -> None:
        """See `Rule`."""
        if self.bucket and in_bucket(value):
            return
        _require_writable(Path(value), value, option)
        if self.empty and _is_folder(Path(value), option) and any(Path(value).iterdir()):
            raise UserError(f"{option} {value} is not empty: choose another folder.")


def require_legal(value: Any, annotation: Any = None, option: str = "--") -> None:
    """Check a value by the rules of its annotation, and a dataclass field by field.

    Args:
        value: A dataclass, a tuple of such, or the value of one option.
        annotation: Of the value.
        option: Its name; for a dataclass, the prefix of the names of its fields.

    Raises:
        UserError: The first value that is not legal.
    """
    if value is None:
        return
    several: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
    for rule in rules_of(annotation):
        for one in (value,) if rule.whole else several:
            rule.check(one, option)
    for number, one in enumerate(several):
        if is_dataclass(one):
            place = f"{option}.{number}" if isinstance(value, tuple) else option
            for field in fields(one):
                name = option_name(place, field.name, field.type)
                require_legal(getattr(one, field.name), field.type, name)


def require(legal: object, refusal: str) -> None:
    """Refuse options that do not fit together.

    Raises:
        UserError: `refusal`, which names them and the remedy.
    """
    if not legal:
        raise UserError(refusal)


def rules_of(annotation: Any) -> list[Rule]:
    """The rules in an annotation, and in its parts, as in `Seed | None` and `tuple[Seed, ...]`."""
    if get_origin(annotation) is Annotated:
        bare, *marks = get_args(annotation)
        return [one for one in marks if isinstance(one, Rule)] + rules_of(bare)
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType, tuple) else ()
    return [rule for part in parts for rule in rules_of(part)]


def option_name(prefix: str, field: str, annotation: Any) -> str:
    """The option of a field on the command line, after a prefix.

    `tyro.conf.arg` may give it another name, none (""), or a metavar, the name of a positional one.
    tyro is not imported here, because experiments are also read without a command line.
    """
    marks = getattr(annotation, "__metadata__", ())
    if metavar := next(filter(None, (getattr(one, "metavar", None) for one in marks)), None):
        return str(metavar)
    value = [one.name for one in marks if isinstance(getattr(one, "name", None), str)]
    name = value[0] if value else field.replace("_", "-")
    return f"{prefix}{'' if prefix == '--' or not name else '.'}{name}"


def in_bucket(place: object) -> bool:
    """Whether a location is `s3://bucket/prefix`, from which `Path` removes a slash."""
    return str(place).startswith("s3:/")


def _require_existing(path: Path, option: str) -> bool:
    """Refuse a missing path; return whether it is a folder."""
    folder = _is_folder(path, option)
    if folder is None:
        raise UserError(f"{option} {path}: there is no such file or folder: check the path.")
    return folder


def _is_folder(path: Path, option: str) -> bool | None:
    """Whether a path is a folder; None if it does not exist."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # a name that is too long, a folder without permission
        raise UserError(f"{option} {path}: {error.strerror}: name another place.") from error


def _require_writable(folder: Path, value: object, option: str) -> None:
    """Refuse a path that is no folder, or that cannot be made or written into."""
    is_folder = _is_folder(folder, option)
    if is_folder is False:
        raise UserError(f"{option} {value}: {folder} is a file: name another place.")
    if is_folder is None:
        _require_writable(folder.absolute().parent, value, option)
    elif not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{option} {value}: {folder} cannot be written to: name another place.")


Device = Annotated[
    str,
    Spelling(
        r"(?ai)auto|cpu|cuda(:[0-9]{1,3})?|mps", "auto, cpu, cuda, cuda:N (GPU number N) or mps"
    ),
]
"""The device of towers, in upper or lower case."""
Workers = Annotated[int, Range(1, 1024)]
"""Number of other processes."""
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""A seed that NumPy and scikit-learn accept."""
Weight = Annotated[float | None, Range(0)]
"""A relative weight of vision, audio or text."""
Share = Annotated[float | None, Range(0, 1)]
"""Such as an audio type token, from verbal (0) to nonverbal (1)."""
