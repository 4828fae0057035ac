"""A Lance table in a storage: read at one version, changed by one commit at a time."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import lance
import pyarrow as pa

from trichord.storage.storage import Storage
from trichord.types import UserError

FULL = ("No space left", "os error 28", "StorageFull", "Disk quota")
"""Texts in Lance's errors that mean a full disk."""
FINGERPRINT_KEY = b"trichord.fingerprint"
"""Key in a table's schema for the fingerprint of the model of its vectors."""
KEPT_FOR = timedelta(minutes=10)
"""Replaced rows stay on disk for so long, for processes that still read them."""
KEY = {"lance-schema:unenforced-primary-key": "true"}
"""Metadata of the key column: of two concurrent commits with the same row, the later one replaces it.
Lance checks this only if the column has no index."""
SCORE = pa.field("_score", pa.float32())
"""The column that a full-text search adds."""


class LanceTable:
    """A table of a known schema.

    Every change is one commit under the lock of the storage. Reading needs no lock and sees the table
    as it was when reading started.
    """

    def __init__(
        self,
        storage: Storage,
        name: str,
        schema: Any,
        *,
        derived: dict[str, str] | None = None,
        require: Callable[[], None] | None = None,
        remedy: str = "delete the archive and index again",
    ) -> None:
        """Name a table, which need not exist yet.

        Args:
            storage: Its storage.
            name: Its name there.
            schema: Its columns; those that an older table lacks are null in it.
            derived: Columns that an older table lacks, as SQL on others.
            require: Called before every change; raises to refuse it.
            remedy: What to do about a table that cannot be used.
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
        table = self.latest
        return 0 if table is None else table.version

    @property
    def latest(self) -> Any:
        """Lance's table at its latest version; None before the first transaction."""
        with self.readable_errors():
            try:
                table = lance.dataset(self.uri, storage_options=self.storage.options)
            except ValueError as error:
                # Perhaps files but no version: the first transaction was cut off.
                if "was not found" in str(error):
                    return None
                raise
        stored_fingerprint, own_fingerprint = (
            (field.metadata or {}).get(FINGERPRINT_KEY) for field in (table.schema, self.schema)
        )
        if (
            stored_fingerprint and own_fingerprint and stored_fingerprint != own_fingerprint
        ):  # tables of format 1 have none
            raise UserError(
                f"{self.uri} has vectors of other weights than its description says: {self._remedy}."
            )
        return table

    @contextmanager
    def commit(self) -> Generator[Any]:
        """Lock the storage and give the table, with all columns."""
        with self.storage.writing(), self.readable_errors():
            if self._require is not None:
                self._require()
            table = self.latest
            if table is not None:
                self._widen(table)
            yield table

    @contextmanager
    def readable_errors(self) -> Generator[None]:
        """Turn Lance's errors, many lines with a trace, into one line."""
        try:
            yield
        except (OSError, RuntimeError, ValueError) as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
            if any(sign in str(error) for sign in FULL):
                raise UserError(
                    f"{self.uri}: the disk is full: what was stored before is complete and can be "
                    "searched; free some space and repeat the command."
                ) from error
            raise UserError(
                f"{self.uri} cannot be read or written ({why[:200]}): try again; if it stays so, it is "
                f"damaged: {self._remedy}."
            ) from error

    def delete_old_versions(self, table: Any, kept: timedelta = KEPT_FOR) -> None:
        """Delete rows from disk that were replaced or deleted a while ago; call it under the lock."""
        # In a folder nobody else writes now: files without a version are left by killed processes.
        # In a bucket the lock may have been lost: there such files stay for a week.
        locked = self.storage.local is not None
        table.cleanup_old_versions(older_than=kept, delete_unverified=locked)

    def rows(self, columns: Sequence[str], **options: Any) -> Any:
        """Rows as an Arrow table; options as `scan` takes them."""
        return pa.concat_tables(self.scan(self.latest, columns, **options)).combine_chunks()

    def scan(
        self, table: Any, columns: Sequence[str], needs: str = "", **options: Any
    ) -> Iterator[Any]:
        """Rows in batches, null where the table lacks a column; the first batch is empty.

        Args:
            table: A version of it, or None.
            columns: Of the schema, or `_score`.
            needs: A column in the filter; if the table lacks it, no row passes.
            **options: For Lance's scanner.
        """
        fields = {**{field.name: field for field in self.schema}, SCORE.name: SCORE}
        schema = pa.schema([fields[name] for name in columns])
        yield schema.empty_table()
        if table is None or (needs and needs not in table.schema.names):
            return
        available = {*table.schema.names, SCORE.name}
        derived = {name: self._derived[name] for name in {*columns} & {*self._derived} - available}
        selected: Any = [name for name in columns if name in available]
        if derived:
            selected = {**{name: name for name in selected}, **derived}
        with self.readable_errors():
            for batch in table.to_batches(columns=selected, **options):
                yield _with_schema(schema, pa.Table.from_batches([batch]))

    def take_rows(self, table: Any, columns: Sequence[str], rows: Sequence[int]) -> Iterator[Any]:
        """Some rows in batches, null where the table lacks a column; the first batch is empty.

        Args:
            table: A version of it, or None.
            columns: Of the schema, none of them derived.
            rows: Their positions in the order of `scan`, ascending.
        """
        schema = pa.schema([self.schema.field(name) for name in columns])
        yield schema.empty_table()
        if table is not None and rows:
            with self.readable_errors():
                available = [name for name in columns if name in table.schema.names]
                yield _with_schema(schema, table.take(list(rows), columns=available))

    def _widen(self, table: Any) -> None:
        """Add the columns and the key that an older table lacks."""
        missing = [name for name in self.schema.names if name not in table.schema.names]
        derived = {name: self._derived[name] for name in missing if name in self._derived}
        rest = [self.schema.field(name) for name in missing if name not in derived]
        for name, key in ((field.name, field.metadata) for field in self.schema if field.metadata):
            if table.schema.field(name).metadata != key:  # older than the key
                table.update_field_metadata(
                    {name: {k.decode(): v.decode() for k, v in key.items()}}
                )
        if derived:
            table.add_columns(derived)
        if rest:
            table.add_columns(pa.schema(rest))


def _with_schema(schema: Any, rows: Any) -> Any:
    """Rows with the columns of a schema, null where they have none."""
    for field in schema:
        if field.name not in rows.column_names:
            rows = rows.append_column(field.name, pa.nulls(len(rows), field.type))
    return rows.select(schema.names).cast(schema)


def sql_in(column: str, values: Iterable[str]) -> str:
    """An SQL filter: the column is one of these texts."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"


def require_index(table: Any, column: str, kind: str) -> None:
    """Index a column if it has no index."""
    if all(index.field_names != [column] for index in table.describe_indices()):
        table.create_scalar_index(column, kind)
