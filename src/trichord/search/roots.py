"""Roots: the folders of a collection's files. Rows name files relative to them.

A row's name of a file is `root:N/relative`. So a library that has moved is one change in
`collection.json`. Everything above `MomentTable` sees absolute paths.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from trichord.types.files import exists, is_folder

__all__ = ["Root", "Roots", "UnknownRootError", "beside", "path_from", "within"]

NUMBERED = re.compile(r"root:(\d+)")


class UnknownRootError(KeyError):
    """A row is of a root that another process has added since the roots were read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A folder of media files.

    Attributes:
        name: The beginning of its files' names in rows: `root:N`. For a folder that was relocated
            alone, it is the beginning that the names already had, such as `root:0/holiday`, or the absolute
            path in collections from before roots. So a relocation changes no row.
        path: Its absolute path.
        relative: Its path relative to the collection; empty if there is none.
    """

    name: str
    path: str
    relative: str = ""


@dataclass(frozen=True)
class Roots:
    """The roots of a collection; a file belongs to the innermost one."""

    roots: tuple[Root, ...] = ()

    def absolute(self, stored: str) -> str:
        """The path of a file by its name in rows.

        Raises:
            UnknownRootError: Its root is not among these.
        """
        root = _innermost(stored, self._by_name)
        if root is None:
            if NUMBERED.match(stored):
                raise UnknownRootError(stored)
            return stored
        return _moved(stored, root.name, root.path)

    def stored(self, file: str) -> str:
        """The name of a file in rows; its path if it is in no root."""
        root = self.of(file)
        return file if root is None else _moved(file, root.path, root.name)

    def of(self, file: str) -> Root | None:
        """The root of a file or folder; None if it is in no root."""
        return _innermost(file, self._by_path)

    def adding(self, folders: Iterable[str], files: Iterable[str]) -> "Roots":
        """With roots for folders that are in none.

        Args:
            folders: Absolute paths.
            files: Known files: rows of a collection from before roots name them by their paths.
        """
        result, unrooted = self, [file for file in files if self.of(file) is None]
        for folder in sorted(folders):
            if result.of(folder) is None:
                named = any(within(file, folder) for file in unrooted)
                result = result._with(folder if named else result._free(), folder)
        return result

    def relocated(self, old: str, new: str, files: Iterable[str]) -> "Roots":
        """With the files of a folder in another one.

        Args:
            old: The folder: a root, or a folder in a root or of several roots.
            new: Where its files are now; no other file of the collection is there.
            files: All known files of `old`.
        """
        kept = [root for root in self.roots if not within(root.path, new) or within(root.path, old)]
        roots = [
            replace(root, path=_moved(root.path, old, new)) if within(root.path, old) else root
            for root in kept
        ]
        owners = [self.of(file) for file in files]
        result = Roots(tuple(roots))
        if any(owner is None or not within(owner.path, old) for owner in owners):
            result = result._with(self.stored(old), new)
        # A file that is put into the old place later must not get the name of a file that has moved.
        for root in result.roots:
            others = {one.name: one for one in result.roots if one is not root}
            owner = _innermost(root.name, others)
            place = _moved(root.name, owner.name, owner.path) if owner else root.name
            if Path(place).is_absolute() and all(one.path != place for one in result.roots):
                result = result._with(result._free(), place)
        return result

    def mapped(self, change: Callable[[Root], Root]) -> "Roots":
        """With each root changed."""
        return Roots(tuple(map(change, self.roots)))

    def found(self, collection: Path | None) -> "Roots":
        """With the paths that exist: one that is gone may have been copied along with the collection.

        Args:
            collection: Its folder; None in a bucket.
        """

        def place(root: Root) -> Root:
            copied = beside(collection, root.relative)
            gone = copied and not exists(root.path) and is_folder(copied)
            return replace(root, path=copied) if gone else root

        return self.mapped(place)

    def noted(self, collection: Path | None) -> "Roots":
        """With the relative paths of those that exist."""

        def note(root: Root) -> Root:
            relative = path_from(collection, root.path)
            return replace(root, relative=relative) if exists(root.path) else root

        return self.mapped(note)

    @cached_property
    def _by_name(self) -> Mapping[str, Root]:
        return {root.name: root for root in self.roots}

    @cached_property
    def _by_path(self) -> Mapping[str, Root]:
        return {root.path.rstrip("/"): root for root in self.roots}

    def _with(self, name: str, path: str) -> "Roots":
        return Roots((*self.roots, Root(name=name, path=path)))

    def _free(self) -> str:
        """A name that no root has had."""
        numbers = [int(found[1]) for root in self.roots if (found := NUMBERED.match(root.name))]
        return f"root:{max(numbers, default=-1) + 1}"


def within(path: str, folder: str) -> bool:
    """Whether a path is a folder or in it, by their texts."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def beside(collection: Path | None, relative: str) -> str:
    """The absolute path of what is relative to a collection; empty without a relative path."""
    if collection is None or not relative:
        return ""
    return os.path.normpath(collection.resolve() / relative)


def path_from(collection: Path | None, path: str) -> str:
    """A path relative to a collection; empty in a bucket, and for a path that is not absolute."""
    if collection is None or not Path(path).is_absolute():
        return ""
    return os.path.relpath(path, collection.resolve())


def _innermost(path: str, places: Mapping[str, Root]) -> Root | None:
    while path not in places:
        path, slash, _ = path.rpartition("/")
        if not slash:
            return None
    return places[path]


def _moved(path: str, old: str, new: str) -> str:
    rest = path[len(old.rstrip("/")) :]
    return new.rstrip("/") + rest if rest else new
