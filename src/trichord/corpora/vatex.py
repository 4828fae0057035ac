"""VATEX: 41,000 spans of ten seconds of YouTube videos with ten English captions each.

Wang et al., ICCV 2019. A folder holds the official `vatex_training_v1.0.json`,
`vatex_validation_v1.0.json` and `vatex_public_test_english_v1.1.json`, or `caption.json`
({videoID: {"captions": [...]}}), and, for the division of CLIP4VLA (1,500 validate, 1,500 test),
its lists `train.csv`, `val_retrieval.csv` and `test_retrieval.csv` with a column `video_id`.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from trichord.corpora.annotations import annotation, captions, listed, refuse_pickles
from trichord.corpora.entries import entries
from trichord.corpora.prepared import Prepared, Tally
from trichord.corpora.recordings import Recordings
from trichord.types import Clip, Split, UserError

_OFFICIAL: dict[str, Split] = {
    "vatex_training*.json": "train",
    "vatex_validation*.json": "val",
    "vatex_public_test*.json": "test",
}
_CAPTIONS = ("caption.json", "captions.json")
_LISTS: dict[str, Split] = {
    "train.csv": "train",
    "val_retrieval.csv": "val",
    "test_retrieval.csv": "test",
}
_ID = re.compile(r"(?P<video>.+)_(?P<start>\d{6})_(?P<end>\d{6})")


def clips(root: Path) -> Prepared:
    """Clips in the order of the lists, else of the JSON files; captions are audio-visual.

    Ids are those of the corpus, `<YouTube id>_<start>_<end>` (seconds). Files are cut-out clips with
    that name, or whole videos named by the YouTube id, of which the clip is a span. Lists, if there
    are any, determine clips and splits; else the JSON files do.

    Raises:
        UserError: no annotations but pickles, or none, or no videos, or annotations that do not fit.
    """
    root = root.resolve()
    tally = Tally()
    splits = listed(root, _LISTS, tally)
    annotated = _annotated(root, tally)
    if splits:
        for video in [video for video in splits if video not in annotated]:
            tally.add("videos without captions", video)
        bare = Clip(id="", path="", audio_type="both")
        annotated = {
            i: replace(annotated.get(i, bare), id=i, split=split) for i, split in splits.items()
        }
    recordings = Recordings(root, tally)
    return recordings.prepared(_place(clip, recordings) for clip in annotated.values())


def _place(clip: Clip, recordings: Recordings) -> Clip | None:
    match = _ID.fullmatch(clip.id)
    if match is None:
        return recordings.place(clip, (clip.id,))
    spanned = replace(clip, start=float(match["start"]), end=float(match["end"]))
    return recordings.place_youtube(spanned, match["video"], whole=True)


def _annotated(root: Path, tally: Tally) -> dict[str, Clip]:
    files: dict[Path, Split | None] = {
        path: split for name, split in _OFFICIAL.items() if (path := annotation(root, name))
    }
    if not files and (own := annotation(root, *_CAPTIONS)):
        files[own] = None
    if not files:
        refuse_pickles(root, "convert it to caption.json, or add vatex_training_v1.0.json")
        names = ", ".join((*_OFFICIAL, _CAPTIONS[0]))
        raise UserError(f"{root}: holds none of {names}; name the folder of VATEX")
    read = (clip for path, split in files.items() for clip in _of_file(path, split, tally))
    found = tally.first_of_each(read, "entries passed over, their id being taken")
    return {clip.id: clip for clip in found}


def _of_file(path: Path, split: Split | None, tally: Tally) -> Iterator[Clip]:
    for key, value in entries(path):
        entry = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        video = str(entry.get("videoID", "" if split else key)).strip()
        texts = entry.get("enCap", entry.get("captions"))
        if not video or not isinstance(texts, list):
            raise UserError(f'{path}: {key!r}: needs a videoID and a list of texts "enCap"')
        read = captions(cast("list[Any]", texts), "audio_visual", tally, video)
        yield Clip(id=video, path="", captions=read, audio_type="both", split=split)
