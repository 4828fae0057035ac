"""A reader for VGGSound (Chen et al., ICASSP 2020): ten-second spans labelled with what sounds.

A folder holds the official `vggsound.csv`, whose columns have no names: a YouTube id, a start in
seconds, a label, `train` or `test`.
"""

from collections.abc import Iterator
from pathlib import Path

from trichord.corpora.annotations import annotation, seconds
from trichord.corpora.prepared import Corpus, Prepared, Tally, train_or_val
from trichord.corpora.recordings import Recordings
from trichord.corpora.tables import unnamed_rows
from trichord.types import Caption, Clip, UserError

COLUMNS = ("youtube_id", "start_seconds", "label", "split")
SECONDS = 10.0
VAL = 0.02


def clips(root: Path, *, whole: bool = False) -> Prepared:
    """Clips in the table's order; if `whole`, files called by the bare id are whole videos."""
    table = annotation(root.resolve(), "vggsound.csv")
    if table is None:
        raise UserError(f"{root}: holds no vggsound.csv; name the folder of VGGSound")
    recordings = Recordings(root.resolve(), Tally())  # finds the files, and counts what is missing
    return recordings.prepared(
        recordings.place_youtube(clip, clip.id, whole=whole) for clip in annotated(table)
    )


def annotated(table: Path) -> Iterator[Clip]:
    """Clips without their files; the label is the caption."""
    for number, row in unnamed_rows(table, COLUMNS):
        place, video, label = f"{table}:{number}", row["youtube_id"], row["label"]
        if row["split"] not in ("train", "test"):
            raise UserError(f"{place}: the split must be train or test, not {row['split']!r}")
        start = seconds(row["start_seconds"], place, "start_seconds")
        caption = Caption(text=label, about="audio_visual", source="label")
        split = "test" if row["split"] == "test" else train_or_val(video, val=VAL)
        times = {"start": start, "end": start + SECONDS}
        yield Clip(id=video, path="", captions=(caption,), labels=(label,), split=split, **times)


DESCRIPTION = "VGGSound: ten-second videos by the sound whose source is seen, as captions"
VGGSOUND = Corpus(kind="vggsound", description=DESCRIPTION, clips=clips, options=("whole",))
