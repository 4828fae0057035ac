"""Tables of annotations as rows: CSV, TSV, JSON, Parquet, Arrow; errors name the line."""

import codecs
import csv
import json
import re
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, cast

from trichord.corpora.entries import entries
from trichord.corpora.prepared import Tally
from trichord.types import Split, UserError, first_line

ARROW_SUFFIXES = (".parquet", ".arrow")
JSON_LINES = (".jsonl", ".ndjson")
TABLE_SUFFIXES = (".csv", ".tsv", *JSON_LINES, *ARROW_SUFFIXES)
"""Of files that are tables whatever their name is."""
READABLE_SUFFIXES = (*TABLE_SUFFIXES, ".json", ".txt")
"""Of files that can be tables: Excel writes UTF-16 tables to `.txt`."""
_SHOWN = 20  # names of columns in an error: some tables have hundreds
BROKEN = "broken rows left out"
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}
"""Splits by the names that tables have for them, in lower case."""
# UTF-32 comes before UTF-16, whose mark is the beginning of its own.
_ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_QUOTED = re.compile(r'"((?:[^"]|"")*)"')

Row = dict[str, Any]
_Rows = Iterator[tuple[int, Row | str]]
"""Numbered rows; a text in place of a row says what is wrong with it."""


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1.

    Raises:
        UserError: the file cannot be read, or a line is not UTF-8.
    """
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        if line.strip():
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{path}:{number}: not UTF-8; save the file as UTF-8") from error


def rows(
    path: Path, markers: tuple[str, ...], tally: Tally | None = None, remedy: str = ""
) -> Iterator[tuple[int, Row]]:
    """Rows of a table with the line of each (its number in JSON, Parquet and Arrow).

    Column names are in lower case, with `_` for blanks and hyphens.

    Args:
        path: The table; its suffix names the format.
        markers: Column names of which one must exist. They also determine the delimiter of a CSV: comma,
            semicolon, tab or bar.
        tally: Counts broken rows and rows without a value for any marker, which are left out. Without
            it they are refused.
        remedy: Added to the error if there is no such column.

    Raises:
        UserError: the file cannot be read, is empty, has no such column, or a row does not fit.
    """
    text = path.suffix.lower() in (".csv", ".tsv", ".txt")
    # Readers of published tables name what a CSV row of theirs lacks.
    wanted = () if text and tally is None else markers
    seen: dict[str, None] = {}
    good = False
    for number, row in _read(path, markers, tally, remedy):
        seen |= dict.fromkeys(row if isinstance(row, dict) else ())
        if not (problem := _problem(row, wanted, seen)):
            good = True
            yield number, cast("Row", row)
        elif tally is None:
            raise UserError(f"{path}:{number}: {problem}")
        else:
            tally.add(BROKEN, f"{path.name}:{number} ({problem})")
    if not good and seen and not any(marker in seen for marker in markers):
        raise UserError(f"{path}: {_no_column(markers, list(seen), remedy)}")
    if not good:
        broken = tally.examples.get(BROKEN, [""])[0] if tally else ""
        raise UserError(f"{path}: holds no rows" + f" but broken ones, {broken}" * bool(broken))


def _read(path: Path, markers: tuple[str, ...], tally: Tally | None, remedy: str) -> _Rows:
    suffix = path.suffix.lower()
    if suffix not in READABLE_SUFFIXES:
        raise UserError(f"{path}: must be one of {', '.join(READABLE_SUFFIXES)}")
    if suffix in (".csv", ".tsv", ".txt"):
        yield from _csv_rows(path, markers, tally, remedy)
        return
    if suffix in ARROW_SUFFIXES:
        objects = _arrow_rows(path)
    else:
        objects = (_json_rows if suffix == ".json" else _json_lines)(path, tally)
    for number, row in objects:
        if not isinstance(row, str):
            row = {column_name(key): value for key, value in row.items()}
        yield number, row


def _problem(row: Row | str, wanted: tuple[str, ...], seen: Collection[str]) -> str:
    """What is wrong with a row; empty if nothing is."""
    if isinstance(row, str):
        return row
    lacking = wanted and not any(filled(row.get(marker)) for marker in wanted)
    return f"names no {' or '.join(m for m in wanted if m in seen) or wanted[0]}" if lacking else ""


def column_name(name: object) -> str:
    """A column's name in lower case, with `_` for blanks and hyphens."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def filled(value: Any) -> bool:
    """Whether a cell has a value; pandas writes NaN where it has none."""
    return value is not None and value == value and bool(str(value).strip())


