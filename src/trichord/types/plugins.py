"""Plugins: parts installed with an entry point, or passed as values.

A group is a type of part, such as encoders. A name is looked up among our own parts, then among those
passed in this process (`provide`, `--plugin FILE`), then among the entry points of installed packages.
Only the requested part is imported: a search or a run loads no package that it does not name.
"""

import ast
import hashlib
import re
import sys
import traceback
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar, cast

from trichord.types import UserError, first_line
from trichord.types.extras import package_hint

T = TypeVar("T")


KIND = r"[A-Za-z0-9][A-Za-z0-9_@-]*"
"""A kind is part of options and of parameter names, which may have no dot."""
_GROUPS: "dict[str, Group[Any]]" = {}
_PROVIDED: dict[tuple[str, str], tuple[Any, str]] = {}
"""Parts passed in this process, by group and kind, each with its origin. Global on purpose, like Python's
codecs: models are opened in many places, also in other threads."""


def provide(parts: Iterable[Any], origin: str = "a value of this program") -> None:
    """Register parts in this process by their kinds; a later one replaces an earlier one.

    Args:
        parts: Config classes, loss terms, and other values with a `group` and a `kind`.
        origin: Recorded by runs.

    Raises:
        UserError: One of them is no part, or its kind is taken.
    """
    several: Any = parts
    if not isinstance(several, Iterable):
        raise UserError(f"parts: {parts!r} is not several parts: write [...] around it.")
    for one in parts:
        # The config of an encoder stands for its class; a loss term is a value and has no class kind.
        part = type(one) if isinstance(getattr(type(one), "kind", None), str) else one
        if not _is_part(part):
            raise UserError(
                f"{part!r} is no part: give config classes or values with a 'group' and a 'kind'."
            )
        if not re.fullmatch(KIND, part.kind):
            raise UserError(
                f"The kind '{part.kind}' of {origin}: use letters, digits, '-', '_' and '@' alone."
            )
        known, whose = _PROVIDED.get((part.group, part.kind), (part, origin))
        own = _GROUPS[part.group].own.get(part.kind, part) if part.group in _GROUPS else part
        if own is not part:
            raise UserError(
                f"The kind '{part.kind}' of {part.group} is taken, and {origin} brings another one: give "
                "that one another name."
            )
        if known is not part and whose.partition(" (")[0] != origin.partition(" (")[0]:
            raise UserError(
                f"{whose} and {origin} both bring a '{part.kind}' of the {part.group}: rename one."
            )
        _PROVIDED[part.group, part.kind] = part, origin


@contextmanager
def temporary_parts() -> Generator[None]:
    """Parts that are provided in the block are removed afterwards: `--plugin` is for one command."""
    before = dict(_PROVIDED)
    try:
        yield
    finally:
        _PROVIDED.clear()
        _PROVIDED.update(before)


