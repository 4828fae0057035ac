"""AudioCaps: ten-second sounds of YouTube videos (from AudioSet) with captions of the audio.

Kim, Kim, Lee, Kim, NAACL 2019: one caption a training clip, five a validation or test clip. A
folder holds `train.csv`, `val.csv` and `test.csv`, as published (`audiocap_id, youtube_id,
start_time, caption`, one row per caption) or as redistributed (`file_name`, `caption` or `caption_1` to
`caption_5`). Broken rows are left out: in version 2.0, captions of two lines lack their quotation marks.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from trichord.corpora.annotations import annotation, captions_of, joined, seconds
from trichord.corpora.footage import stem
from trichord.corpora.prepared import Prepared, Tally
from trichord.corpora.recordings import Recordings
from trichord.corpora.tables import BROKEN, Row, rows
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
    clip_id = ""
    for number, row in rows(path, ("youtube_id", "file_name"), tally):
        place = f"{path}:{number}"
        try:
            start = seconds(row["start_time"], "", "start_time") if "start_time" in row else None
        except UserError as error:
            tally.add(BROKEN, f"{path.name}:{number} ({str(error).removeprefix(': ')})")
            continue
        clip_id = _id(row)
        texts = captions_of(row, place, "audio", tally, clip_id)
        yield Clip(
            id=clip_id,
            path="",
            start=start or 0.0,
            end=None if start is None else start + _SECONDS,
            captions=texts,
            audio_type="nonverbal",
            split=split,
        )
    if not clip_id:
        raise UserError(f"{path}: holds no rows but broken ones, {tally.examples[BROKEN][0]}")


def _id(row: Row) -> str:
    name = stem(str(row.get("youtube_id") or row.get("file_name") or "").strip())
    prefixed = _PREFIXED.fullmatch(name)
    return prefixed[1] if prefixed else name
