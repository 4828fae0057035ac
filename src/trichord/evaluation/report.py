"""Reports: what one run reaches on one manifest, as rows of measures. Kept as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from trichord.config import Provenance
from trichord.evaluation.protocol import Protocol, Rules
from trichord.evaluation.query_ranks import QueryRanks
from trichord.evaluation.row import ReportRow
from trichord.types import UserError
from trichord.types.files import write_atomically

FORMAT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A run's numbers with the protocol they were measured under.

    Each kind of report narrows `kind`, `protocol` and `rows`, and adds what it alone has.

    Attributes:
        kind: Of the report.
        format: Of the file.
        run: What the run is called.
        experiment: What was trained.
        seed: Of the training.
        provenance: What the run was made of.
        protocol: How it was measured.
        rows: The numbers.
        trichord: The version that measured.
    """

    called: ClassVar[str]
    """What messages call such a report: "is not {called}"."""
    command: ClassVar[str]
    """What makes one."""

    kind: str
    format: Literal[3] = FORMAT
    run: str
    experiment: str
    seed: int
    provenance: Provenance
    protocol: Rules
    rows: tuple[ReportRow, ...]
    trichord: str = field(default_factory=lambda: version("trichord"))

    @property
    def title(self) -> str:
        """What stands above its table."""
        return f"{self.run}: {self.experiment}, seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalReport(Report):
    """A run's retrieval numbers: a row for each task, then one for each that was answered the other way.

    `silent` has each clip without sound, and the training clip whose sound it was given, None where it
    stayed as it was or was left out. `left_out` has the tasks that the model cannot answer, each with the
    reason. `ranks` has the rank of each query of each task; older reports have none.
    """

    called: ClassVar[str] = "a retrieval report"
    command: ClassVar[str] = "`trichord evaluate RUN MANIFEST`"

    kind: Literal["retrieval"] = "retrieval"
    protocol: Protocol
    silent: dict[str, str | None] = field(default_factory=dict[str, str | None])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    ranks: dict[str, QueryRanks] = field(default_factory=dict[str, QueryRanks])


AnyReport = TypeVar("AnyReport", bound=Report)


def write_json(value: Any, path: Path) -> None:
    """Write a report or a comparison as JSON; a file that was there is replaced whole or not at all."""
    text = json.dumps(asdict(value), indent=1, allow_nan=False, ensure_ascii=False)
    write_atomically(path, text + "\n")


def read_report(path: Path, form: type[AnyReport]) -> AnyReport:
    """Read a report that `write_json` wrote.

    Args:
        path: The file.
        form: The kind of report that is expected.

    Raises:
        UserError: The file is absent, is no such report, or is of another format.
    """
    remedy = f"make one with {form.command}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}.") from error
    except ValueError as error:
        raise UserError(f"{path}: is not JSON; {remedy}.") from error
    values = cast("dict[str, object]", content) if isinstance(content, dict) else {}
    if values.get("kind") != _kind(form):
        raise UserError(f"{path}: is not {form.called}; {remedy}.")
    if (written := values.get("format")) != FORMAT:
        raise UserError(
            f"{path}: is of format {written}, this Trichord reads {FORMAT}; {remedy} again."
        )
    try:
        return _validator(form).validate_python(values)
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(f"{path}: is broken at {where}; {remedy} again.") from error


def _kind(form: type[Report]) -> object:
    return next(one.default for one in fields(form) if one.name == "kind")


@cache
def _validator(form: type[Any]) -> Any:
    """What turns plain values into a report; making it takes longer than its use."""
    return TypeAdapter(form)


def with_ceiling(
    rows: Sequence[ReportRow], ceiling: Mapping[str, Mapping[int, float]] | None
) -> tuple[ReportRow, ...]:
    """Rows with the best possible R@k beside them, given by task, then k."""
    known = ceiling or {}
    return tuple(
        replace(row, ceiling={f"R@{k}": best for k, best in known.get(row.name, {}).items()})
        for row in rows
    )
