"""AudioSet: ten-second spans of YouTube videos, with labels of the audio.

Gemmeke et al., ICASSP 2017. A folder holds the official `balanced_train_segments.csv`,
`unbalanced_train_segments.csv` and `eval_segments.csv`, and `ontology.json` or
`class_labels_indices.csv` for the names of labels; or `caption.json` ({id: {"start": [...], "end":
[...], "text": [names joined]}}), where lists `train.csv`, `val.csv` and `test.csv` with a column
`video_id` may choose.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from trichord.corpora.annotations import (
    annotation,
    listed,
    refuse_pickles,
    required,
    seconds,
    timed,
)
from trichord.corpora.entries import entries
from trichord.corpora.prepared import Prepared, Tally, tidy, train_or_val
from trichord.corpora.recordings import Recordings
from trichord.corpora.tables import unnamed_rows
from trichord.types import Caption, Clip, Split, UserError

_SEGMENTS: dict[str, Split] = {
    "balanced_train_segments.csv": "train",
    "unbalanced_train_segments.csv": "train",
    "eval_segments.csv": "test",
}
_COLUMNS = ("YTID", "start_seconds", "end_seconds", "positive_labels")
_CAPTIONS = ("caption.json", "captions.json")
_LISTS: dict[str, Split] = {"train.csv": "train", "val.csv": "val", "test.csv": "test"}
_NAMES = ("ontology.json", "class_labels_indices.csv")
_VAL = 0.01


def clips(root: Path, *, whole: bool = False, joined_by: str = ", ") -> Prepared:
    """Clips in the order of the annotations; ids are YouTube ids, `audio_type` is nonverbal.

    The caption is "The sound of " and the names of the labels, as in CLIP4VLA; the authors join
    them by a comma without a space. Training clips are those of both training files; a hash of the
    id holds out 1 % for validation. The evaluation file is the test split.

    Args:
        root: The folder.
        whole: Files named by the bare YouTube id are whole videos, of which the clip is a span.
        joined_by: Separator of the names of labels.

    Raises:
        UserError: no annotations but pickles, or none, or no media, or annotations that do not fit.
    """
    root = root.resolve()
    tally = Tally()
    tables: dict[Path, Split] = {
        path: split for name, split in _SEGMENTS.items() if (path := annotation(root, name))
    }
    own = None if tables else annotation(root, *_CAPTIONS)
    if not tables and own is None:
        refuse_pickles(root, f"convert it to {_CAPTIONS[0]}, or add {', '.join(_SEGMENTS)}")
        raise UserError(
            f"{root}: holds none of {', '.join(_SEGMENTS)}; name the folder of AudioSet"
        )
    names = _names(root) if tables else {}
    splits = listed(root, _LISTS, tally, val=_VAL) if own else {}
    recordings = Recordings(root, tally)
    annotated = (
        _captioned(own, splits, tally) if own else _labelled(tables, names, joined_by, tally)
    )
    return recordings.prepared(
        recordings.place_youtube(clip, clip.id, whole=whole) for clip in annotated
    )


def _labelled(
    tables: dict[Path, Split], names: dict[str, str], joined_by: str, tally: Tally
) -> Iterator[Clip]:
    for path, split in tables.items():
        for clip in _segments(path):
            labels = tuple(names[mid] for mid in clip.labels if mid in names)
            for mid in clip.labels:
                if mid not in names:
                    tally.add("labels without a name passed over", mid)
            yield replace(
                clip,
                labels=labels,
                captions=_caption(joined_by.join(labels), tally, clip.id),
                split=train_or_val(clip.id, val=_VAL) if split == "train" else split,
            )


def _segments(path: Path) -> Iterator[Clip]:
    """Clips whose labels are identifiers."""
    for number, row in unnamed_rows(path, _COLUMNS):
        place = f"{path}:{number}"
        start, end = (seconds(row[column], place, column) for column in _COLUMNS[1:3])
        if end <= start:
            raise UserError(f"{place}: end ({end:g}) must be after start ({start:g})")
        labels = tuple(mid.strip() for mid in row["positive_labels"].split(",") if mid.strip())
        yield Clip(
            id=row["YTID"], path="", start=start, end=end, labels=labels, audio_type="nonverbal"
        )


def _captioned(path: Path, splits: dict[str, Split], tally: Tally) -> Iterator[Clip]:
    for video, value in entries(path):
        split = splits.get(video) if splits else train_or_val(video, val=_VAL)
        if split is None:
            continue
        place = f"{path}: {video!r}"
        for start, end, text in timed(value, place)[:1]:
            yield Clip(
                id=video,
                path="",
                start=seconds(start, place, "start"),
                end=seconds(end, place, "end"),
                captions=_caption(text if isinstance(text, str) else "", tally, video),
                audio_type="nonverbal",
                split=split,
            )


def _caption(names: str, tally: Tally, clip_id: str) -> tuple[Caption, ...]:
    if not names.strip():
        tally.add("clips without a named label", clip_id)
        return ()
    text = tidy(f"The sound of {names}", tally, clip_id)
    return (Caption(text=text, about="audio", source="label"),) if text else ()


def _names(root: Path) -> dict[str, str]:
    """Display names of labels by identifier."""
    path = annotation(root, *_NAMES)
    if path is None:
        raise UserError(f"{root}: holds neither {' nor '.join(_NAMES)}, which name the labels")
    if path.suffix == ".csv":
        label_rows = required(path, "mid", "display_name")
        return {row["mid"].strip(): row["display_name"].strip() for _, row in label_rows}
    names: dict[str, str] = {}
    for key, value in entries(path):
        entry = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        if not isinstance(entry.get("id"), str) or not isinstance(entry.get("name"), str):
            raise UserError(f'{path}: {key!r}: needs texts "id" and "name"')
        names[entry["id"]] = entry["name"]
    if not names:
        raise UserError(f"{path}: names no labels; load it again")
    return names
