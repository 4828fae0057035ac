"""Reports as JSON files: written whole or not at all, and read only as what they are."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from trichord.types import UserError
from trichord.types.files import write_atomically

Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFile(Generic[Kept]):
    """How one type of report is kept: a dataclass with the fields `kind` and `format`.

    `called` is what messages call it ("is not {called}"), `remedy` how one is made.
    """

    type: type[Kept]
    kind: str
    format: int
    called: str
    remedy: str

    def write(self, report: Kept, path: Path) -> None:
        """Write a report; one that was there is replaced whole or not at all."""
        held: Any = _form(self.type).dump_python(report, mode="json")
        text = json.dumps(held, indent=1, allow_nan=False, ensure_ascii=False)
        write_atomically(path, text + "\n")

    def read(self, path: Path) -> Kept:
        """Read a report that `write` wrote.

        Raises:
            UserError: The file is absent, is no such report, or is of another format.
        """
        remedy = f"make one with {self.remedy}"
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}.") from error
        except ValueError as error:
            raise UserError(f"{path}: is not JSON; {remedy}.") from error
        found = cast("dict[str, object]", held) if isinstance(held, dict) else {}
        if found.get("kind") != self.kind:
            raise UserError(f"{path}: is not {self.called}; {remedy}.")
        if (written := found.get("format")) != self.format:
            raise UserError(
                f"{path}: is of format {written}, this Trichord reads {self.format}; {remedy} again."
            )
        try:
            return _form(self.type).validate_python(found)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise UserError(f"{path}: is broken at {where}; {remedy} again.") from error


@cache
def _form(kept: type[Any]) -> Any:
    """What turns one type of report into plain values and back; making it takes longer than its use."""
    return TypeAdapter(kept)
