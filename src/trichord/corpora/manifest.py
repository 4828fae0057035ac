"""The manifest: clips as JSON lines, one clip per line.

A line has the fields of `Clip` (`id` and `path` at least, captions as objects of `text`, `about` and
`source`); defaults may be omitted. Relative paths are below the folder of the manifest. A line of its
own, `{"recipes": {...}}`, describes how `trichord compose` made captions.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast, get_args

from trichord.corpora.tables import numbered_lines
from trichord.types import ABOUTS, SPLITS, AudioTypeLabel, Caption, Clip, Source, Split, UserError
from trichord.types.files import write_atomically

Recipes = dict[str, dict[str, Any]]


def read_manifest(path: Path) -> list[Clip]:
    """The checked clips of a manifest, in its order, with absolute paths.

    Raises:
        UserError: the file is missing or empty, or a line is no clip (line and field named).
    """
    folder = path.parent.resolve()
    clips: list[Clip] = []
    line_of: dict[str, int] = {}
    for number, line in numbered_lines(path):
        try:
            record = json.loads(line)
            if _is_head(record):
                continue
            clip = _clip(record, folder)
            if clip.id in line_of:
                raise ValueError(
                    f'"id" {clip.id!r} is taken by line {line_of[clip.id]}; make it unique'
                )
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}:{number}: not JSON: {error.msg} (column {error.colno})"
            ) from error
        except RecursionError as error:
            raise UserError(f"{path}:{number}: not a clip: nested too deeply") from error
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}") from error
        line_of[clip.id] = number
        clips.append(clip)
    if not clips:
        raise UserError(f"{path}: holds no clips; make a manifest with `trichord prepare`")
    return clips


def read_recipes(path: Path) -> Recipes:
    """How composed captions of a manifest were made, by their `recipe`.

    Raises:
        UserError: the file cannot be read.
    """
    heads = (json.loads(line) for _, line in numbered_lines(path) if '"recipes"' in line)
    return {name: one for head in heads if _is_head(head) for name, one in head["recipes"].items()}


def is_manifest(path: Path) -> bool:
    """Whether the first line of a file is that of a manifest."""
    try:
        with path.open("rb") as file:
            record: Any = json.loads(file.readline(1 << 20))
    except (OSError, ValueError, RecursionError):
        return False
    keys: set[str] = set(cast("dict[str, Any]", record)) if isinstance(record, dict) else set()
    return keys == {"recipes"} or {"id", "path"} <= keys <= {one.name for one in fields(Clip)}


def require_no_other_file(path: Path) -> None:
    """Refuse to write a manifest in place of another file, such as the table of its captions.

    Raises:
        UserError: There is one.
    """
    if path.exists() and path.stat().st_size and not is_manifest(path):
        raise UserError(f"{path} exists and is no manifest: name another file, or delete it.")


def require_same(path: Path, clips: Iterable[Clip]) -> None:
    """Refuse to replace a manifest by one with other clips, captions or labels.

    Raises:
        UserError: There is one.
    """
    if (
        path.exists()
        and path.stat().st_size
        and path.read_bytes() != _contents(path, clips).encode()
    ):
        raise UserError(
            f"{path} is there already, with other clips, captions or labels: name another file, or give "
            "--force to replace it."
        )


def write_manifest(path: Path, clips: Iterable[Clip], recipes: Recipes | None = None) -> None:
    """Write clips as JSON lines, atomically; paths under its folder are stored relative.

    `recipes` become the first line.

    Raises:
        UserError: there are no clips, or the file cannot be written.
        ValueError: two clips have the same id.
    """
    clips = list(clips)
    if not clips:
        raise UserError(f"{path}: not written, because there are no clips to write")
    repeated = [clip_id for clip_id, count in Counter(c.id for c in clips).items() if count > 1]
    if repeated:
        raise ValueError(f"clip ids must be unique, but {repeated[0]!r} is not")
    write_atomically(path, _contents(path, clips, recipes))


def _contents(path: Path, clips: Iterable[Clip], recipes: Recipes | None = None) -> str:
    """What the manifest of some clips contains."""
    folder = path.parent.resolve()
    head = json.dumps({"recipes": recipes}, ensure_ascii=False) + "\n" if recipes else ""
    return head + "".join(_line(clip, folder) + "\n" for clip in clips)


def select(clips: Sequence[Clip], split: Split | None) -> list[Clip]:
    """Clips of a split, in order; all of them if `split` is None.

    Raises:
        UserError: no clip is of that split.
    """
    chosen = [clip for clip in clips if split in (None, clip.split)]
    if not chosen:
        found = Counter(clip.split or "no split" for clip in clips)
        there = ", ".join(f"{name} {count}" for name, count in found.items()) or "no clips"
        raise UserError(f"split {split!r}: the manifest has none of it (it has {there})")
    return chosen


def _line(clip: Clip, folder: Path) -> str:
    path = Path(clip.path)
    record: dict[str, Any] = {
        "id": clip.id,
        "path": path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path),
        "start": clip.start,
        "end": clip.end,
        "captions": [
            {"text": c.text, "about": c.about, "source": c.source}
            | ({"recipe": c.recipe} if c.recipe else {})
            for c in clip.captions
        ],
        "labels": list(clip.labels),
        "audio_type": clip.audio_type,
        "split": clip.split,
        "fold": clip.fold,
    }
    line = json.dumps(
        {k: v for k, v in record.items() if v not in (None, 0.0, [])}, ensure_ascii=False
    )
    try:
        line.encode()
    except UnicodeEncodeError:  # Python represents a file name that is not UTF-8 by lone surrogates
        return json.dumps(json.loads(line))
    return line


def _is_head(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and record.keys() == {"recipes"}
        and isinstance(record["recipes"], dict)
    )


def _clip(record: object, folder: Path) -> Clip:
    # In earlier manifests the audio type is called "sound"; beside the new name it is refused as unknown.
    if isinstance(record, dict) and "sound" in record and "audio_type" not in record:
        record = {"audio_type" if name == "sound" else name: v for name, v in record.items()}
    given = _object(record, "a clip", _CLIP_FIELDS, required=("id", "path"))
    clip = Clip(**{name: _CLIP_FIELDS[name](value, f'"{name}"') for name, value in given.items()})
    if clip.end is not None and clip.end <= clip.start:
        raise ValueError(f'"end" ({clip.end:g}) must be after "start" ({clip.start:g})')
    return replace(clip, path=str(folder / clip.path))


def _caption(value: object, name: str) -> Caption:
    given = _object(value, name, _CAPTION_FIELDS, required=("text", "about"))
    return Caption(**{k: _CAPTION_FIELDS[k](v, f'{name}: "{k}"') for k, v in given.items()})


def _object(
    value: object, name: str, known: dict[str, "_Check"], required: tuple[str, ...]
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object, not {_json_type(value)}")
    given = cast("dict[str, Any]", value)
    for field in given:
        if field not in known:
            raise ValueError(f'{name} has no field "{field}"; it may have {", ".join(known)}')
    for field in required:
        if field not in given:
            raise ValueError(f'{name} lacks "{field}"')
    return given


_Check = Callable[[Any, str], Any]
_LONGEST = 1e9  # seconds, 31 years: refuses NaN, infinity and integers that no float holds


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {_json_type(value)}")
    if not value.strip():
        raise ValueError(f"{name} is a text of zero length; write it or leave it out")
    return value


def _encodable(value: object, name: str) -> str:
    text = _text(value, name)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half a character (a lone surrogate)") from error
    return text


def _seconds(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number of seconds, not {_json_type(value)}")
    if not 0 <= value <= _LONGEST:
        raise ValueError(f"{name} must be a number of seconds from 0 on, not {value}")
    return float(value)


def _optional(check: _Check) -> _Check:
    return lambda value, name: None if value is None else check(value, name)


def _several(check: _Check) -> _Check:
    def checked(value: object, name: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{name} must be a list, not {_json_type(value)}")
        return tuple(check(v, f"{name}[{i}]") for i, v in enumerate(cast("list[Any]", value)))

    return checked


def _one_of(choices: tuple[str, ...]) -> _Check:
    def checked(value: object, name: str) -> object:
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, not {json.dumps(value)}")
        return value

    return checked


def _json_type(value: object) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    names = {"str": "a text", "list": "a list", "dict": "an object"}
    return names.get(type(value).__name__, "a number")


_CAPTION_FIELDS: dict[str, _Check] = {
    "text": _encodable,
    "about": _one_of(ABOUTS),
    "source": _one_of(get_args(Source)),
    "recipe": _encodable,
}
_CLIP_FIELDS: dict[str, _Check] = {
    "id": _encodable,
    "path": _text,
    "start": _seconds,
    "end": _optional(_seconds),
    "captions": _several(_caption),
    "labels": _several(_encodable),
    "audio_type": _optional(_one_of(get_args(AudioTypeLabel))),
    "split": _optional(_one_of(SPLITS)),
    "fold": _optional(_encodable),
}
