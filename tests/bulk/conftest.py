"""A few real files of which each clip is a span, and towers that other processes can load."""

from fractions import Fraction

import av
import numpy as np
import pytest

from trichord.bulk.shards import WorkerModel
from trichord.config import Experiment
from trichord.features.extraction import extract_media, extract_texts
from trichord.features.store import FeatureFolder
from trichord.media import Decoder
from trichord.types import Caption, Clip

RATE, FILES, SPANS = 16_000, 6, 4


def write_file(path, seed):
    """Four seconds of a drawn colour that changes, and noise."""
    chance = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=4, options={"g": "4"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for _ in range(4 * SPANS):
            shown = np.tile(chance.integers(0, 255, 3, dtype=np.uint8), (48, 64, 1))
            container.mux(picture.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(picture.encode(None))
        wave = chance.normal(0, 0.1, SPANS * RATE).astype(np.float32)
        for start in range(0, len(wave), 1024):
            frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), start
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))


@pytest.fixture(scope="session")
def footage(tmp_path_factory):
    """Six files with four clips of a second each, and a file that is none."""
    folder = tmp_path_factory.mktemp("footage")
    clips = []
    for n in range(FILES):
        write_file(folder / f"{n}.mp4", n)
        for second in range(SPANS):
            said = Caption(text=f"second {second} of file {n}", about="visual")
            clips.append(
                Clip(
                    id=f"{n}@{second}",
                    path=str(folder / f"{n}.mp4"),
                    start=float(second),
                    end=second + 1.0,
                    captions=(said,),
                )
            )
    (folder / "broken.mp4").write_bytes((folder / "0.mp4").read_bytes()[:700])
    return [*clips, Clip(id="broken", path=str(folder / "broken.mp4"))]


@pytest.fixture(scope="session")
def texts(footage):
    return [caption.text for clip in footage for caption in clip.captions]


@pytest.fixture(scope="session")
def model(tiny_trimodal):
    return tiny_trimodal.build().eval()


@pytest.fixture(scope="session")
def towers(tiny_trimodal):
    return WorkerModel(model=Experiment(system="tiny", model=tiny_trimodal))


@pytest.fixture(scope="session")
def decoder():
    with Decoder(workers=1) as decoder:
        yield decoder


def rows_of(folder, model):
    """All rows of all towers, sorted by key: a key that is there twice shows."""
    found = {}
    for name, tower in model.encoders().items():
        table = folder.table(name, tower)
        columns = ["key", "origin", "status", "steps", "values"]
        found[name] = table.rows(columns).sort_by("key").to_pylist()
    return found


@pytest.fixture(name="rows_of")
def rows_of_():
    return rows_of


@pytest.fixture(scope="session")
def expected(footage, texts, model, decoder, tmp_path_factory):
    """What one process makes of everything, without shards."""
    folder = FeatureFolder(tmp_path_factory.mktemp("expected"))
    list(extract_texts(model, texts, folder))
    list(extract_media(model, footage, folder, decoder))
    return rows_of(folder, model)
