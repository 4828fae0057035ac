"""Annotation files of published corpora: finding and checking them, and reading captions."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from trichord.corpora.prepared import Tally, tidy, train_or_val
from trichord.corpora.tables import Row, rows
from trichord.types import About, Caption, Clip, Split, UserError

_PICKLES = ("*.pickle", "*.pkl")
_CAPTION_COLUMN = re.compile(r"caption(_?\d+)?")


def annotation(root: Path, *names: str) -> Path | None:
    """The first of the names (`*` is a wildcard) that exists in a folder or one level below.

    Raises:
        UserError: several files of one name exist one level below.
    """
    for name in names:
        for pattern in (name, f"*/{name}"):
            paths = [p for p in sorted(root.glob(pattern)) if _shown(p, root) and p.is_file()]
            if len(paths) > 1:
                several = ", ".join(str(path.relative_to(root)) for path in paths)
                raise UserError(f"{root}: holds several {name} ({several}); keep one of them")
            if paths:
                return paths[0]
    return None


def refuse_pickles(root: Path, remedy: str) -> None:
    """Refuse annotations that exist only as a pickle: reading one may run any code.

    Raises:
        UserError: there is a pickle.
    """
    pickle = next((p for name in _PICKLES if (p := annotation(root, name))), None)
    if pickle:
        raise UserError(f"{pickle}: pickles can run code and are never read; {remedy}")


def required(
    path: Path, *columns: str, blank: bool = False, tally: Tally | None = None
) -> Iterator[tuple[str, Row]]:
    """Rows of a table with their place (`file:line`), which have these columns.

    `tally` is that of `rows`, for tables of one such column.

    Raises:
        UserError: as `rows`; a row lacks a column, or its first column is blank without `blank`.
    """
    for number, row in rows(path, columns, tally):
        if not all(column in row for column in columns):
            raise UserError(f"{path}:{number}: needs the columns {', '.join(columns)}")
        if not blank and not row[columns[0]].strip():
            raise UserError(f"{path}:{number}: names no {columns[0]}")
        yield f"{path}:{number}", row


def listed(
    root: Path, names: Mapping[str, Split], tally: Tally, *, val: float = 0.0
) -> dict[str, Split]:
    """Splits of the ids in lists (tables with a column `video_id`); empty without lists.

    Without a validation list, the share `val` of the training ids is held out.

    Raises:
        UserError: a list lacks the column.
    """
    splits: dict[str, Split] = {}
    for name, split in names.items():
        path = annotation(root, name)
        for _, row in required(path, "video_id") if path else ():
            video = row["video_id"].strip()
            if video in splits:
                tally.add("listed videos passed over, being named before", video)
            splits.setdefault(video, split)
    if "val" in splits.values():
        return splits
    return {i: train_or_val(i, val=val) if s == "train" else s for i, s in splits.items()}


def captions_of(row: Row, place: str, about: About, tally: Tally, name: str) -> tuple[Caption, ...]:
    """Captions in a row's columns `caption`, or `caption_1`, `caption_2` and so on.

    Raises:
        UserError: there is no such column.
    """
    columns = [column for column in row if _CAPTION_COLUMN.fullmatch(column)]
    if not columns:
        raise UserError(f"{place}: needs a column caption, or caption_1, caption_2 and so on")
    return captions([row[column] for column in columns], about, tally, name)


def captions(texts: Iterable[Any], about: About, tally: Tally, name: str) -> tuple[Caption, ...]:
    """Texts as tidied captions; values that are no text are counted and skipped."""
    kept: list[Caption] = []
    for text in texts:
        if not isinstance(text, str):
            tally.add("captions passed over, being no text", name)
        elif tidied := tidy(text, tally, name):
            kept.append(Caption(text=tidied, about=about))
    return tuple(kept)


def joined(clips: Iterable[Clip], tally: Tally) -> list[Clip]:
    """One clip per id: captions of the same span are joined, those of another span skipped."""
    clips_by_id: dict[str, Clip] = {}
    for clip in clips:
        first = clips_by_id.setdefault(clip.id, clip)
        if (first.start, first.end) != (clip.start, clip.end):
            tally.add("rows passed over, their clip beginning elsewhere before", clip.id)
        elif first is not clip:
            clips_by_id[clip.id] = replace(first, captions=first.captions + clip.captions)
    return list(clips_by_id.values())


def seconds(value: object, place: str, name: str) -> float:
    """A time in seconds, at least 0.

    Raises:
        UserError: the value is none.
    """
    try:
        time = float(cast("str", value))
    except (TypeError, ValueError, OverflowError):
        time = math.nan
    if not 0 <= time < math.inf:
        raise UserError(f"{place}: {name} must be seconds from 0 on, not {value!r}")
    return time


def timed(value: object, place: str) -> list[tuple[Any, Any, Any]]:
    """Starts, ends and texts of an entry {"start": [...], "end": [...], "text": [...]}, unchecked.

    Raises:
        UserError: the value is no object with three lists of one length.
    """
    entry = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    lists = [entry.get(key, entry.get(f"{key}s")) for key in ("start", "end", "text")]
    parts = [cast("list[Any]", part) for part in lists if isinstance(part, list)]
    if len(parts) < 3 or len({len(part) for part in parts}) > 1:
        raise UserError(f'{place}: needs lists "start", "end" and "text" of one length')
    return list(zip(*parts, strict=True))


def _shown(path: Path, root: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(root).parts)
