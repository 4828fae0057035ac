"""Clotho: Freesound recordings of fifteen to thirty seconds with five captions of the audio.

Drossos, Lipping, Virtanen, ICASSP 2020. A folder holds the official `clotho_captions_<part>.csv` of
the parts development, validation and evaluation, or `train.csv`, `val.csv` and `test.csv`; columns
are `file_name` and `caption_1` to `caption_5` (or `caption`, one row per caption).
"""

from collections.abc import Iterator
from pathlib import Path

from trichord.corpora.annotations import annotation, captions_of, joined, required
from trichord.corpora.footage import stem
from trichord.corpora.prepared import Prepared, Tally
from trichord.corpora.recordings import Recordings
from trichord.types import Clip, Split, UserError

_TABLES: dict[Split, tuple[str, str]] = {
    "train": ("clotho_captions_development.csv", "train.csv"),
    "val": ("clotho_captions_validation.csv", "val.csv"),
    "test": ("clotho_captions_evaluation.csv", "test.csv"),
}


def clips(root: Path) -> Prepared:
    """Clips in the order of the tables; ids are file names without extension, `audio_type` is nonverbal.

    Development is the training split, evaluation the test split.

    Raises:
        UserError: no tables, no recordings, or a table without the columns.
    """
    root = root.resolve()
    tally = Tally()
    tables: dict[Split, Path] = {
        split: path for split, names in _TABLES.items() if (path := annotation(root, *names))
    }
    if not tables:
        names = ", ".join(official for official, _ in _TABLES.values())
        raise UserError(f"{root}: holds none of {names}; name the folder of Clotho")
    annotated = [
        clip for split, path in tables.items() for clip in joined(_read(path, split, tally), tally)
    ]
    recordings = Recordings(root, tally)
    return recordings.prepared(recordings.place(clip, (clip.id,)) for clip in annotated)


def _read(path: Path, split: Split, tally: Tally) -> Iterator[Clip]:
    for place, row in required(path, "file_name", tally=tally):
        clip_id = stem(row["file_name"].strip()).strip()
        texts = captions_of(row, place, "audio", tally, clip_id)
        yield Clip(id=clip_id, path="", captions=texts, audio_type="nonverbal", split=split)
