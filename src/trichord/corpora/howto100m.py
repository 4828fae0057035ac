"""HowTo100M: instructional YouTube videos with automatic transcripts.

Miech et al., ICCV 2019. A folder holds `raw_caption.json` or `caption.json` ({id: {"start": [...],
"end": [...], "text": [...]}}), or for each video such a `<id>.json` or a `<id>.csv` of `start, end,
text`; also, to choose videos, lists `train.csv` and `val.csv` with a column `video_id`.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from trichord.corpora.annotations import annotation, listed, refuse_pickles, required, timed
from trichord.corpora.entries import entries
from trichord.corpora.prepared import Prepared, Tally, tidy, train_or_val
from trichord.corpora.recordings import Recordings
from trichord.types import Caption, Clip, Split, UserError

_NARRATIONS = ("raw_caption.json", "raw_caption_superclean.json", "caption.json", "captions.json")
_LISTS: dict[str, Split] = {"train.csv": "train", "val.csv": "val", "test.csv": "test"}
_VAL = 0.01
_VIDEO = re.compile(r"[\w-]{11}")
_SECONDS, _WORDS = 10.0, 5
_Spoken = tuple[list[float], list[float], list[str]]
"""Starts and ends in seconds, and texts."""
_Raw = list[tuple[Any, Any, Any]]


def clips(root: Path) -> Prepared:
    """Clips of at least ten seconds and five words, if a video has that many; `audio_type` is verbal.

    Each caption not covered by an earlier clip is the seed of one (see `grown`), in order: the clips
    of a video cover its whole transcript, and a caption between two clips may be in both. Times are
    rounded outwards to whole seconds as published; ids are `<video>_<start>_<end>`, and of clips
    with the same times the first is kept. There are no official splits: unless lists name splits, a
    hash of the video id holds out 1 % for validation.

    Raises:
        UserError: no narrations but pickles, or none, or no videos, or narrations that do not fit.
    """
    root = root.resolve()
    tally = Tally()
    splits = listed(root, _LISTS, tally, val=_VAL)
    narrations = _narrations(root)
    recordings = Recordings(root, tally)
    return recordings.prepared(_placed(narrations, splits, recordings, tally))


def grown(
    starts: Sequence[float],
    ends: Sequence[float],
    texts: Sequence[str],
    i: int,
    min_seconds: float = _SECONDS,
    min_words: int = _WORDS,
) -> tuple[int, int]:
    """Caption `i` with neighbours, up to a span of `min_seconds` and `min_words`.

    As published (CLIP4VLA, after Miech et al.): add the neighbour that gives the shorter span, the
    earlier one if both are equal, until span and words suffice or no neighbour is left. Words are
    separated by spaces; the authors count tokens.

    Returns:
        Numbers of the first and the last caption of the span.
    """
    first = last = i
    words = len(texts[i].split())
    while words < min_words or ends[last] - starts[first] < min_seconds:
        left, right = first > 0, last + 1 < len(texts)
        if not left and not right:
            break
        if left and (not right or ends[last] - starts[first - 1] <= ends[last + 1] - starts[first]):
            first -= 1
            words += len(texts[first].split())
        else:
            last += 1
            words += len(texts[last].split())
    return first, last


def _placed(
    narrations: Iterator[tuple[str, Callable[[], _Raw]]],
    splits: dict[str, Split],
    recordings: Recordings,
    tally: Tally,
) -> Iterator[Clip]:
    awaited = set(splits)
    for video, read in narrations:
        awaited.discard(video)
        split = splits.get(video) if splits else train_or_val(video, val=_VAL)
        if split:
            clip = Clip(id=video, path="", audio_type="verbal", split=split)
            placed = recordings.place(clip, (), (video,))
            yield from _cut(placed, _spoken(read(), tally, video)) if placed else ()
    for video in sorted(awaited):
        tally.add("videos without captions", video)


def _cut(video: Clip, spoken: _Spoken) -> Iterator[Clip]:
    starts, ends, texts = spoken
    seed = 0
    while seed < len(texts):
        first, last = grown(starts, ends, texts, seed)
        start, end = math.floor(starts[first]), math.ceil(ends[last])
        text = " ".join(texts[first : last + 1])
        yield replace(
            video,
            id=f"{video.id}_{start}_{end}",
            start=float(start),
            end=float(end),
            captions=(Caption(text=text, about="audio", source="speech"),),
        )
        seed = last + 1


def _spoken(raw: _Raw, tally: Tally, video: str) -> _Spoken:
    """Captions in order of time; those without times or text are skipped."""
    kept: list[tuple[float, float, str]] = []
    for start, end, text in raw:
        span = _span(start, end)
        if span is None or not isinstance(text, str):
            tally.add("captions passed over, having no times or no text", video)
        elif words := tidy(text, tally, video):
            kept.append((*span, words))
    kept.sort(key=lambda caption: caption[:2])
    return [c[0] for c in kept], [c[1] for c in kept], [c[2] for c in kept]


def _span(start: Any, end: Any) -> tuple[float, float] | None:
    try:
        first, last = float(start), float(end)
    except (TypeError, ValueError, OverflowError):
        return None
    return (first, last) if 0 <= first < last < math.inf else None


def _narrations(root: Path) -> Iterator[tuple[str, Callable[[], _Raw]]]:
    """Each video and its captions, from the file of all narrations or from one file per video."""
    if whole := annotation(root, *_NARRATIONS):
        return ((v, partial(timed, value, f"{whole}: {v!r}")) for v, value in entries(whole))
    tables = sorted([*root.rglob("*.json"), *root.rglob("*.csv")])
    single = [path for path in tables if _VIDEO.fullmatch(path.stem)]
    if not single:
        refuse_pickles(root, f"convert it to {_NARRATIONS[2]}, or add {_NARRATIONS[0]}")
        raise UserError(
            f"{root}: holds neither {_NARRATIONS[0]} nor <video id>.csv or .json; "
            "name the folder of HowTo100M"
        )
    return ((path.stem, partial(_of_file, path)) for path in single)


def _of_file(path: Path) -> _Raw:
    if path.suffix == ".json":
        return timed(dict(entries(path)), str(path))
    read = required(path, "start", "end", "text", blank=True)
    return [(row["start"], row["end"], row["text"]) for _, row in read]
