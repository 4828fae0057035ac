"""Published datasets and folders as clips: manifests, readers, and a doctor for both."""

from trichord.corpora import avcaps, esc50, folder, grid
from trichord.corpora.prepared import Corpus

CORPORA: dict[str, Corpus] = {
    "avcaps": Corpus(
        description="AVCaps: videos with captions of what is heard, seen, both, and composed ones",
        clips=avcaps.clips,
    ),
    "folder": Corpus(
        description="any folder of media, with a CSV, TSV, JSONL or <stem>.txt of captions or none",
        clips=folder.clips,
    ),
    "grid": Corpus(
        description="GRID: talkers who say six-word sentences, transcripts as captions",
        clips=grid.clips,
    ),
    "esc50": Corpus(
        description="ESC-50 and ESC-10: environmental sounds by class, in five folds",
        clips=esc50.clips,
    ),
}
