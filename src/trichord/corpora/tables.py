"""Annotation files as rows: JSON lines, CSV, TSV, JSON objects; errors name the line."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from trichord.corpora.entries import entries
from trichord.types import UserError

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")

Row = dict[str, Any]


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


def rows(path: Path, markers: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    """Rows of a CSV, TSV or JSON-lines file with the line of each; column names in lower case.

    `markers` are column names of which one must exist; they also determine the delimiter of a CSV
    (comma, semicolon or tab).

    Raises:
        UserError: the file cannot be read, is empty, has no such column, or a row does not fit.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES:
        raise UserError(f"{path}: must be one of {', '.join(TABLE_SUFFIXES)}")
    read = _json_rows if path.suffix.lower() == ".jsonl" else _csv_rows
    number = 0
    for number, row in read(path, markers):
        yield number, row
    if not number:
        raise UserError(f"{path}: holds no rows")


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


def _json_rows(path: Path, markers: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    for number, line in numbered_lines(path):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{number}: not JSON: {error}") from error
        if not isinstance(value, dict):
            raise UserError(f"{path}:{number}: must be a JSON object, one a line")
        row = {str(k).strip().lower(): v for k, v in cast("dict[str, Any]", value).items()}
        if not any(row.get(m) for m in markers):
            raise UserError(f"{path}:{number}: names none of {', '.join(markers)}")
        yield number, row


def _csv_rows(path: Path, markers: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    # All lines, also blank ones, so that line numbers are right.
    lines = dict(numbered_lines(path))
    text = "\n".join(lines.get(n, "").rstrip("\r") for n in range(1, max(lines, default=0) + 1))
    if not text:
        raise UserError(f"{path}: is empty")
    header, delimiter = _header(path, text, markers)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        next(reader)
        begin = reader.line_num + 1
        for values in reader:
            if any(value.strip() for value in values):
                if len(values) > len(header):
                    raise UserError(
                        f"{path}:{begin}: has {len(values)} values for {len(header)} columns; "
                        "put texts with a comma into double quotes"
                    )
                yield begin, dict(zip(header, values, strict=False))
            begin = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not CSV: {error}") from error


def _header(path: Path, text: str, markers: tuple[str, ...]) -> tuple[list[str], str]:
    first = text.split("\n", 1)[0]
    for delimiter in "\t" if path.suffix.lower() == ".tsv" else ",;\t":
        names = [cell.strip().strip('"').lower() for cell in first.split(delimiter)]
        repeated = [name for name in names if name and names.count(name) > 1]
        if any(marker in names for marker in markers):
            if repeated:
                raise UserError(f'{path}:1: names the column "{repeated[0]}" twice; name it once')
            return names, delimiter
    raise UserError(f"{path}: its first line names no column of {', '.join(markers)}")
