"""`trichord relocate`: the files of an archive are in another folder now."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from trichord.cli.console import out
from trichord.cli.places import CollectionPlace
from trichord.types.rules import InputFolder, require_legal


@dataclass(frozen=True, kw_only=True)
class Relocation:
    """Say that the files of one folder are in another one now: moved, renamed or mounted elsewhere.

    Nothing is read again, and captions and tags stay. The archive changes in one step.
    """

    collection: Annotated[tyro.conf.Positional[CollectionPlace], tyro.conf.arg(metavar="ARCHIVE")]
    """What 'trichord index' made: a folder or s3://bucket/prefix."""
    old: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OLD")]
    """The folder as the archive knows it; it need not exist any more."""
    new: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="NEW"), InputFolder()]
    """The folder in which its files are now."""
    force: bool = False
    """Also if the new folder lacks most of the files."""


def relocate(arguments: list[str]) -> None:
    """`trichord relocate ARCHIVE OLD NEW`."""
    options = tyro.cli(Relocation, args=arguments, prog="trichord relocate")
    require_legal(options)
    from trichord.search.collection import StoredCollection

    collection = StoredCollection.open(options.collection)
    count = collection.relocate(options.old, str(options.new), force=options.force)
    out.print(
        f"{options.collection}: {count} files are in {options.new} now.",
        markup=False,
        soft_wrap=True,
    )
