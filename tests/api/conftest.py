"""Media files of one kind each: a picture, a sound, a clip with both; and collections of a run."""

import shutil
import wave
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image
from text_graphs import text_graphs

from trichord.api import collection_model
from trichord.api.collection import Collection
from trichord.api.model import Model
from trichord.checkpoint import Progress, Run
from trichord.config import ClapText, Experiment
from trichord.search.collection import StoredCollection
from trichord.search.indexing import begin
from trichord.types.extras import NotInstalledError

RATE = 16_000


def beep(seconds=1.0, pitch=440.0):
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 255, (48, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("media")
    Image.fromarray(picture()).save(root / "still.png")
    with wave.open(str(root / "beep.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        file.writeframes((beep() * 32767).round().astype("<i2").tobytes())
    with av.open(str(root / "clip.mp4"), "w") as container:
        seen = container.add_stream("libx264", rate=5)
        seen.width, seen.height, seen.pix_fmt = 64, 48, "yuv420p"
        heard = container.add_stream("aac", rate=RATE, layout="mono")
        for step in range(10):
            frame = av.VideoFrame.from_ndarray(picture(step // 5), format="rgb24")
            container.mux(seen.encode(frame))
        container.mux(seen.encode(None))
        for start in range(0, 2 * RATE, 1024):
            piece = beep(2.0)[None, start : start + 1024]
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), "fltp", "mono")
            frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), start
            container.mux(heard.encode(frame))
        container.mux(heard.encode(None))
    (root / "broken.mp4").write_bytes((root / "clip.mp4").read_bytes()[:500])
    files = set(root.rglob("*"))
    yield root
    assert set(root.rglob("*")) == files, "a test wrote into the folder that all tests share"


@pytest.fixture(scope="module", autouse=True)
def few_traces(encoders_traced_once):
    """Every indexing of the module has a graph written, many of them the same."""


@pytest.fixture(scope="session")
def maker(tiny_trimodal):
    """Gives what `made` is, in a folder of its own."""

    def maker(folder):
        def made(**changes):
            model = replace(tiny_trimodal, **changes)
            experiment = Experiment(system="made", model=model)
            torch.manual_seed(4)
            built = model.build().eval()
            with torch.no_grad():
                for tower in (built.text, built.sound_text):
                    for value in tower.head.parameters() if tower else ():
                        value.add_(0.1)
            run = Run(folder / "run")
            run.start(experiment, "none")
            run.finish(built, experiment.objective.build(), Progress())
            return built, begin(folder / "collection", str(run.path), built, 4.0, None)

        return made

    return maker


@pytest.fixture
def made(maker, tmp_path):
    """Makes a run and a collection of it that is still empty; gives the model and the collection."""
    return maker(tmp_path)


@pytest.fixture
def apart(tiny_towers):
    """What gives a model a text tower of its own towards sound."""
    return {"sound_text": ClapText(name=str(tiny_towers / "clap"))}


@pytest.fixture
def model(tiny_model):
    """The tiny model, from Python."""
    with Model("tiny", tiny_model, workers=1) as one:
        yield one


@pytest.fixture
def archive(model, folder, tmp_path):
    """A collection of the shared folder."""
    made = Collection.create(tmp_path / "archive", model, seconds=1.0)
    made.add(folder)
    return made


@pytest.fixture
def graphs(tiny_towers):
    """Both text towers as graphs."""
    return text_graphs(tiny_towers)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """Carries a collection to a machine without its run, its cache and torch."""

    def absent(*_):
        raise NotInstalledError("This needs torch.")

    def elsewhere(collection):
        shutil.copytree(collection.path, tmp_path / "there", ignore=shutil.ignore_patterns("cache"))
        monkeypatch.setattr(collection_model, "embedder_of", absent)
        monkeypatch.setattr(collection_model, "require_package", absent)
        return StoredCollection.open(tmp_path / "there")

    return elsewhere
