"""Any folder of media, with captions from tables or from a text file beside each file.

A table is CSV, TSV, JSON lines, JSON (of COCO's form, too), Parquet or Arrow. Each of its columns has a
role: by its name (`ROLES`), or by `--columns ROLE=COLUMN`. Several rows of a file give it several
captions, or several clips if they differ in start and end (seconds). A text file `<stem>.txt` has one
caption per line.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args

from trichord.corpora.annotations import seconds
from trichord.corpora.footage import Footage, media_of
from trichord.corpora.manifest import is_manifest
from trichord.corpora.prepared import MISSING, Prepared, Tally, tidy
from trichord.corpora.tables import (
    SPLIT_NAMES,
    TABLE_SUFFIXES,
    Row,
    column_name,
    filled,
    numbered_lines,
    rows,
)
from trichord.types import About, Caption, Clip, Source, Split, UserError

ROLES: dict[str, tuple[str, ...]] = {
    "file": (
        *("file", "path", "filename", "file_name", "video", "audio", "image", "name"),
        *("filepath", "file_path", "video_path", "audio_path", "image_path"),
        *("video_id", "clip_id", "youtube_id", "id"),
    ),
    "audio_caption": ("audio_caption",),
    "visual_caption": ("visual_caption", "video_caption"),
    "audio_visual_caption": ("audio_visual_caption",),
    "caption": ("caption", "text", "sentence", "description"),
    "speech": ("speech", "transcript", "transcription"),
    "label": ("label", "class", "category"),
    "start": ("start",),
    "end": ("end",),
    "split": ("split",),
    "fold": ("fold",),
}
"""What a column may be for, and the columns that are so where nothing else is said: the first that a
row has; for `label` all of them; for captions also those with a number, such as `caption_2`."""
CAPTION_ROLES: dict[str, tuple[About, Source]] = {
    "audio_caption": ("audio", "crowd"),
    "visual_caption": ("visual", "crowd"),
    "audio_visual_caption": ("audio_visual", "crowd"),
    "caption": ("audio_visual", "crowd"),
    "speech": ("audio", "speech"),
}
_REMEDY = "; say which one has the files: --columns file=COLUMN"
_NAMES = ("captions", "metadata")
_SPREADSHEETS = {".ods", ".xls", ".xlsx"}
_SHARD = re.compile(r"(.+?)-\d+-of-\d+.*")  # as `datasets` and the hub name parts of a table
_Span = tuple[Path, float, float | None]


@dataclass(slots=True)
class Columns:
    """The columns of a table by role, and those that were used."""

    given: dict[str, dict[str, Source]]
    """By role: columns named by the user, with the source of their captions."""
    used: set[str] = field(default_factory=set[str])
    seen: dict[str, None] = field(default_factory=dict[str, None])
    _known: dict[tuple[str, ...], dict[str, Source]] = field(default_factory=dict[Any, Any])

    def of(self, role: str, row: Row) -> dict[str, Source]:
        """The columns of a role that a row has, with the source of their captions."""
        key = (role, *row)  # the same for nearly all rows of a table
        if key not in self._known:
            self._known[key] = self._of(role, row)
        found = self._known[key]
        if role in CAPTION_ROLES or role == "label":
            self.used |= found.keys()
            return found
        first = dict([item for item in found.items() if filled(row[item[0]])][:1])
        # Of several names of a file only one is read; an empty start is read, too.
        self.used |= first.keys() if role == "file" else found.keys()
        return first

    def _of(self, role: str, row: Row) -> dict[str, Source]:
        if role in self.given:
            return {name: kind for name, kind in self.given[role].items() if name in row}
        taken = {name for names in self.given.values() for name in names}
        names = [name for name in ROLES[role] if name in row and name not in taken]
        if role in CAPTION_ROLES:
            numbered = re.compile(rf"{role}_?\d+")
            numbers = [name for name in row if numbered.fullmatch(name) and name not in taken]
            names = names[:1] + numbers
        return dict.fromkeys(names, _usual_source(role))


def _usual_source(role: str) -> Source:
    return CAPTION_ROLES[role][1] if role in CAPTION_ROLES else "crowd"


def columns_of(given: Sequence[str]) -> dict[str, dict[str, Source]]:
    """Columns by role, with the source of their captions, from texts `ROLE=COLUMN` or `ROLE=COLUMN:SOURCE`.

    Raises:
        UserError: a text is of another form, or its role is unknown or has no source.
    """
    found: dict[str, dict[str, Source]] = {}
    for text in given:
        role, _, column = text.partition("=")
        name, _, kind = column.rpartition(":")
        source = next((one for one in get_args(Source) if one == kind and name), None)
        if role not in ROLES or not column.strip() or (source and role not in CAPTION_ROLES):
            raise UserError(
                f"--columns {text}: give ROLE=COLUMN (of captions also ROLE=COLUMN:SOURCE), with one "
                f"of the roles {', '.join(ROLES)}."
            )
        found.setdefault(role, {})[column_name(name if source else column)] = (
            source or _usual_source(role)
        )
    return found


def clips(
    root: Path,
    captions: Path | None = None,
    media: Sequence[Path] | None = None,
    columns: Sequence[str] = (),
) -> Prepared:
    """Clips of a folder, ordered by file and start; ids are the files' paths below the folder.

    Files that are not in a table are clips too, and counted.

    Args:
        root: The folder.
        captions: The table to read, or a folder of tables. The default is `captions.*`, else
            `metadata.*`, else the only table in the folder or its parts, else `metadata.*` and parts of
            tables in the folders below.
        media: The files of the folder, if they are known already.
        columns: Roles of columns; see `columns_of`.

    Raises:
        UserError: no folder, no media, an unreadable or ambiguous table, a wrong value, or no caption was
            read though the table has columns that may hold some.
    """
    root = root.resolve()
    files = media_of(root) if media is None else media
    tally = Tally()
    read = Columns(given=columns_of(columns))
    place = captions.resolve() if captions else root
    tables = _tables(place, tally) if place.is_dir() else [place]
    if not tables and (captions or columns):
        raise UserError(f"{place}: holds no table of captions; name one with --captions")
    clips_by_span = _from_tables(tables, place, Footage(root, files), read, tally)
    if not files and not clips_by_span:
        raise UserError(f"{root}: holds no media; name a folder of videos, sounds or pictures")
    named = {path for path, _, _ in clips_by_span}
    for path in files:
        if path not in named:
            clips_by_span[path, 0.0, None] = Clip(id=_id(path, root), path=str(path))
            if tables:
                table = tables[0].name if len(tables) == 1 else "the tables"
                tally.add(f"files without a row in {table}", _id(path, root))
    ordered = sorted(
        clips_by_span.items(), key=lambda item: (item[0][0], item[0][1], item[0][2] or math.inf)
    )
    found = [_with_sidecar(replace(c, id=_span_id(s, root)), tally) for s, c in ordered]
    textless = not any(clip.captions or clip.labels for clip in found)
    worded = {
        column for role in (*CAPTION_ROLES, "label") for column in read.given.get(role, ROLES[role])
    }
    if (
        tables
        and textless
        and (not named or read.seen.keys() & worded or read.seen.keys() - read.used)
    ):
        raise UserError(
            f"{tables[0]}: {'no caption was read' if named else 'no row names a file of the folder'}; its "
            f"columns are {', '.join(read.seen)}: choose with --columns file=COLUMN caption=COLUMN (or "
            "audio_caption=, visual_caption=)"
        )
    return tally.prepared(found)


def _tables(folder: Path, tally: Tally) -> list[Path]:
    here = [path for path in sorted(folder.glob("*")) if _is_table(path, tally)]
    for name in _NAMES:
        here = [path for path in here if path.stem.lower() == name] or here
    if len(here) > 1 and not all(_SHARD.fullmatch(path.stem) for path in here):
        names = ", ".join(path.name for path in here)
        raise UserError(f"{folder}: holds several tables ({names}); name one with --captions")
    return here or [
        path
        for path in sorted(folder.glob("[!.]*/*"))
        if (path.stem.lower() in _NAMES or _SHARD.fullmatch(path.stem)) and _is_table(path, tally)
    ]


def _is_table(path: Path, tally: Tally) -> bool:
    suffix, stem = path.suffix.lower(), path.stem.lower()
    if suffix in _SPREADSHEETS:
        tally.add("spreadsheets passed over: save them as CSV", path.name)
        return False
    known = (
        suffix in TABLE_SUFFIXES
        or (suffix == ".json" and stem in _NAMES)
        or (suffix == ".txt" and stem == _NAMES[0])  # other texts are of media, or notes
    )
    # `datasets` keeps what it computed in cache-*.arrow.
    if not known or path.name.startswith((".", "cache-")) or not path.is_file():
        return False
    if suffix == ".jsonl" and is_manifest(path):
        tally.add("manifests in the folder passed over", path.name)
        return False
    return True


def _from_tables(
    tables: Sequence[Path], place: Path, footage: Footage, columns: Columns, tally: Tally
) -> dict[_Span, Clip]:
    clips_by_span: dict[_Span, Clip] = {}
    markers = tuple(columns.given.get("file", ROLES["file"]))
    for table in tables:
        below = table.parent.is_relative_to(footage.root)
        near = table.parent.relative_to(footage.root).as_posix() if below else ""
        split = _split_of(table, place)
        for number, row in rows(table, markers, tally, _REMEDY):
            line = f"{table}:{number}"
            columns.seen |= dict.fromkeys(row)
            value = row[next(iter(columns.of("file", row)))]
            path = footage.find(_file_name(value), tally, near)
            if path is None:
                _refuse_bytes(value, line)
                continue
            clip = _clip(row, columns, path, line, tally)
            clip = replace(clip, split=clip.split or split)
            span = (path, clip.start, clip.end)
            clips_by_span[span] = (
                _joined(clips_by_span[span], clip, line) if span in clips_by_span else clip
            )
    for role, given in columns.given.items():
        if absent := given.keys() - columns.seen.keys():
            raise UserError(
                f"--columns {role}={min(absent)}: {tables[0]} has no such column, but "
                f"{', '.join(columns.seen)}."
            )
    for column in sorted(columns.seen.keys() - columns.used):
        tally.add("columns passed over", column)
    return clips_by_span


def _split_of(table: Path, place: Path) -> Split | None:
    """The split that a part of tables is of: train/metadata.csv, data/train-00000-of-00002.parquet."""
    shard = _SHARD.fullmatch(table.stem)
    below = place not in (table, table.parent)  # else the folder's name is the user's own
    names = (shard[1] if shard else "", table.parent.name if below else "")
    return next((SPLIT_NAMES[n.lower()] for n in names if n.lower() in SPLIT_NAMES), None)


def _file_name(value: Any) -> str:
    # `datasets` stores audio and images as {"bytes": ..., "path": ...}.
    return str(value.get("path") or "" if isinstance(value, dict) else value).strip()


def _refuse_bytes(value: Any, place: str) -> None:
    if isinstance(value, dict) and cast("Row", value).get("bytes"):
        raise UserError(
            f"{place}: its media are bytes in the table; write them to files first, named as the table's "
            '"path" says'
        )


def _clip(row: Row, columns: Columns, path: Path, place: str, tally: Tally) -> Clip:
    name = place.rsplit("/", 1)[-1]
    captions = [
        Caption(text=text, about=about, source=source)
        for role, (about, _) in CAPTION_ROLES.items()
        for column, source in columns.of(role, row).items()
        for raw in _texts(row, column, place)
        if (text := tidy(raw, tally, name))
    ]
    labels: dict[str, None] = {}
    for column in columns.of("label", row):
        for label in _texts(row, column, place, numbers=True):
            if label.lower() in MISSING:
                tally.add("labels dropped, being nan, N/A or null", name)
            else:
                labels[label] = None
    start, end = (_seconds(row, columns, role, place) for role in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise UserError(f"{place}: end ({end:g}) must be after start ({start or 0:g})")
    split = (_value(row, columns, "split") or "").lower()
    if split and split not in SPLIT_NAMES:
        raise UserError(f"{place}: split must be train, val or test, not {split!r}")
    return Clip(
        id=path.name,
        path=str(path),
        start=start or 0.0,
        end=end,
        captions=tuple(captions),
        labels=tuple(labels),
        split=SPLIT_NAMES.get(split),
        # pandas writes whole numbers beside empty cells as 1.0.
        fold=(_value(row, columns, "fold") or "").removesuffix(".0") or None,
    )


def _texts(row: Row, column: str, place: str, *, numbers: bool = False) -> list[str]:
    value = row.get(column)
    values = cast("list[Any]", value if isinstance(value, list) else [value])
    # An empty cell is no caption, so it is not counted as blank.
    texts = [one for one in values if filled(one)]
    if not all(isinstance(text, str | int if numbers else str) for text in texts):
        raise UserError(f'{place}: "{column}" must be a text or a list of texts')
    return [str(text).strip() if numbers else text for text in texts]


def _value(row: Row, columns: Columns, role: str) -> str | None:
    """The value that a row has for a role, as text."""
    value = next((row[column] for column in columns.of(role, row)), None)
    return None if value is None else str(value).strip()


def _seconds(row: Row, columns: Columns, role: str, place: str) -> float | None:
    value = _value(row, columns, role)
    return None if value is None else seconds(value, place, role)


def _joined(first: Clip, again: Clip, place: str) -> Clip:
    pairs = (("split", first.split, again.split), ("fold", first.fold, again.fold))
    for role, one, other in pairs:
        if one and other and one != other:
            raise UserError(f"{place}: {role} {other}, but an earlier row of the file says {one}")
    return replace(
        first,
        captions=first.captions + again.captions,
        labels=tuple(dict.fromkeys(first.labels + again.labels)),
        split=first.split or again.split,
        fold=first.fold or again.fold,
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
