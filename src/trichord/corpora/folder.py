"""Any folder of media, with captions from a table or from a text file beside each file.

The table is CSV, TSV or JSON lines. Its columns: one of `file, path, filename, file_name, video,
audio, image, name`, and any of `caption, audio_caption, visual_caption, audio_visual_caption,
label, start, end, split`. Several rows of a file give it several captions, or several clips if
they differ in `start` and `end` (seconds). A text file `<stem>.txt` has one caption per line.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from trichord.corpora.annotations import SPLIT_NAMES, seconds
from trichord.corpora.footage import Footage, media_of
from trichord.corpora.prepared import Prepared, Tally, tidy
from trichord.corpora.tables import TABLE_SUFFIXES, Row, numbered_lines, rows
from trichord.types import About, Caption, Clip, Split, UserError

FILE_COLUMNS = ("file", "path", "filename", "file_name", "video", "audio", "image", "name")
CAPTION_COLUMNS: dict[str, About] = {
    "audio_caption": "audio",
    "visual_caption": "visual",
    "audio_visual_caption": "audio_visual",
    "caption": "audio_visual",
}
LABEL_COLUMNS = ("label", "class", "category")
_COLUMNS = {*CAPTION_COLUMNS, *LABEL_COLUMNS, "start", "end", "split"}
_Span = tuple[Path, float, float | None]


def clips(
    root: Path, captions: Path | None = None, media: Sequence[Path] | None = None
) -> Prepared:
    """Clips of a folder, ordered by file and start; ids are the files' paths below the folder.

    `captions` is the table to read; the default is `captions.*`, else `metadata.*`, else the only
    table in the folder. Files that are not in the table are clips too, and counted. `media` are the files
    of the folder, if they are known already.

    Raises:
        UserError: no folder, no media, an unreadable or ambiguous table, or a wrong value.
    """
    root = root.resolve()
    files = media_of(root) if media is None else media
    tally = Tally()
    table = captions.resolve() if captions else _table(root)
    clips_by_span = _from_table(table, Footage(root, files), tally) if table else {}
    if not files and not clips_by_span:
        raise UserError(f"{root}: holds no media; name a folder of videos, sounds or pictures")
    named = {path for path, _, _ in clips_by_span}
    for path in files:
        if path not in named:
            clips_by_span[path, 0.0, None] = Clip(id=_id(path, root), path=str(path))
            if table:
                tally.add(f"files without a row in {table.name}", _id(path, root))
    ordered = sorted(
        clips_by_span.items(), key=lambda item: (item[0][0], item[0][1], item[0][2] or math.inf)
    )
    return tally.prepared(
        [_with_sidecar(replace(c, id=_span_id(s, root)), tally) for s, c in ordered]
    )


def _table(root: Path) -> Path | None:
    tables = sorted(p for p in root.glob("*") if p.suffix.lower() in TABLE_SUFFIXES and p.is_file())
    for name in ("captions", "metadata"):
        tables = [p for p in tables if p.stem.lower() == name] or tables
    if len(tables) > 1:
        names = ", ".join(p.name for p in tables)
        raise UserError(f"{root}: holds several tables ({names}); name one with --captions")
    return tables[0] if tables else None


def _from_table(table: Path, footage: Footage, tally: Tally) -> dict[_Span, Clip]:
    clips_by_span: dict[_Span, Clip] = {}
    passed_over: set[str] = set()
    for number, row in rows(table, FILE_COLUMNS):
        place = f"{table}:{number}"
        column = next((c for c in FILE_COLUMNS if row.get(c)), None)
        if column is None:
            raise UserError(f"{place}: names no file")
        passed_over |= row.keys() - _COLUMNS - {column}
        path = footage.find(str(row[column]).strip())
        if path is None:
            tally.lack("rows left out for want of their file", str(row[column]))
            continue
        clip = _clip(row, path, place, tally)
        span = (path, clip.start, clip.end)
        clips_by_span[span] = (
            _joined(clips_by_span[span], clip, place) if span in clips_by_span else clip
        )
    for column in sorted(passed_over):
        tally.add("columns passed over", column)
    return clips_by_span


def _clip(row: Row, path: Path, place: str, tally: Tally) -> Clip:
    captions = [
        Caption(text=text, about=about)
        for column, about in CAPTION_COLUMNS.items()
        for raw in _texts(row, column, place)
        if (text := tidy(raw, tally, place.rsplit("/", 1)[-1]))
    ]
    labels = [text.strip() for column in LABEL_COLUMNS for text in _texts(row, column, place)]
    start, end = _seconds(row, "start", place), _seconds(row, "end", place)
    if end is not None and end <= (start or 0.0):
        raise UserError(f"{place}: end ({end:g}) must be after start ({start or 0:g})")
    return Clip(
        id=path.name,
        path=str(path),
        start=start or 0.0,
        end=end,
        captions=tuple(captions),
        labels=tuple(dict.fromkeys(labels)),
        split=_split(row, place),
    )


def _texts(row: Row, column: str, place: str) -> list[str]:
    value = row.get(column)
    texts = cast("list[Any]", value if isinstance(value, list) else [value])
    if not all(isinstance(text, str) for text in texts if value is not None):
        raise UserError(f'{place}: "{column}" must be a text or a list of texts')
    # An empty cell is no caption, so it is not counted as blank.
    return [text for text in texts if text and text.strip()]


def _seconds(row: Row, column: str, place: str) -> float | None:
    value = row.get(column)
    return None if value is None or not str(value).strip() else seconds(value, place, column)


def _split(row: Row, place: str) -> Split | None:
    name = str(row.get("split") or "").strip().lower()
    if name and name not in SPLIT_NAMES:
        raise UserError(f"{place}: split must be train, val or test, not {name!r}")
    return SPLIT_NAMES.get(name)


def _joined(first: Clip, again: Clip, place: str) -> Clip:
    if first.split and again.split and first.split != again.split:
        raise UserError(
            f"{place}: split {again.split}, but an earlier row of the file says {first.split}"
        )
    return replace(
        first,
        captions=first.captions + again.captions,
        labels=tuple(dict.fromkeys(first.labels + again.labels)),
        split=first.split or again.split,
    )


def _with_sidecar(clip: Clip, tally: Tally) -> Clip:
    sidecar = Path(clip.path).with_suffix(".txt")
    if not sidecar.is_file():
        return clip
    texts = [tidy(line, tally, sidecar.name) for _, line in numbered_lines(sidecar)]
    if not texts:
        tally.add("text files without a text", sidecar.name)
    own = tuple(Caption(text=text, about="audio_visual") for text in texts if text)
    return replace(clip, captions=clip.captions + own)


def _id(path: Path, root: Path) -> str:
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    # A manifest cannot have a name that is not UTF-8.
    return shown.as_posix().encode("utf-8", "backslashreplace").decode()


def _span_id(span: _Span, root: Path) -> str:
    path, start, end = span
    begin, until = (repr(t).removesuffix(".0") if t is not None else "" for t in (start, end))
    return _id(path, root) + (f"@{begin}-{until}" if start or until else "")
