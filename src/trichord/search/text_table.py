"""The Lance table of words with times: what is said and shown in files, a row for each line.

Rows belong to the content of a file, by its signature, and not to its path: a file that is moved, renamed
or copied keeps its words, and a library that is embedded again keeps them too.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, get_args

import lance
import numpy as np
import pyarrow as pa

from trichord.search.terms import code_of, placed_words, stems_of
from trichord.speech.transcript import SpokenSegment, Word
from trichord.storage import Storage
from trichord.storage.lance_table import KEPT_FOR, KEY, LanceTable, sql_in
from trichord.types import TextKind
from trichord.types.arrays import Float

Vectors = Float[np.ndarray, "line dim"]

NAME = "texts.lance"
KINDS: tuple[TextKind, ...] = get_args(TextKind)
CONTEXT = 12
"""Words of the lines before and after a line that are indexed with it: a phrase may go on in the next."""
ADJOINING = 3.0
"""Seconds between lines up to which they belong together."""
FRAGMENTS = 64
"""Commits after which their small files are joined."""
NAMED_AT_ONCE = 500
"""Signatures in one filter."""
MARKER = -1
"""Number of the row that says that a file was read, and how; its text is null."""
WORD = pa.struct(
    [
        pa.field("text", pa.string()),
        pa.field("start", pa.float32()),
        pa.field("end", pa.float32()),
        pa.field("confidence", pa.float32()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False, metadata=KEY),
        pa.field("signature", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("number", pa.int32(), nullable=False),
        pa.field("start", pa.float64()),
        pa.field("end", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("words", pa.list_(WORD)),
        pa.field("confidence", pa.float32()),
        pa.field("language", pa.string()),
        pa.field("speaker", pa.string()),
        # The stems of the line and of the words around it; the same words as they are; the second at which
        # each begins; and which of them are the line's own: from `own` on, `owned` of them.
        pa.field("terms", pa.string()),
        pa.field("plain", pa.string()),
        pa.field("times", pa.list_(pa.float32())),
        pa.field("own", pa.int32()),
        pa.field("owned", pa.int32()),
        # A vector of the line, and the fingerprint of the model that made it; null until that is asked for.
        pa.field("meaning", pa.list_(pa.float16())),
        pa.field("encoder", pa.string()),
        # Of the marker alone; `lines` is how many there are.
        pa.field("lines", pa.int32()),
        pa.field("status", pa.string()),
        pa.field("engine", pa.string()),
        pa.field("source", pa.string()),
        pa.field("made", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTexts:
    """What is said, or shown, in a file.

    Attributes:
        signature: Of the content of the file.
        kind: Whether it is said or shown.
        lines: In order of start.
        status: What became of the file, such as 'recognised'.
        engine: What read or recognised them.
        source: Such as 'subtitles'.
        language: Of most lines.
        made: What they depend on; if it is another one, they are to be made again.
    """

    signature: str
    kind: TextKind
    lines: tuple[SpokenSegment, ...]
    status: str
    engine: str = ""
    source: str = ""
    language: str = ""
    made: str = ""


class TextTable(LanceTable):
    """A Lance table of words with times."""

    def __init__(self, storage: Storage) -> None:
        remedy = f"delete {NAME}, and run trichord index --transcribe or --ocr again"
        super().__init__(storage, NAME, SCHEMA, remedy=remedy)

    @property
    def there(self) -> bool:
        """Whether anything was stored."""
        return NAME in self.storage.names()

    def put(self, several: Sequence[FileTexts]) -> None:
        """Replace what is said, or shown, in files, in one transaction."""
        if not several:
            return
        rows = pa.concat_tables([_rows(texts) for texts in several])
        stale = " OR ".join(
            f"(kind = '{kind}' AND {sql_in('signature', signatures)})"
            for kind in KINDS
            if (signatures := [one.signature for one in several if one.kind == kind])
        )
        with self.commit() as table:
            if table is None:
                options = self.storage.options
                table = lance.write_dataset(rows, self.uri, mode="create", storage_options=options)
                _index(table)
                return
            upsert = table.merge_insert("id").when_matched_update_all()
            changed = upsert.when_not_matched_insert_all()
            changed.when_not_matched_by_source_delete(stale).execute(rows)
            if len(self.latest.get_fragments()) >= FRAGMENTS:
                self.latest.optimize.compact_files()

    def compact(self, kept: timedelta = KEPT_FOR) -> None:
        """Join small files, index what is new, and delete from disk what was replaced a while ago."""
        with self.commit() as table:
            if table is not None:
                table.optimize.compact_files(materialize_deletions_threshold=0.0)
                table.optimize.optimize_indices()
                self.delete_old_versions(table, kept)

    def without_meaning(self, encoder: str) -> list[tuple[str, str]]:
        """Id and text of the lines without a vector of a model, by its fingerprint."""
        if not self.there:
            return []
        others = f"(encoder IS NULL OR NOT {sql_in('encoder', [encoder])})"
        rows = self.rows(["id", "text"], filter=f"number > {MARKER} AND {others}")
        return [(row["id"], row["text"]) for row in rows.to_pylist()]

    def put_meaning(self, ids: Sequence[str], vectors: Vectors, encoder: str) -> None:
        """Store the vectors of lines, in half precision: they choose lines, and are never shown."""
        fields = [self.schema.field(name) for name in ("id", "meaning", "encoder")]
        meanings = [*vectors.astype(np.float16)]
        columns = [
            pa.array(ids),
            pa.array(meanings, fields[1].type),
            pa.array([encoder] * len(ids)),
        ]
        rows = pa.Table.from_arrays(columns, schema=pa.schema(fields))
        with self.commit() as table:
            table.merge_insert("id").when_matched_update_all().execute(rows)

    def meanings(self, kind: TextKind, encoder: str) -> tuple[list[dict[str, Any]], Vectors]:
        """The lines of a kind that have a vector of a model, and the vectors.

        A line has `signature`, `start`, `end` and `text`.
        """
        own = f"number > {MARKER} AND kind = '{kind}' AND {sql_in('encoder', [encoder])}"
        rows = self.rows(["signature", "start", "end", "text", "meaning"], filter=own)
        meanings = rows["meaning"].combine_chunks()
        flat = meanings.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        vectors = flat.reshape(len(rows), -1) if len(rows) else np.zeros((0, 1), np.float32)
        return rows.drop_columns(["meaning"]).to_pylist(), vectors

    def keep(self, signatures: Iterable[str]) -> None:
        """Delete the words of all other files."""
        if not self.there:
            return
        kept = set(signatures)
        gone = [one["signature"] for one in self.markers() if one["signature"] not in kept]
        for i in range(0, len(gone), NAMED_AT_ONCE):
            with self.commit() as table:
                table.delete(sql_in("signature", gone[i : i + NAMED_AT_ONCE]))
        if gone:
            self.compact()

    def markers(self) -> list[dict[str, Any]]:
        """How each file was read: the columns of markers, and `signature`, `kind` and `language`."""
        columns = ["signature", "kind", "language", "lines", "status", "engine", "source", "made"]
        if not self.there:
            return []
        return self.rows(columns, filter=f"number = {MARKER}").to_pylist()

    def lines(self, signature: str, kind: TextKind) -> tuple[SpokenSegment, ...]:
        """What is said, or shown, in a file, in order of start."""
        if not self.there:
            return ()
        columns = ["number", "start", "end", "text", "words", "language", "speaker"]
        own = f"{sql_in('signature', [signature])} AND kind = '{kind}' AND number > {MARKER}"
        rows = self.rows(columns, filter=own).sort_by("number").to_pylist()
        return tuple(_line(row) for row in rows)


def _index(table: Any) -> None:
    # The terms are ready: lower case, stemmed, in scripts without spaces one letter each.
    plain = dict.fromkeys(("lower_case", "stem", "remove_stop_words", "ascii_folding"), False)
    table.create_scalar_index(
        "terms",
        "INVERTED",
        with_position=True,
        base_tokenizer="whitespace",
        max_token_length=None,
        **plain,
    )


def _rows(texts: FileTexts) -> Any:
    marker: dict[str, Any] = {
        "id": f"{texts.kind}:{MARKER}@{texts.signature}",
        "number": MARKER,
        "lines": len(texts.lines),
        "status": texts.status,
        "engine": texts.engine,
        "source": texts.source,
        "made": texts.made,
        "language": code_of(texts.language),
    }
    records = [marker]
    lines = [
        replace(line, language=code_of(line.language or texts.language)) for line in texts.lines
    ]
    for number, (line, indexed) in enumerate(zip(lines, _indexed(lines), strict=True)):
        records.append(
            {
                "id": f"{texts.kind}:{number}@{texts.signature}",
                "number": number,
                "start": line.start,
                "end": line.end,
                "text": line.text,
                "words": [_word(word) for word in line.words] or None,
                "confidence": _confidence(line.words),
                "language": line.language,
                "speaker": line.speaker or None,
                **indexed,
            }
        )
    common = {"signature": texts.signature, "kind": texts.kind}
    return pa.Table.from_pylist([record | common for record in records], schema=SCHEMA)


Timed = tuple[str, str, float]
"""The stem of a word, the word, and the second at which it begins."""


def _indexed(lines: Sequence[SpokenSegment]) -> Iterator[dict[str, Any]]:
    """What is indexed of each line: its words, and some of those before and after it."""
    timed = [_timed(line) for line in lines]
    for i in range(len(lines)):
        before = _context(lines, timed, i, -1)[::-1]
        after = _context(lines, timed, i, 1)
        words = [*before, *timed[i], *after]
        yield {
            "terms": " ".join(stem for stem, _, _ in words),
            "plain": " ".join(word for _, word, _ in words),
            "times": [time for _, _, time in words],
            "own": len(before),
            "owned": len(timed[i]),
        }


def _context(
    lines: Sequence[SpokenSegment], timed: Sequence[Sequence[Timed]], at: int, step: int
) -> list[Timed]:
    """Words next to a line, the nearest first, as far as lines adjoin."""
    words: list[Timed] = []
    other = at + step
    while 0 <= other < len(lines) and len(words) < CONTEXT:
        first, second = sorted((other, other - step))
        if lines[second].start - lines[first].end > ADJOINING:
            break
        words += timed[other][::step]
        other += step
    return words[:CONTEXT]


def _timed(line: SpokenSegment) -> list[Timed]:
    """The words of a line with times: those of its words, or spread over it by their letters."""
    placed = placed_words(line.text)
    length = (line.end - line.start) / max(1, len(line.text))
    times = [line.start + first * length for _, first, _ in placed]
    known = [word.start for word in line.words for _ in placed_words(word.text)]
    if len(known) == len(times):
        times = known
    words = [word for word, _, _ in placed]
    return list(zip(stems_of(words, line.language), words, times, strict=True))


def _word(word: Word) -> dict[str, Any]:
    return {
        "text": word.text,
        "start": word.start,
        "end": word.end,
        "confidence": word.confidence,
    }


def _confidence(words: Sequence[Word]) -> float | None:
    """The mean over the words; None if the engine gives none."""
    known = [word.confidence for word in words if word.confidence is not None]
    return sum(known) / len(known) if known else None


def _line(row: dict[str, Any]) -> SpokenSegment:
    words = tuple(Word(**word) for word in row["words"] or ())
    return SpokenSegment(
        start=row["start"],
        end=row["end"],
        text=row["text"],
        words=words,
        language=row["language"] or "",
        speaker=row["speaker"] or "",
    )
