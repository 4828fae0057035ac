"""A Lance table in a storage: read at one version, changed in commits that take turns."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lance
import pyarrow as pa

from trichord.storage.storage import Storage
from trichord.types import UserError

FULL = ("No space left", "os error 28", "StorageFull", "Disk quota")
"""How a full disk shows in what Lance says."""
MADE_BY = b"trichord.fingerprint"
"""Where a table's schema says which model its vectors are of."""
KEY = {"lance-schema:unenforced-primary-key": "true"}
"""Of the field that tells rows apart: of two commits at once that bring the same row, the later one then
replaces it. Lance sees to that only where the field has no index."""
SCORE = pa.field("_score", pa.float32())
"""The column that a full-text search adds."""


class LanceTable:
    """A table of a known schema.

    Every change is one commit, made while the storage is held; reading needs no lock and sees the
    table as it was when the reading began.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        schema: Any,
        *,
        derived: dict[str, str] | None = None,
        require: Callable[[], None] | None = None,
        remedy: str = "delete the collection and index anew",
    ) -> None:
        """Name a table, which need not be there yet.

        Args:
            storage: Where it lies.
            name: Its name there.
            schema: Its columns; those that an older table lacks are null in it.
            derived: Columns that an older table lacks and SQL makes of others.
            require: Called before every change; raises where there may be none.
            remedy: What mends a table that cannot be used.
        """
        self.storage = storage
        self.name = name
        self.uri = storage.uri(name)
        self.schema = schema
        self._derived = derived or {}
        self._require = require
        self._remedy = remedy

    @property
    def version(self) -> int:
        """Number of the last transaction; 0 before the first."""
        table = self.now
        return 0 if table is None else table.version

    @property
    def now(self) -> Any:
        """Lance's table at its last version; None before the first transaction."""
        with self.plainly():
            try:
                table = lance.dataset(self.uri, storage_options=self.storage.options)
            except ValueError as error:
                # Perhaps files but no version: the first transaction was cut off.
                if "was not found" in str(error):
                    return None
                raise
        made, ours = ((one.metadata or {}).get(MADE_BY) for one in (table.schema, self.schema))
        if made and ours and made != ours:  # tables of format 1 do not say
            raise UserError(
                f"{self.uri} holds vectors of other weights than its collection says: {self._remedy}."
            )
        return table

    @contextmanager
    def changing(self) -> Generator[Any]:
        """Hold the storage, and give the table with all columns."""
        with self.storage.writing(), self.plainly():
            if self._require is not None:
                self._require()
            table = self.now
            if table is not None:
                self._widen(table)
            yield table

    @contextmanager
    def plainly(self) -> Generator[None]:
        """Say in a line what Lance says in many, with the trace of its own source."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
            if any(sign in str(error) for sign in FULL):
                raise UserError(
                    f"{self.uri}: there is no room left to write to: what was stored before is whole "
                    "and can be searched; make room and go on."
                ) from error
            raise UserError(
                f"{self.uri} cannot be read or written ({why[:200]}): try again; if it stays so, it is "
                f"damaged: {self._remedy}."
            ) from error

    def rows(self, columns: Sequence[str], **options: Any) -> Any:
        """Rows as an Arrow table; options as `scan` takes them."""
        return pa.concat_tables(self.scan(self.now, columns, **options)).combine_chunks()

    def scan(
        self, table: Any, columns: Sequence[str], needs: str = "", **options: Any
    ) -> Iterator[Any]:
        """Rows in portions, null where the table has no such column; the first is empty.

        Args:
            table: A version of it, or None.
            columns: Of the schema, or `_score`.
            needs: A column that the filter speaks of; where the table lacks it, no row passes.
            **options: Of Lance's scanner.
        """
        fields = {**{field.name: field for field in self.schema}, SCORE.name: SCORE}
        schema = pa.schema([fields[name] for name in columns])
        yield schema.empty_table()
        if table is None or (needs and needs not in table.schema.names):
            return
        there = {*table.schema.names, SCORE.name}
        derived = {name: self._derived[name] for name in {*columns} & {*self._derived} - there}
        chosen: Any = [name for name in columns if name in there]
        if derived:
            chosen = {**{name: name for name in chosen}, **derived}
        with self.plainly():
            for batch in table.to_batches(columns=chosen, **options):
                yield _as(schema, pa.Table.from_batches([batch]))

    def taken(self, table: Any, columns: Sequence[str], rows: Sequence[int]) -> Iterator[Any]:
        """Some rows in portions, null where the table has no such column; the first is empty.

        Args:
            table: A version of it, or None.
            columns: Of the schema, none of them derived.
            rows: Their places in the order of `scan`, ascending.
        """
        schema = pa.schema([self.schema.field(name) for name in columns])
        yield schema.empty_table()
        if table is not None and rows:
            with self.plainly():
                there = [name for name in columns if name in table.schema.names]
                yield _as(schema, table.take(list(rows), columns=there))

    def _widen(self, table: Any) -> None:
        """Give an older table the columns, and the key, that it lacks."""
        missing = [name for name in self.schema.names if name not in table.schema.names]
        derived = {name: self._derived[name] for name in missing if name in self._derived}
        rest = [self.schema.field(name) for name in missing if name not in derived]
        for name, key in ((one.name, one.metadata) for one in self.schema if one.metadata):
            if table.schema.field(name).metadata != key:  # before there were keys
                table.update_field_metadata(
                    {name: {k.decode(): v.decode() for k, v in key.items()}}
                )
        if derived:
            table.add_columns(derived)
        if rest:
            table.add_columns(pa.schema(rest))


def _as(schema: Any, rows: Any) -> Any:
    """Rows with the columns of a schema, null where they have none."""
    for field in schema:
        if field.name not in rows.column_names:
            rows = rows.append_column(field.name, pa.nulls(len(rows), field.type))
    return rows.select(schema.names).cast(schema)


def among(column: str, values: Iterable[str]) -> str:
    """An SQL filter: the column is one of these texts."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"


def require_index(table: Any, column: str, kind: str) -> None:
    """Make an index of a column if there is none."""
    if all(index.field_names != [column] for index in table.describe_indices()):
        table.create_scalar_index(column, kind)
