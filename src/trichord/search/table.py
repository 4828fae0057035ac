"""The Lance table of moments: one row for each moment; the rows of a file change in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from trichord.search.audio_types import audio_at
from trichord.search.entries import (
    VERSION,
    Entry,
    FileEntries,
    FileVersion,
    KnownFile,
    Vector,
    entries_of,
    known_files,
    require_intact,
    rows_of,
    schema_of,
)
from trichord.search.gallery import NEAR, SPAN, Gallery, Vectors, gather
from trichord.search.roots import Roots, UnknownRootError
from trichord.storage import Storage
from trichord.storage.lance_table import KEPT_FOR, LanceTable, require_index, sql_in
from trichord.types import Moment, UserError

__all__ = [
    "Entry", "FileEntries", "FileVersion", "Gallery", "KnownFile", "MomentTable", "Vector", "Vectors",
]  # fmt: skip

FRAGMENTS = 64
"""Commits after which their small files are joined; a transaction opens each of them."""
FRAGMENT_ROWS = 16_384
"""Files of so many rows are not joined again, so that joining never rewrites the whole table."""
FILES_AT_ONCE = 500
"""Files named in one filter."""
INDEXED_FROM = 50_000
"""Rows from which on the file column has an index."""
COLUMNS = (*SPAN, "vision", "audio", "checksum")
"""Columns that a gallery is made of."""
SEED = 0
"""Seed of samples."""
ORDER = [("file", "ascending"), ("start", "ascending")]
Note = tuple[float, float, str | None, Sequence[str]]
"""Start and end of a moment in seconds, its caption and its tags."""


class MomentTable(LanceTable):
    """A Lance table of moments."""

    def __init__(
        self,
        storage: Storage,
        name: str,
        vision_dim: int,
        audio_dim: int,
        audio_types: tuple[float, ...] = (),
        *,
        fingerprint: str = "",
        require: Callable[[], None] | None = None,
        roots: Callable[[], Roots] = Roots,
    ) -> None:
        """Describe a table, which need not exist yet.

        Args:
            storage: The place of the collection.
            name: Name of the table there.
            vision_dim: Size of a vision vector.
            audio_dim: Size of an audio vector at one audio type token.
            audio_types: The tokens at which each moment has a vector; empty: it has only one.
            fingerprint: Fingerprint of the model that made the vectors.
            require: Called before every change; raises if no change is allowed.
            roots: Reads the roots of the collection: here alone paths become names in rows, and names
                paths.
        """
        self.roots = roots()
        self._read_roots = roots
        self.vision_dim = vision_dim
        self.audio_dim = audio_dim
        self.audio_types = audio_types
        self.audio_width = audio_dim * max(1, len(audio_types))
        super().__init__(
            storage,
            name,
            schema_of(vision_dim, self.audio_width, fingerprint),
            derived={"findable": "vision IS NOT NULL OR audio IS NOT NULL"},
            require=require,
        )

    def put(self, files: Sequence[FileEntries], instead_of: Sequence[str] = ()) -> None:
        """Add files, or replace their rows, in one transaction.

        Readers, and a crash, see either all old rows or all new ones: surplus rows of a file that became
        shorter are deleted in the same transaction.

        Args:
            files: With all their moments.
            instead_of: Files that are deleted in the same transaction: they have moved.
        """
        if not files:
            return
        rows = rows_of([self._named(file) for file in files], self.schema)
        names = self._stored([*(one.version.file for one in files), *instead_of])
        with self.commit() as table:
            if table is None:
                lance.write_dataset(
                    rows, self.uri, mode="create", storage_options=self.storage.options
                )
                return
            # A bucket's lock may be lost during a commit: rows of a concurrent commit are then found
            # by their key and replaced. A folder's lock is never lost.
            known = any(table.count_rows(sql_in("file", part)) for part in _parts(names))
            if self.storage.local is None or known:
                upsert = table.merge_insert("id").when_matched_update_all()
                stale = sql_in("file", names)
                changed = upsert.when_not_matched_insert_all()
                changed.when_not_matched_by_source_delete(stale).execute(rows)
            else:  # the same, without reading every row of the table
                table.insert(rows)
            latest = self.latest
            # Without full files, which would be joined again at every commit.
            sizes = [fragment.metadata.physical_rows for fragment in latest.get_fragments()]
            if sum(size < FRAGMENT_ROWS for size in sizes) >= FRAGMENTS:
                _join(latest)

    def touch(self, versions: Sequence[FileVersion]) -> None:
        """Update the times of files whose content is unchanged."""
        if not versions:
            return
        with self.commit() as table:
            times = {version.file: version.mtime_ns for version in versions}
            self._update(
                table,
                [
                    {"id": row["id"], "mtime_ns": times[row["file"]]}
                    for row in self._spans(sorted(times))
                ],
            )

    def remove(self, files: Sequence[str]) -> None:
        """Delete files; it can be repeated after an interruption."""
        for condition in self._conditions(files):
            with self.commit() as table:
                if table is not None:
                    table.delete(condition)

    def compact(self, kept: timedelta = KEPT_FOR) -> None:
        """Join small files, and delete rows from disk that were replaced or deleted a while ago."""
        with self.commit() as table:
            if table is None:
                return
            _join(table)
            if self.captioned():
                require_index(table, "caption", "INVERTED")
            if table.count_rows() >= INDEXED_FROM:
                require_index(table, "file", "BTREE")
            if table.describe_indices():
                table.optimize.optimize_indices()
            self.delete_old_versions(table, kept)

    def files(self, paths: Sequence[str] | None = None) -> dict[str, KnownFile]:
        """The files of the table by path, in order of path; all, or those at `paths`."""
        columns = [*VERSION, "start", "status", "reason", "findable"]
        if paths is None:
            return known_files(self.rows(columns))
        files: dict[str, KnownFile] = {}
        for part in _parts(paths):
            files |= known_files(self.rows(columns, files=part))
        return dict(sorted(files.items()))

    def read_files(self, files: Sequence[str]) -> list[FileEntries]:
        """All rows of some files, without those that are not in the table.

        Raises:
            UserError: Stored vectors are damaged.
        """
        result: list[FileEntries] = []
        for condition in self._conditions(files):
            rows = super().rows(self.schema.names, filter=condition)
            rows = self._placed(require_intact(rows, self._path))
            result += entries_of(rows.sort_by(ORDER))
        return result

    def gallery(self, token: float | None = None) -> Gallery:
        """All moments that have a vector, in memory, at one audio type token.

        Args:
            token: From verbal (0) to nonverbal (1); None: the first stored one.

        Raises:
            UserError: Stored vectors are damaged.
        """
        table = self.latest
        count = 0 if table is None else table.count_rows()
        return self._gallery_of(self.scan(table, COLUMNS), count, token)

    def sample(self, most: int) -> tuple[Gallery, int]:
        """A sample of these moments, always the same for a version, and that version.

        Only the sample is read into memory: a million moments have gigabytes of vectors.

        Args:
            most: The largest number of moments.
        """
        table = self.latest
        findable = [rows["findable"].to_numpy() for rows in self.scan(table, ["findable"])]
        rows = np.flatnonzero(np.concatenate(findable).astype(bool))
        if len(rows) > most:
            places = np.random.default_rng(SEED).choice(len(rows), most, replace=False)
            rows = rows[np.sort(places)]
        batches = self.take_rows(table, COLUMNS, rows.tolist())
        return self._gallery_of(batches, len(rows)), 0 if table is None else table.version

    def _gallery_of(
        self, batches: Iterable[Any], count: int, token: float | None = None
    ) -> Gallery:
        dims = self.vision_dim, self.audio_width, self.audio_dim
        tokens = self.audio_types

        def to_audio(stored: Vectors) -> Vectors:
            own = tokens[0] if tokens and token is None else token
            return stored if own is None or not tokens else audio_at(stored, tokens, own)

        # The checksum of a row covers the name that is stored.
        rows = (self._placed(require_intact(batch, self._path)) for batch in batches)
        return gather(rows, count, dims, to_audio)

    def annotate(self, file: str, notes: Sequence[Note]) -> None:
        """Replace captions and tags of moments of a file, in one transaction.

        Args:
            file: Its path in the table.
            notes: For some of its moments; caption None and no tags delete both. Several notes of one
                moment are merged: their captions become lines, their tags one list.

        Raises:
            UserError: The file has no such moment.
        """
        with self.commit() as table:
            rows = self._spans([file])
            by_id: dict[str, list[Note]] = defaultdict(list)
            for note in notes:
                by_id[_id_at(rows, file, *note[:2])].append(note)
            self._annotate(table, by_id)

    def annotate_same(self, notes: Mapping[str, Sequence[Note]]) -> None:
        """Annotate moments by exact file, start and end.

        Notes of other files and moments are ignored.

        Args:
            notes: By file, as `notes` of another table returns them.
        """
        files = sorted(notes)
        for i in range(0, len(files), FILES_AT_ONCE):
            with self.commit() as table:
                ids = {
                    (row["file"], row["start"], row["end"]): row["id"]
                    for row in self._spans(files[i : i + FILES_AT_ONCE])
                }
                by_id: dict[str, list[Note]] = defaultdict(list)
                for file in files[i : i + FILES_AT_ONCE]:
                    for note in notes[file]:
                        if (name := ids.get((file, *note[:2]))) is not None:
                            by_id[name].append(note)
                self._annotate(table, by_id)

    def _spans(self, files: Sequence[str]) -> list[dict[str, Any]]:
        if not files:
            return []
        return self.rows(["id", "file", "start", "end"], files=files).to_pylist()

    def _annotate(self, table: Any, by_id: Mapping[str, Sequence[Note]]) -> None:
        """Replace captions and tags of moments by id."""
        if not by_id:
            return
        self._update(table, [{"id": name, **_merge(notes)} for name, notes in by_id.items()])
        require_index(self.latest, "caption", "INVERTED")

    def _update(self, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace some columns of moments by id; the other columns are not read."""
        if rows:
            schema = pa.schema([self.schema.field(name) for name in rows[0]])
            merge = table.merge_insert("id").when_matched_update_all()
            merge.execute(pa.Table.from_pylist([*rows], schema=schema))

    def moments(self, files: Sequence[str]) -> list[Moment]:
        """The moments of some files, in order of file and start."""
        spans = sorted((row["file"], row["start"], row["end"]) for row in self._spans(files))
        return [Moment(file=file, start=start, end=end) for file, start, end in spans]

    def notes(self, files: Sequence[str] | None = None) -> dict[str, list[Note]]:
        """Captions and tags by file: all, or those of some files."""
        columns = ["file", "start", "end", "caption", "tags"]
        condition = "(caption IS NOT NULL OR tags IS NOT NULL)"
        rows = self.rows(columns, files, needs="tags", filter=condition).sort_by(ORDER)
        return {
            file: [(row["start"], row["end"], row["caption"], row["tags"] or ()) for row in group]
            for file, group in groupby(rows.to_pylist(), key=itemgetter("file"))
        }

    def captioned(self) -> int:
        """How many moments have a caption."""
        table = self.latest
        if table is None or "caption" not in table.schema.names:
            return 0
        with self.readable_errors():
            return table.count_rows("caption IS NOT NULL")

    def thumbnail(self, file: str, start: float) -> bytes | None:
        """The thumbnail of a file's moment by its start; None without one."""
        span = f"start >= {start - NEAR!r} AND start <= {start + NEAR!r}"
        condition = f"thumbnail IS NOT NULL AND {span}"
        rows = self.rows(["thumbnail"], [file], needs="thumbnail", filter=condition)
        return next(iter(rows["thumbnail"].to_pylist()), None)

    def index_captions(self) -> None:
        """Update the full-text index of captions.

        The first annotation creates it. Later captions are found without an update too, but slower;
        without an index, words match case-sensitively.
        """
        if not self.captioned():
            return
        with self.commit() as table:
            require_index(table, "caption", "INVERTED")
            table.optimize.optimize_indices()

    def match_captions(self, text: str, k: int) -> list[tuple[str, float, float]]:
        """Moments whose captions contain words of a text.

        Returns:
            File, start in seconds and BM25 score of at most `k` moments, best first; ties by file
            and time.
        """
        if not self.captioned():
            return []
        from lance.query import MatchQuery

        rows = self.rows(
            ["file", "start", "_score"],
            full_text_query=MatchQuery(text, "caption"),
            limit=k,
            disable_scoring_autoprojection=True,
        )
        hits = [(row["file"], row["start"], row["_score"]) for row in rows.to_pylist()]
        return sorted(hits, key=lambda hit: (-hit[2], *hit[:2]))

    def rows(
        self, columns: Sequence[str], files: Sequence[str] | None = None, **options: Any
    ) -> Any:
        """Rows as an Arrow table, with the paths of their files.

        Args:
            columns: As for `scan`.
            files: Only rows of these; None: of all.
            **options: As for `scan`.
        """
        if files is not None:
            conditions = [sql_in("file", self._stored(files))]
            options["filter"] = " AND ".join([*conditions, *filter(None, [options.get("filter")])])
        rows = super().rows(columns, **options)
        return self._placed(rows) if "file" in columns else rows

    def _named(self, file: FileEntries) -> FileEntries:
        """A file under its name in rows."""
        version = replace(file.version, file=self.roots.stored(file.version.file))
        return FileEntries(version=version, entries=file.entries)

    def _stored(self, files: Iterable[str]) -> list[str]:
        """The names of files in rows."""
        return [self.roots.stored(file) for file in files]

    def _conditions(self, files: Iterable[str]) -> Iterator[str]:
        """Filters that together match the rows of some files."""
        return (sql_in("file", part) for part in _parts(self._stored(files)))

    def _placed(self, rows: Any) -> Any:
        """Rows with the paths of their files."""
        column = rows["file"].combine_chunks().dictionary_encode()
        stored: list[str] = column.dictionary.to_pylist()
        try:
            paths = [self.roots.absolute(name) for name in stored]
        except UnknownRootError:  # its root was written before its rows
            self.roots = self._read_roots()
            paths = [self._path(name) for name in stored]
        if paths == stored:
            return rows
        files = pa.array(paths, pa.string()).take(column.indices)
        place = rows.schema.get_field_index("file")
        return rows.set_column(place, rows.schema.field(place), files)

    def _path(self, name: str) -> str:
        try:
            return self.roots.absolute(name)
        except UnknownRootError:  # collection.json is of an older copy: a file that is missing
            return name


def _join(table: Any) -> None:
    table.optimize.compact_files(
        target_rows_per_fragment=FRAGMENT_ROWS, materialize_deletions_threshold=0.0
    )


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for i in range(0, len(names), FILES_AT_ONCE):
        yield names[i : i + FILES_AT_ONCE]


def _id_at(rows: list[dict[str, Any]], file: str, start: float, end: float) -> str:
    for row in rows:
        if max(abs(row["start"] - start), abs(row["end"] - end)) <= NEAR:
            return row["id"]
    raise UserError(
        f"{file} has no moment from {start:g} s to {end:g} s in this archive: index it, or give "
        "the times of one of its moments."
    )


def _merge(notes: Sequence[Note]) -> dict[str, str | list[str] | None]:
    """The caption and tags of several notes of one moment, without duplicates."""
    captions = dict.fromkeys(caption for _, _, caption, _ in notes if caption is not None)
    tags = dict.fromkeys(tag for note in notes for tag in note[3])
    return {"caption": "\n".join(captions) if captions else None, "tags": list(tags) or None}