def unnamed_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    """Rows of a CSV file without a header; a header is skipped if there is one.

    So are comments, which start with `#`. Spaces around values are dropped.

    Raises:
        UserError: the file cannot be read, or a line has other than one value for each column.
    """
    for number, line in numbered_lines(path):
        if line.lstrip().startswith("#"):
            continue
        try:
            read = next(csv.reader([line.strip()], skipinitialspace=True, strict=True))
        except csv.Error as error:
            raise UserError(f"{path}:{number}: not CSV: {error}") from error
        values = [value.strip() for value in read]
        if not values or values[0].lower() == columns[0].lower():
            continue
        if len(values) != len(columns) or not all(values):
            raise UserError(f"{path}:{number}: needs {', '.join(columns)}")
        yield number, dict(zip(columns, values, strict=True))


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UserError: the file cannot be read or is not a JSON object.
    """
    return dict(entries(path, lists=False))


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        UserError: it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error


def _json_lines(path: Path, tally: Tally | None) -> _Rows:
    for number, line in enumerate(_text_lines(path, tally), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
        else:
            yield number, value if isinstance(value, dict) else "must be a JSON object, one a line"


def _json_rows(path: Path, tally: Tally | None) -> _Rows:
    try:
        value = json.loads("\n".join(_text_lines(path, tally)))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict | list):
        raise UserError(f"{path}: must hold a JSON object or list")
    objects: Any = _of_object(cast("Row", value)) if isinstance(value, dict) else value
    for number, one in enumerate(objects, start=1):
        yield number, one if isinstance(one, dict | str) else "must be a JSON object"


def _of_object(value: Row) -> Iterator[Row | str]:
    """Rows of COCO's form, of lists by split, of one list, or of values by file."""
    lists = {
        key: cast("list[Row]", one)
        for key, one in value.items()
        if isinstance(one, list) and all(isinstance(row, dict) for row in cast("list[Any]", one))
    }
    media = next((key for key in ("images", "videos", "audios") if key in lists), "")
    texts = next((key for key in ("annotations", "sentences") if key in lists), "")
    if media and texts:
        yield from _coco(
            lists[media], lists[texts], media[:-1] + "_id", lists.get("categories", [])
        )
    elif lists and all(key.lower() in SPLIT_NAMES for key in value):
        yield from ({"split": key} | row for key, some in lists.items() for row in some)
    elif len(lists) == 1:  # beside it there may be a version, a licence, an author
        yield from next(iter(lists.values()))
    else:
        for key, one in value.items():
            yield {"file": key} | (cast("Row", one) if isinstance(one, dict) else {"caption": one})


def _coco(
    media: list[Row], texts: list[Row], key: str, categories: list[Row]
) -> Iterator[Row | str]:
    known = {str(one.get("id", one.get(key))): one for one in media}
    names = {str(one.get("id")): {"category": one.get("name")} for one in categories}
    for text in texts:
        medium = known.get(str(text.get(key)))
        if medium is None:
            yield f"no medium has the {key} {text.get(key)}"
        else:
            yield medium | text | names.get(str(text.get("category_id")), {})


def _arrow_rows(path: Path) -> _Rows:
    import pyarrow as pa

    number = 0
    try:
        for batch in _batches(path):
            classes = _class_names(batch.schema)
            for row in cast("list[Row]", batch.to_pylist()):
                number += 1
                for key, names in classes.items():
                    if row[key] in range(len(names)):
                        row[key] = names[row[key]]
                yield number, row
    # What a damaged file says of itself may have any form.
    except (pa.ArrowException, OSError, ValueError, LookupError, AttributeError) as error:
        raise UserError(f"{path}: cannot be read: {first_line(error)}") from error


