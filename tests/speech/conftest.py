import csv
from pathlib import Path

import numpy as np
import pytest

from trichord.media import Decoder
from trichord.media.plan import DecodePlan

DATA = Path(__file__).parents[3] / "shared" / "data"
PLAN = DecodePlan(frames=None, rates=(16_000,))


def sound_of(decoder, path):
    """The whole sound of a file at 16 kHz."""
    audio = decoder.decode(path, [(0.0, None)], PLAN)[0].audio
    return audio.get(16_000, np.zeros(0, np.float32))


@pytest.fixture(scope="session")
def grid():
    """Sentences of GRID: path, words, and start and end in seconds of what is said."""
    folder = DATA / "grid"
    if not folder.is_dir():
        pytest.skip("shared/data/grid is absent")
    clips = []
    for row in csv.DictReader((folder / "grid_s1.csv").read_text().splitlines()):
        spans = [one.partition(":")[0].split("-") for one in row["align_25kHz_units"].split()]
        start, end = int(spans[1][0]) / 25_000, int(spans[-2][1]) / 25_000
        if (path := folder / "video" / row["file"]).is_file():
            clips.append((path, row["transcript"].split(), start, end))
    return clips


@pytest.fixture(scope="session")
def environment():
    """Paths of 30 clips of ESC-10, which hold no speech."""
    folder = DATA / "esc10"
    if not folder.is_dir():
        pytest.skip("shared/data/esc10 is absent")
    rows = list(csv.DictReader((folder / "esc10.csv").read_text().splitlines()))
    return [folder / "audio" / row["file"] for row in rows[::13]][:30]


@pytest.fixture(scope="session")
def grid_words(grid, tmp_path_factory):
    """A vocabulary of all words of GRID, one a line."""
    path = tmp_path_factory.mktemp("words") / "words.txt"
    path.write_text("\n".join(sorted({word for _, words, *_ in grid for word in words})))
    return path


@pytest.fixture(scope="session")
def sentences(grid):
    """Twenty-odd seconds of sentences of GRID one after another without pauses."""
    parts = []
    with Decoder(workers=1) as decoder:
        for path, _, start, end in grid[::16][:17]:
            sound = sound_of(decoder, path)
            parts.append(sound[round(start * 16_000) : round(end * 16_000)])
    return np.concatenate(parts)
