"""Published datasets and folders as clips: manifests, readers, and a doctor for both."""

from functools import partial

from trichord.corpora import (
    audiocaps,
    audioset,
    avcaps,
    clotho,
    esc50,
    folder,
    grid,
    howto100m,
    msrvtt,
    mteb_task,
    ucf101,
    vatex,
)
from trichord.corpora.prepared import Corpus
from trichord.types.plugins import Group

CORPORA: dict[str, Corpus] = {
    "avcaps": Corpus(
        description="AVCaps: videos with captions of what is heard, seen, both, and composed ones",
        clips=avcaps.clips,
        options=("drop_multiline",),
    ),
    "folder": Corpus(
        description="any folder of media, with captions in a table, in <stem>.txt, or none",
        clips=folder.clips,
        options=("captions", "columns"),
    ),
    "grid": Corpus(
        description="GRID: talkers who say six-word sentences, transcripts as captions",
        clips=grid.clips,
    ),
    "esc50": Corpus(
        description="ESC-50 and ESC-10: environmental sounds by class, in five folds",
        clips=esc50.clips,
    ),
    "ucf101": Corpus(
        description="UCF101: short videos of 101 actions, in three official lists",
        clips=ucf101.clips,
    ),
    "msrvtt-9k": Corpus(
        description="MSR-VTT: web videos with twenty captions each, split 1k-A, 9,000 to train on",
        clips=partial(msrvtt.clips, division="9k"),
    ),
    "msrvtt-7k": Corpus(
        description="MSR-VTT: split 1k-A, 7,010 videos to train on",
        clips=partial(msrvtt.clips, division="7k"),
    ),
    "msrvtt-full": Corpus(
        description="MSR-VTT: the official split, 6,513, 497 and 2,990 videos",
        clips=partial(msrvtt.clips, division="full"),
    ),
    "vatex": Corpus(
        description="VATEX: ten-second spans of YouTube videos with ten captions each",
        clips=vatex.clips,
    ),
    "audiocaps": Corpus(
        description="AudioCaps: ten-second sounds with one or five captions of what is heard",
        clips=audiocaps.clips,
        options=("whole",),
    ),
    "clotho": Corpus(
        description="Clotho: recordings with five captions of what is heard",
        clips=clotho.clips,
    ),
    "howto100m": Corpus(
        description="HowTo100M: instructional videos cut by what is said in them",
        clips=howto100m.clips,
    ),
    "audioset": Corpus(
        description="AudioSet: ten-second sounds by label, as captions",
        clips=audioset.clips,
        options=("whole",),
    ),
    "mteb": Corpus(
        description="a retrieval task of MTEB between text and sound, picture or video",
        clips=mteb_task.clips,
        options=("task", "split", "subset"),
    ),
}
READERS: Group[Corpus] = Group("datasets", "dataset", CORPORA)
"""Ours, and those of others by the entry point `trichord.datasets`."""
