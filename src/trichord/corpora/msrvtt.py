"""MSR-VTT: 10,000 videos of ten to thirty seconds with twenty captions each.

Xu, Mei, Yao, Rui, CVPR 2016. A folder holds `MSRVTT_data.json` (or the official
`train_val_videodatainfo.json` and `test_videodatainfo.json`), for the split 1k-A also its lists
`MSRVTT_train.9k.csv` or `MSRVTT_train.7k.csv` and `MSRVTT_JSFUSION_test.csv` (Yu, Kim, Kim, ECCV
2018), and anywhere below it the videos, `<video_id>.mp4`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

from trichord.corpora.annotations import annotation, captions, required
from trichord.corpora.entries import entries
from trichord.corpora.prepared import Prepared, Tally, train_or_val
from trichord.corpora.recordings import Recordings
from trichord.corpora.tables import SPLIT_NAMES
from trichord.types import Caption, Clip, Split, UserError

Division = Literal["9k", "7k", "full"]
_Videos = tuple[dict[str, Split], dict[str, list[Caption]]]
"""The split and the captions of each video."""

_WHOLE = "MSRVTT_data.json"
_OFFICIAL = ("train_val_videodatainfo.json", "test_videodatainfo.json")
_TEST = "MSRVTT_JSFUSION_test.csv"
_FIRST_VAL, _FIRST_TEST = 6513, 7010  # the official splits follow the numbers of the videos
_VAL = 0.05


def clips(root: Path, *, division: Division = "9k") -> Prepared:
    """Clips in the order of the annotations; captions are audio-visual, `audio_type` is both.

    1k-A ("9k", "7k") tests on 1,000 videos with one sentence each from the list, and trains on all
    captions of the listed videos. It has no validation split: a hash of the id holds out 5 % of the
    training list. "full" has the official 6,513, 497 and 2,990 videos. A split without its file is
    skipped.

    Raises:
        UserError: no annotations or videos, or annotations that do not fit (place named).
    """
    root = root.resolve()
    tally = Tally()
    if division == "full":
        splits, texts = _videos(root, "; name the folder of MSR-VTT", tally)
        annotated = [_clip(video, split, texts, tally) for video, split in splits.items()]
    else:
        annotated = _one_k_a(root, division, tally)
    recordings = Recordings(root, tally)
    return recordings.prepared(recordings.place(clip, (clip.id,)) for clip in annotated)


def _one_k_a(root: Path, train: str, tally: Tally) -> list[Clip]:
    name = f"MSRVTT_train.{train}.csv"
    train_list, test_list = annotation(root, name), annotation(root, _TEST)
    if not train_list and not test_list:
        raise UserError(f"{root}: holds neither {name} nor {_TEST}; name the folder of MSR-VTT")
    test = _test(test_list, tally) if test_list else {}
    if not train_list:
        return list(test.values())
    _, texts = _videos(root, f", where the captions for {name} are", tally)
    training: list[Clip] = []
    for _, row in required(train_list, "video_id"):
        video = row["video_id"].strip()
        if video in test:
            tally.add("training videos left out, being tested on", video)
        else:
            training.append(_clip(video, train_or_val(video, val=_VAL), texts, tally))
    return [*training, *test.values()]


def _test(path: Path, tally: Tally) -> dict[str, Clip]:
    clips_by_id: dict[str, Clip] = {}
    for _, row in required(path, "video_id", "sentence"):
        video = row["video_id"].strip()
        if video in clips_by_id:
            tally.add("test sentences passed over, their video having one", video)
            continue
        texts = captions([row["sentence"]], "audio_visual", tally, video)
        clips_by_id[video] = Clip(
            id=video, path="", captions=texts, audio_type="both", split="test"
        )
    return clips_by_id


def _clip(video: str, split: Split, texts: dict[str, list[Caption]], tally: Tally) -> Clip:
    own = tuple(texts.get(video, ()))
    if not own:
        tally.add("videos without captions", video)
    return Clip(id=video, path="", captions=own, audio_type="both", split=split)


def _videos(root: Path, remedy: str, tally: Tally) -> _Videos:
    whole = annotation(root, _WHOLE)
    files = [whole] if whole else [p for name in _OFFICIAL if (p := annotation(root, name))]
    if not files:
        raise UserError(f"{root}: holds no {_WHOLE}{remedy}")
    splits: dict[str, Split] = {}
    texts: dict[str, list[Caption]] = {}
    for path in files:
        parts = dict(entries(path))
        for name, video in _by_id(path, parts, "videos"):
            splits.setdefault(name, _split(path, video, name))
        for name, sentence in _by_id(path, parts, "sentences"):
            read = captions([sentence.get("caption")], "audio_visual", tally, name)
            texts.setdefault(name, []).extend(read)
    return splits, texts


def _by_id(path: Path, parts: dict[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    listed = parts.get(key)
    if not isinstance(listed, list):
        raise UserError(f'{path}: needs lists "videos" and "sentences"')
    for value in cast("list[Any]", listed):
        entry = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        video = entry.get("video_id")
        if not isinstance(video, str):
            raise UserError(f'{path}: each of "{key}" needs a text "video_id"')
        yield video, entry


def _split(path: Path, video: dict[str, Any], name: str) -> Split:
    given = video.get("split")
    number = re.fullmatch(r"video(\d{1,9})", name)
    if given is None and number:
        place = int(number[1])
        return "train" if place < _FIRST_VAL else "val" if place < _FIRST_TEST else "test"
    if str(given).lower() not in SPLIT_NAMES:
        raise UserError(f"{path}: {name!r} needs a split: train, validate or test")
    return SPLIT_NAMES[str(given).lower()]
