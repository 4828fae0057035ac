"""The Lance table of moments: a row a moment, all rows of a file replaced in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    require_as_stored,
    rows_of,
    schema_of,
)
from trichord.search.gallery import NEAR, SPAN, Gallery, Vectors, gather
from trichord.storage import Storage
from trichord.storage.lance_table import LanceTable, among, require_index
from trichord.types import Moment, UserError

__all__ = [
    "Entry", "FileEntries", "FileVersion", "Gallery", "KnownFile", "MomentTable", "Vector", "Vectors",
]  # fmt: skip

FRAGMENTS = 64
"""Commits after which their small files are joined; a transaction opens each of them."""
FRAGMENT_ROWS = 16_384
"""A file of that many rows is joined no further, so that joining never rewrites the whole table."""
FILES_AT_ONCE = 500
"""Files named in one filter."""
INDEXED_FROM = 50_000
"""Rows from which on looking up a file's rows goes by an index."""
KEPT = timedelta(minutes=10)
"""Replaced rows stay on the disk at least so long: for who began to read them before."""
COLUMNS = (*SPAN, "vision", "audio", "checksum")
"""What a gallery is made of."""
SEED = 0
"""Of samples."""
ORDER = [("file", "ascending"), ("start", "ascending")]
Note = tuple[float, float, str | None, Sequence[str]]
"""Start and end of a moment in seconds, what is said about it, and its tags."""


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
    ) -> None:
        """Name a table, which need not be there yet.

        Args:
            storage: Where it lies.
            name: Its name there.
            vision_dim: Size of a sight vector.
            audio_dim: Size of a sound vector at one audio type token.
            audio_types: At which each moment has one; empty: it has one in all.
            fingerprint: Of the model whose vectors it holds.
            require: Called before every change; raises where there may be none.
        """
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

    def put(self, files: Sequence[FileEntries]) -> None:
        """Add files, or replace all that is known of them, in one transaction.

        A reader, or a crash, sees all of these files as they were or all of them as they are now:
        rows of a file that became shorter go in the transaction that brings its new ones.
        """
        if not files:
            return
        rows, names = rows_of(files, self.schema), [one.version.file for one in files]
        with self.changing() as table:
            if table is None:
                lance.write_dataset(
                    rows, self.uri, mode="create", storage_options=self.storage.options
                )
                return
            # A bucket's lock may be lost while a commit is under way: there rows that another commit
            # brings at that moment are found by their key and replaced. A folder's never is.
            if self.storage.local is None or _holds(table, names):
                upsert = table.merge_insert("id").when_matched_update_all()
                stale = among("file", names)
                replace = upsert.when_not_matched_insert_all()
                replace.when_not_matched_by_source_delete(stale).execute(rows)
            else:  # the same, without a look at every row of the table
                table.insert(rows)
            now = self.now
            # Full files count not: they would be joined again at every commit.
            sizes = [one.metadata.physical_rows for one in now.get_fragments()]
            if sum(size < FRAGMENT_ROWS for size in sizes) >= FRAGMENTS:
                _join(now)

    def touch(self, versions: Sequence[FileVersion]) -> None:
        """Say when files were changed whose bytes are those that they had; nothing else is written."""
        if not versions:
            return
        with self.changing() as table:
            times = {version.file: version.mtime_ns for version in versions}
            self._amend(
                table,
                [
                    {"id": one["id"], "mtime_ns": times[one["file"]]}
                    for one in self._spans(sorted(times))
                ],
            )

    def remove(self, files: Sequence[str]) -> None:
        """Delete files; repeated after an interruption it has the same result."""
        for i in range(0, len(files), FILES_AT_ONCE):
            with self.changing() as table:
                if table is not None:
                    table.delete(among("file", files[i : i + FILES_AT_ONCE]))

    def compact(self, kept: timedelta = KEPT) -> None:
        """Join small files and drop rows that were replaced or deleted a while ago from the disk."""
        with self.changing() as table:
            if table is None:
                return
            _join(table)
            if self.captioned():
                require_index(table, "caption", "INVERTED")
            if table.count_rows() >= INDEXED_FROM:
                require_index(table, "file", "BTREE")
            if table.describe_indices():
                table.optimize.optimize_indices()
            # Nobody else writes a folder meanwhile, so what no version names is left from a kill.
            # The holder of a bucket may have been taken for dead: there such files stay a week.
            alone = self.storage.local is not None
            table.cleanup_old_versions(older_than=kept, delete_unverified=alone)

    def files(self, named: Sequence[str] | None = None) -> dict[str, KnownFile]:
        """Every file of the table by its path, in order of path, or those of some paths."""
        columns = [*VERSION, "start", "status", "reason", "findable"]
        if named is None:
            return known_files(self.rows(columns))
        found: dict[str, KnownFile] = {}
        for i in range(0, len(named), FILES_AT_ONCE):
            chosen = among("file", named[i : i + FILES_AT_ONCE])
            found |= known_files(self.rows(columns, filter=chosen))
        return dict(sorted(found.items()))

    def read(self, files: Sequence[str]) -> list[FileEntries]:
        """All that is known of some files, those that are unknown left out.

        Raises:
            UserError: Vectors are not as they were stored.
        """
        found: list[FileEntries] = []
        for i in range(0, len(files), FILES_AT_ONCE):
            rows = self.rows(self.schema.names, filter=among("file", files[i : i + FILES_AT_ONCE]))
            found += entries_of(require_as_stored(rows.sort_by(ORDER)))
        return found

    def gallery(self, token: float | None = None) -> Gallery:
        """All moments that have a vector, in memory, heard at one audio type token.

        Args:
            token: From verbal (0) to nonverbal (1); None: the first that is stored.

        Raises:
            UserError: Vectors are not as they were stored.
        """
        table = self.now
        count = 0 if table is None else table.count_rows()
        return self._gathered(self.scan(table, COLUMNS), count, token)

    def sample(self, most: int) -> tuple[Gallery, int]:
        """Some of these moments, of one version always the same ones, and which version that is.

        Nothing else is brought into memory: a million moments have gigabytes of vectors.

        Args:
            most: Moments.
        """
        table = self.now
        marks = [rows["findable"].to_numpy() for rows in self.scan(table, ["findable"])]
        rows = np.flatnonzero(np.concatenate(marks).astype(bool))
        if len(rows) > most:
            chosen = np.random.default_rng(SEED).choice(len(rows), most, replace=False)
            rows = rows[np.sort(chosen)]
        portions = self.taken(table, COLUMNS, rows.tolist())
        return self._gathered(portions, len(rows)), 0 if table is None else table.version

    def _gathered(self, portions: Iterable[Any], count: int, token: float | None = None) -> Gallery:
        dims = self.vision_dim, self.audio_width, self.audio_dim
        as_stored = map(require_as_stored, portions)
        return gather(as_stored, count, dims, lambda stored: self._heard(stored, token))

    def _heard(self, stored: Vectors, token: float | None) -> Vectors:
        tokens = self.audio_types
        if not tokens:
            return stored
        return audio_at(stored, tokens, tokens[0] if token is None else token)

    def annotate(self, file: str, notes: Sequence[Note]) -> None:
        """Say what moments of a file show: replaces their captions and tags, in one transaction.

        Args:
            file: Its path in the table.
            notes: For some of its moments; caption None and no tags: take away what was said. Of
                one moment there may be several: their captions become lines, their tags one list.

        Raises:
            UserError: The file has no such moment.
        """
        with self.changing() as table:
            there = self._spans([file])
            said: dict[str, list[Note]] = defaultdict(list)
            for note in notes:
                said[_id_at(there, file, *note[:2])].append(note)
            self._say(table, said)

    def annotate_same(self, notes: Mapping[str, Sequence[Note]]) -> None:
        """Say of moments what is said elsewhere of moments of the same file, start and end.

        Notes of other files and other moments are passed over.

        Args:
            notes: As `notes` of another table gives them.
        """
        files = sorted(notes)
        for i in range(0, len(files), FILES_AT_ONCE):
            with self.changing() as table:
                there = {
                    (one["file"], one["start"], one["end"]): one["id"]
                    for one in self._spans(files[i : i + FILES_AT_ONCE])
                }
                said: dict[str, list[Note]] = defaultdict(list)
                for file in files[i : i + FILES_AT_ONCE]:
                    for note in notes[file]:
                        if (name := there.get((file, *note[:2]))) is not None:
                            said[name].append(note)
                self._say(table, said)

    def _spans(self, files: Sequence[str]) -> list[dict[str, Any]]:
        if not files:
            return []
        rows = self.rows(["id", "file", "start", "end"], filter=among("file", files))
        return rows.to_pylist()

    def _say(self, table: Any, said: Mapping[str, Sequence[Note]]) -> None:
        """Replace captions and tags of moments by their ids."""
        if not said:
            return
        self._amend(table, [{"id": name, **_together(notes)} for name, notes in said.items()])
        require_index(self.now, "caption", "INVERTED")

    def _amend(self, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace some columns of moments, which stand by their ids; the other columns are not read."""
        if rows:
            schema = pa.schema([self.schema.field(name) for name in rows[0]])
            update = table.merge_insert("id").when_matched_update_all()
            update.execute(pa.Table.from_pylist([*rows], schema=schema))

    def moments(self, files: Sequence[str]) -> list[Moment]:
        """The moments of some files, in order of file and start."""
        spans = sorted((one["file"], one["start"], one["end"]) for one in self._spans(files))
        return [Moment(file=file, start=start, end=end) for file, start, end in spans]

    def notes(self, files: Sequence[str] | None = None) -> dict[str, list[Note]]:
        """All captions and tags, by file, or those of some files."""
        there = ["file", "start", "end", "caption", "tags"]
        said = "(caption IS NOT NULL OR tags IS NOT NULL)"
        chosen = said if files is None else f"{said} AND {among('file', files)}"
        rows = self.rows(there, needs="tags", filter=chosen).sort_by(ORDER)
        return {
            file: [(one["start"], one["end"], one["caption"], one["tags"] or ()) for one in same]
            for file, same in groupby(rows.to_pylist(), key=itemgetter("file"))
        }

    def captioned(self) -> int:
        """How many moments have a caption."""
        table = self.now
        if table is None or "caption" not in table.schema.names:
            return 0
        with self.plainly():
            return table.count_rows("caption IS NOT NULL")

    def captions(self, moments: Sequence[Moment]) -> list[str | None]:
        """What is said about each of some moments."""
        files = sorted({moment.file for moment in moments})
        said: dict[tuple[str, float], str] = {}
        for i in range(0, len(files), FILES_AT_ONCE):
            chosen = f"caption IS NOT NULL AND {among('file', files[i : i + FILES_AT_ONCE])}"
            rows = self.rows(
                ["file", "start", "caption"], needs="caption", filter=chosen
            ).to_pylist()
            said |= {(row["file"], row["start"]): row["caption"] for row in rows}
        return [said.get((moment.file, moment.start)) for moment in moments]

    def thumbnail(self, file: str, start: float) -> bytes | None:
        """The picture (JPEG) of the moment of a file that starts there; None where it has none."""
        span = f"start >= {start - NEAR!r} AND start <= {start + NEAR!r}"
        chosen = f"thumbnail IS NOT NULL AND {span} AND {among('file', [file])}"
        rows = self.rows(["thumbnail"], needs="thumbnail", filter=chosen)
        found = rows["thumbnail"].to_pylist()
        return found[0] if found else None

    def index_captions(self) -> None:
        """Bring the full-text index up to date.

        The first annotation makes it. What came later is found too, but slower; where there is none
        at all, words are found as they are written, large and small letters apart.
        """
        if not self.captioned():
            return
        with self.changing() as table:
            require_index(table, "caption", "INVERTED")
            table.optimize.optimize_indices()

    def match_captions(self, text: str, k: int) -> list[tuple[str, float, float]]:
        """Moments whose captions hold words of a text.

        Returns:
            File, start in seconds and BM25 score of at most `k` moments, best first; ties by file
            and time.
        """
        if not self.captioned():
            return []
        from lance.query import MatchQuery

        found = self.rows(
            ["file", "start", "_score"],
            full_text_query=MatchQuery(text, "caption"),
            limit=k,
            disable_scoring_autoprojection=True,
        ).to_pylist()
        hits = [(row["file"], row["start"], row["_score"]) for row in found]
        return sorted(hits, key=lambda hit: (-hit[2], *hit[:2]))


def _join(table: Any) -> None:
    table.optimize.compact_files(
        target_rows_per_fragment=FRAGMENT_ROWS, materialize_deletions_threshold=0.0
    )


def _holds(table: Any, files: Sequence[str]) -> bool:
    """Whether any of these files is known."""
    return any(
        table.count_rows(among("file", files[i : i + FILES_AT_ONCE]))
        for i in range(0, len(files), FILES_AT_ONCE)
    )


def _id_at(rows: list[dict[str, Any]], file: str, start: float, end: float) -> str:
    for row in rows:
        if max(abs(row["start"] - start), abs(row["end"] - end)) <= NEAR:
            return row["id"]
    raise UserError(
        f"{file} has no moment from {start:g} s to {end:g} s in this collection: index it, or give "
        "the times of one of its moments."
    )


def _together(notes: Sequence[Note]) -> dict[str, str | list[str] | None]:
    """What several notes say of one moment, each thing once."""
    captions = dict.fromkeys(caption for _, _, caption, _ in notes if caption is not None)
    tags = dict.fromkeys(tag for note in notes for tag in note[3])
    return {"caption": "\n".join(captions) if captions else None, "tags": list(tags) or None}
