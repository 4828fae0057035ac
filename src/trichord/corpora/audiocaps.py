"""AudioCaps: ten-second sounds of YouTube videos (from AudioSet) with captions of the audio.

Kim, Kim, Lee, Kim, NAACL 2019: one caption a training clip, five a validation or test clip. A
folder holds `train.csv`, `val.csv` and `test.csv`, as published (`audiocap_id, youtube_id,
start_time, caption`, one row per caption) or as redistributed (`file_name`, `caption` or `caption_1` to
`caption_5`).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from trichord.corpora.annotations import annotation, captions_of, joined, seconds
from trichord.corpora.footage import stem
from trichord.corpora.prepared import Prepared, Tally
from trichord.corpora.recordings import Recordings
from trichord.corpora.tables import Row, rows
from trichord.types import SPLITS, Clip, Split, UserError

_SECONDS = 10.0
_PREFIXED = re.compile(r"Y([\w-]{11})")


def clips(root: Path, *, whole: bool = False) -> Prepared:
    """Clips in the order of the tables; ids are YouTube ids, `audio_type` is nonverbal.

    Files are cut-out clips called `<id>`, `Y<id>`, `<id>_<start>` or `<id>_<start>_<end>`; if
    `whole`, those called `<id>` are whole videos, and the clip is ten seconds of one.

    Raises:
        UserError: no tables, no media, a table without the columns, or no start where it is needed.
    """
    root = root.resolve()
    tally = Tally()
    tables: dict[Split, Path] = {
        split: path for split in SPLITS if (path := annotation(root, f"{split}.csv"))
    }
    if not tables:
        raise UserError(
            f"{root}: holds none of train.csv, val.csv, test.csv; name AudioCaps' folder"
        )
    annotated = [
        clip for split, path in tables.items() for clip in joined(_read(path, split, tally), tally)
    ]
    if whole and (clip := next((clip for clip in annotated if clip.end is None), None)):
        raise UserError(f"{root}: {clip.id!r} has no start_time, so that --whole cannot cut it out")
    recordings = Recordings(root, tally)
    return recordings.prepared(
        recordings.place_youtube(clip, clip.id, whole=whole) for clip in annotated
    )


def _read(path: Path, split: Split, tally: Tally) -> Iterator[Clip]:
    for number, row in rows(path, ("youtube_id", "file_name")):
        place = f"{path}:{number}"
        clip_id = _id(row)
        if not clip_id:
            raise UserError(f"{place}: needs a youtube_id or a file_name")
        texts = captions_of(row, place, "audio", tally, clip_id)
        start = seconds(row["start_time"], place, "start_time") if "start_time" in row else None
        yield Clip(
            id=clip_id,
            path="",
            start=start or 0.0,
            end=None if start is None else start + _SECONDS,
            captions=texts,
            audio_type="nonverbal",
            split=split,
        )


def _id(row: Row) -> str:
    name = stem(str(row.get("youtube_id") or row.get("file_name") or "").strip())
    prefixed = _PREFIXED.fullmatch(name)
    return prefixed[1] if prefixed else name