def _batches(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import ipc, parquet

    if path.suffix.lower() == ".parquet":
        yield from cast("Any", parquet).ParquetFile(path).iter_batches()
        return
    with pa.memory_map(str(path)) as file:
        try:  # `datasets` writes streams, others write files
            yield from ipc.open_stream(file)
        except pa.ArrowInvalid:
            file.seek(0)
            opened = ipc.open_file(file)
            yield from (opened.get_batch(i) for i in range(opened.num_record_batches))


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Names of the classes that the columns of a table of `datasets` number."""
    stored = (schema.metadata or {}).get(b"huggingface", b"{}")
    features = json.loads(stored).get("info", {}).get("features", {})
    return {
        key: one["names"]
        for key, one in features.items()
        if isinstance(one, dict) and cast("Row", one).get("_type") == "ClassLabel"
    }


def _text_lines(path: Path, tally: Tally | None) -> list[str]:
    """Lines in UTF-8, in the encoding of a byte order mark or, with a tally that says so, in cp1252."""
    content = read_bytes(path)
    encoding = next((name for mark, name in _ENCODINGS if content.startswith(mark)), "utf-8")
    try:
        return _split(content.decode(encoding))
    except UnicodeDecodeError as error:
        # Where there are characters of UTF-8, the others are broken.
        if tally is None or encoding != "utf-8" or not content.decode(errors="ignore").isascii():
            number = content.count(b"\n", 0, error.start) + 1
            raise UserError(
                f"{path}:{number}: not {encoding.upper()}; save the file as UTF-8"
            ) from error
    tally.add("tables read as Windows text (cp1252), not being UTF-8", path.name)
    return _split(content.decode("cp1252", "replace"))


def _split(text: str) -> list[str]:
    lines = text.split("\n" if "\n" in text else "\r")
    return [line.rstrip("\r") for line in lines]


def _csv_rows(path: Path, markers: tuple[str, ...], tally: Tally | None, remedy: str) -> _Rows:
    lines = _text_lines(path, tally)
    # Excel names the delimiter in a line of its own.
    start = next((i for i, line in enumerate(lines) if line.strip() and line[:4] != "sep="), None)
    if start is None:
        raise UserError(f"{path}: is empty")
    header, delimiter = _header(path, lines[start], markers, remedy)
    if repeated := [name for name in header if name and header.count(name) > 1]:
        raise UserError(f'{path}:{start + 1}: names the column "{repeated[0]}" twice; name it once')
    for number, values in _records(lines, start + 1, delimiter, len(header)):
        if isinstance(values, str):
            yield number, values
        elif any(value.strip() for value in values[len(header) :]):
            yield (
                number,
                (
                    f"has {len(values)} values for {len(header)} columns; put texts with a comma into "
                    "double quotes"
                ),
            )
        elif any(value.strip() for value in values):
            # Without its last values a row that is broken off would seem to have other columns.
            yield (
                number,
                dict(zip(header, values + [""] * (len(header) if tally else 0), strict=False)),
            )


def _records(
    lines: list[str], start: int, delimiter: str, width: int
) -> Iterator[tuple[int, list[str] | str]]:
    """Values of each row with its line, or what is wrong with it."""
    if delimiter == "\t" and all(line.count("\t") == width - 1 for line in lines[start:] if line):
        # Most TSVs quote nothing, so that a text may begin with a quotation mark.
        for number, line in enumerate(lines[start:], start=start + 1):
            cells = line.split("\t")
            yield (
                number,
                [m[1].replace('""', '"') if (m := _QUOTED.fullmatch(c)) else c for c in cells],
            )
        return
    while start < len(lines):
        begin = start
        rest = (line + "\n" for line in islice(lines, start, None))
        reader = csv.reader(rest, delimiter=delimiter, strict=True)
        try:
            for values in reader:
                yield begin + 1, values
                begin = start + reader.line_num
            return
        except csv.Error as error:  # an open quotation mark may have swallowed all later lines
            yield begin + 1, f"not CSV: {error}"
            start = begin + 1


def _header(path: Path, line: str, markers: tuple[str, ...], remedy: str) -> tuple[list[str], str]:
    tabs = path.suffix.lower() == ".tsv"
    found: list[list[str]] = []
    for delimiter in "\t" if tabs else ",;\t|":
        names = [column_name(cell.strip().strip('"')) for cell in line.split(delimiter)]
        if any(marker in names for marker in markers):
            return names, delimiter
        found.append(names)
    raise UserError(f"{path}: its first line {_no_column(markers, max(found, key=len), remedy)}")


def _no_column(markers: tuple[str, ...], found: list[str], remedy: str) -> str:
    shown = [name if name.isprintable() else repr(name) for name in found[:_SHOWN]]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"names no column of {', '.join(markers)}, but {', '.join(shown)}{more}{remedy}"
