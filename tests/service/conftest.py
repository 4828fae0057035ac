"""A small archive with real files, and an engine whose answers are known."""

import shutil
import threading
from pathlib import Path
from zlib import crc32

import av
import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from trichord.media import DecodePlan, Decoder, FramePlan, Limits
from trichord.models.embedder import Embedder, MediaVectors
from trichord.search.collection import Description, StoredCollection
from trichord.search.engine import SearchEngine
from trichord.search.entries import Entry, FileEntries, FileVersion
from trichord.types import Moment

DIM = 8
SECONDS = 2.0
HOST = "http://127.0.0.1:8000"


def unit(*seed):
    """A unit vector that depends on nothing but the seed."""
    vector = np.random.default_rng(crc32(repr(seed).encode())).normal(size=DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


class Reads:
    """What a search asks of a text encoder beside its vectors."""

    english = True

    def count_cut(self, texts):
        return sum(len(text) > 70 for text in texts)


class Words(Embedder):
    """A model without towers: a text has a vector of its own, and so has any picture or sound."""

    def __init__(self):
        torch.nn.Module.__init__(self)
        self.fusion = None
        self.text = Reads()
        self.sound_text = None
        self.heard = []

    fingerprint = "words"

    def embed_text(self, texts, toward="vision"):
        self.heard.append(list(texts))
        return np.stack([unit(text) for text in texts]) if texts else np.zeros((0, DIM), np.float32)

    def plan_of(self, modalities):
        return DecodePlan(
            frames=FramePlan(count=1) if "vision" in modalities else None,
            rates=(16_000,) if "audio" in modalities else (),
        )

    def embed_media(self, decoded, tokens=()):
        seen = np.array([one.frames is not None for one in decoded])
        heard = np.array([bool(one.audio) for one in decoded])
        return MediaVectors(
            vision=np.stack([unit("any picture")] * len(decoded)) * seen[:, None],
            has_vision=seen,
            audio=(np.stack([unit("any sound")] * len(decoded)) * heard[:, None])[:, None],
            has_audio=heard,
        )


class WatchedEngine(SearchEngine):
    """An engine that notes how many queries it answers together, and waits while the gate is shut."""

    def __init__(self, collection, decoder):
        super().__init__(collection, Words(), decoder)
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()

    def search_batch(self, queries, k=10, rerank=50):
        self.gate.wait(30)
        self.batches.append(len(queries))
        return super().search_batch(queries, k, rerank)


def make_video(path, colour, seconds=4, fps=5):
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=fps, options={"g": "5"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        for _ in range(seconds * fps):
            frame = np.full((48, 64, 3), colour, np.uint8)
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(picture.encode(None))


def make_sound(path, seconds=1, rate=16_000):
    wave = (8000 * np.sin(np.arange(seconds * rate) / 20)).astype(np.int16)[None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """Files of every kind, made once: treat as read-only."""
    folder = tmp_path_factory.mktemp("rendered")
    make_video(folder / "red.mp4", (200, 30, 30))
    make_sound(folder / "tone.wav")
    Image.new("RGB", (40, 30), (250, 200, 0)).save(folder / "still.png")
    return folder


@pytest.fixture
def root(rendered, tmp_path):
    """A folder of its own with these files, one of them in a folder below."""
    folder = tmp_path / "root"
    shutil.copytree(rendered, folder)
    (folder / "more").mkdir()
    (folder / "tone.wav").rename(folder / "more" / "tone.wav")
    return folder


def entries(path, notes, vision=True):
    """A file whose moments of two seconds have these captions, and their texts' vectors."""
    now = Path(path).stat()
    version = FileVersion(
        file=str(path), signature=path.name, size=now.st_size, mtime_ns=now.st_mtime_ns
    )
    still = path.suffix == ".png"
    rows = tuple(
        Entry(
            moment=Moment(
                file=str(path), start=i * SECONDS, end=0.0 if still else (i + 1) * SECONDS
            ),
            status="ok",
            vision=unit(note) if vision else None,
            audio=None if vision else unit(note),
            caption=note,
            tags=("tagged",) if i == 0 else (),
        )
        for i, note in enumerate(notes)
    )
    return FileEntries(version=version, entries=rows)


@pytest.fixture
def noted():
    """Makes a file whose moments have captions."""
    return entries


@pytest.fixture
def collection(root, tmp_path):
    """A collection of the archive."""
    made = StoredCollection.begin(
        tmp_path / "collection",
        Description(
            run="/secret/runs/words",
            fingerprint="words",
            seconds=SECONDS,
            hop=SECONDS,
            vision_dim=DIM,
            audio_dim=DIM,
        ),
    )
    made.table.put(
        [
            entries(root / "red.mp4", ["a red field", "a redder field"]),
            entries(root / "still.png", ["yellow"]),
            entries(root / "more" / "tone.wav", ["a tone"], vision=False),
        ]
    )
    return made


@pytest.fixture(scope="session")
def reader():
    """A decoder for what clients send."""
    with Decoder(workers=1, limits=Limits(wall_seconds=60.0)) as decoder:
        yield decoder


@pytest.fixture
def engine(collection, reader):
    """An engine whose answers are known."""
    return WatchedEngine(collection, reader)


@pytest.fixture
def serving(engine, root):
    """Makes applications, and clients of them, which it closes."""
    from trichord.service.app import create

    made = []

    def serving(**options):
        app = create(engine, **{"roots": [root], **options})
        made.append(app)
        return app

    yield serving
    for app in made:
        app.state.archive.close()


@pytest.fixture
def client_of(serving):
    """A client of an application that is asked in this process."""

    def client_of(**options):
        transport = httpx.ASGITransport(serving(**options), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=HOST)

    return client_of


@pytest.fixture
def ask(client_of):
    """Asks an application one thing: `ask("POST", "/api/search", json=...)`."""
    import asyncio

    def ask(method, path, *, options=None, **request):
        async def once():
            async with client_of(**(options or {})) as client:
                return await client.request(method, path, **request)

        return asyncio.run(once())

    return ask


@pytest.fixture
def found(ask):
    """The hits of a search by text, as JSON."""

    def found(text, **asked):
        response = ask("POST", "/api/search", json={"parts": [{"text": text}], **asked})
        assert response.status_code == 200, response.text
        return response.json()["hits"]

    return found


@pytest.fixture
def requests(client_of):
    """Asks an application several things: (method, address, what else the request has)."""
    import asyncio

    def requests(asked):
        async def all_of():
            async with client_of() as client:
                return [await client.request(method, path, **more) for method, path, more in asked]

        return asyncio.run(all_of())

    return requests