@dataclass(frozen=True, eq=False)
class Group(Generic[T]):
    """One type of part.

    Attributes:
        name: As in the entry point group `trichord.NAME`.
        noun: Name of one of them in messages.
        own: Our parts, by kind.
        closed: Whether plugins are not allowed.
    """

    name: str
    noun: str
    own: Mapping[str, T]
    closed: bool = False

    def __post_init__(self) -> None:
        if self.own:
            _GROUPS[self.name] = self

    def kinds(self) -> list[str]:
        """All available kinds; imports nothing."""
        if self.closed:
            return list(self.own)
        provided = [kind for group, kind in _PROVIDED if group == self.name]
        return list(dict.fromkeys([*self.own, *provided, *_installed(self.name)]))

    def find(self, kind: str, option: str = "", among: Sequence[str] = ()) -> T:
        """The part of a kind.

        Args:
            kind: Its kind.
            option: The option that names it, for the message.
            among: The kinds to choose from, for the message; all if empty.

        Raises:
            UserError: There is none of this name, two packages offer it, or it cannot be loaded.
        """
        provided = _PROVIDED.get((self.name, kind))
        if kind in self.own:
            return self.own[kind]
        if provided and not self.closed:
            return cast("T", provided[0])
        points = () if self.closed else _installed(self.name).get(kind, ())
        if len(points) > 1:
            packages = " and ".join(map(_package, points))
            raise UserError(f"{packages} both offer the {self.noun} '{kind}': uninstall one.")
        if not points:
            raise UserError(self._unknown(kind, option, among or self.kinds()))
        try:
            return points[0].load()
        except Exception as error:  # a foreign module may raise anything on import
            raise UserError(
                f"The {self.noun} '{kind}' of {_package(points[0])} cannot be loaded: "
                f"{type(error).__name__}: {first_line(error)}."
            ) from error

    def origin(self, kind: str) -> str | None:
        """The origin of a part, such as "trichord-dinov2 0.1"; None if it is ours, or unknown."""
        if kind in self.own:
            return None
        if (self.name, kind) in _PROVIDED:
            return _PROVIDED[self.name, kind][1]
        return next(map(_package, _installed(self.name).get(kind, ())), None)

    def summary(self, kind: str) -> str:
        """First line of the docstring of an installed function, from its source; empty if it has none.

        Nothing is loaded for it, so that help stays fast, and works beside a package that is broken.
        """
        point = next(iter(_installed(self.name).get(kind, ())), None)
        try:
            spec = find_spec(point.module) if point else None
            tree = ast.parse(Path(str(spec.origin)).read_bytes()) if spec else ast.Module([], [])
        except (ImportError, OSError, SyntaxError, ValueError):
            return ""
        made = [one for one in tree.body if isinstance(one, ast.FunctionDef)]
        text = next(
            (ast.get_docstring(one) for one in made if point and one.name == point.attr), ""
        )
        return (text or "").partition("\n")[0].rstrip(".")

    def _unknown(self, kind: str, option: str, known: Sequence[str]) -> str:
        close = get_close_matches(kind, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(known)}."
        others = "" if self.closed else " Others come with a package, or by --plugin FILE."
        if missing := package_hint(kind):
            hint, others = missing, ""
        if option:
            return f"{option} {kind}: there is no {self.noun} of that name here: {hint}{others}"
        return f"There is no {self.noun} '{kind}' here: {hint}{others}"


@cache
def _installed(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    """Entry points of a group by name. Cached, because it reads the metadata of all packages."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for point in entry_points(group=f"trichord.{group}"):
        found[point.name] = (*found.get(point.name, ()), point)
    return found


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def provide_file(path: Path) -> ModuleType:
    """Run a Python file and register the parts that it defines.

    Args:
        path: The file. Its code runs with the rights of the caller.

    Returns:
        Its module; the same one if the file was run before and has not changed.

    Raises:
        UserError: There is no such file, or it fails; names the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): name a Python file.") from error
    # Named by path and content: equal names in two folders are two modules, and pickles of another
    # process find the module once it has run the same file.
    mark = hashlib.blake2b(str(path.absolute()).encode() + content, digest_size=6).hexdigest()
    name = f"trichord_plugin_{path.stem}_{mark}"
    module = sys.modules.get(name) or _run(path, name)
    digest = hashlib.blake2b(content, digest_size=6).hexdigest()
    provide(_defined(module), origin=f"the file {path.name} ({digest})")
    return module


def _run(path: Path, name: str) -> ModuleType:
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: name a Python file, which ends in .py.")
    module = module_from_spec(spec)
    sys.modules[name] = module  # before it runs, because dataclasses look up their module there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if isinstance(error, UserError):
            raise
        said = error.msg if isinstance(error, SyntaxError) else first_line(error)
        place = _line_of(error, path)
        raise UserError(f"{place}: {type(error).__name__}: {said}.") from error
    return module


def _line_of(error: BaseException, path: Path) -> str:
    """The last line of a file that an error went through."""
    if isinstance(error, SyntaxError) and Path(error.filename or "").name == path.name:
        return f"{path}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def _defined(module: ModuleType) -> Iterator[Any]:
    """Parts that a module defines: its own classes, and values."""
    for value in vars(module).values():
        own = getattr(value, "__module__", None) == module.__name__
        if _is_part(value) and (own or not isinstance(value, type)):
            yield value


def _is_part(value: Any) -> bool:
    """Whether a value is a part; a base class without a kind is not."""
    named = getattr(value, "kind", ""), getattr(value, "group", "")
    return all(isinstance(one, str) and one for one in named)
