"""The page in a real browser, over the real service and a small real collection."""

import os
import shutil
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import av
import httpx
import numpy as np
import pytest
from PIL import Image

from .visiting import (
    CHANGED,
    CHROMIUM,
    FILMS,
    FPS,
    LINES,
    OWNED,
    PATIENCE,
    RATE,
    SCENE,
    WIDE,
    serving,
)


def make_film(path, scenes):
    """Scenes of a colour and a tone, two seconds each, a square moving through them."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=FPS, options={"g": "5"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        heard = scenes[0][1] is not None
        sound = container.add_stream("aac", rate=RATE, layout="mono") if heard else None
        for number in range(round(len(scenes) * SCENE * FPS)):
            frame = np.full((48, 64, 3), scenes[int(number / FPS / SCENE)][0], np.uint8)
            frame[12:36, (left := 4 + 2 * number % 36) : left + 20] = 128
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(picture.encode(None))
        if sound is not None:
            write_sound(container, sound, np.concatenate([tone(pitch) for _, pitch in scenes]))


def tone(pitch, seconds=SCENE):
    wave = np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)
    return (0.4 * wave).astype(np.float32)


def write_sound(container, stream, wave):
    for start in range(0, len(wave), 1024):
        piece = wave[None, start : start + 1024]
        if stream.codec_context.format.name == "s16":
            piece = (piece * 32767).astype(np.int16)
        name = stream.codec_context.format.name
        frame = av.AudioFrame.from_ndarray(piece, format=name, layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """A folder with films, a sound and a picture."""
    folder = tmp_path_factory.mktemp("films")
    for name, scenes in FILMS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        make_film(folder / name, scenes)
    with av.open(str(folder / "night" / "tone.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        write_sound(container, stream, tone(3000, 4.0))
    Image.new("RGB", (64, 48), (250, 200, 0)).save(folder / "still.png")
    for place, file in enumerate(sorted(file for file in folder.rglob("*") if file.is_file())):
        changed = (CHANGED + place * timedelta(days=20)).timestamp()
        os.utime(file, (changed, changed))
    return folder


@pytest.fixture(scope="session")
def model(tiny_clip4vla):
    """A model that has learnt nothing."""
    return replace(tiny_clip4vla, audio=replace(tiny_clip4vla.audio, token=0.5)).build().eval()


@pytest.fixture(scope="session")
def decoder():
    from trichord.media import Decoder, Limits

    with Decoder(workers=1, limits=Limits(wall_seconds=60.0)) as decoder:
        yield decoder


@pytest.fixture(scope="session")
def collection(films, model, decoder, tmp_path_factory):
    """A collection of the films; moments of 2 s each second."""
    from trichord.search.indexing import begin, index

    place = tmp_path_factory.mktemp("page") / "a small archive"
    collection = begin(place, "run", model, seconds=2.0, hop=1.0)
    list(index(collection, model, decoder, [films], speech=False))
    collection.annotate(films / list(FILMS)[3], [(0.0, 2.0, OWNED, ("<i>tag</i>", "night"))])
    return collection


@pytest.fixture(scope="session")
def app_of(films, model, decoder, collection):
    """Makes applications that serve the collection."""
    from trichord.search.engine import SearchEngine
    from trichord.service.app import create

    engine = SearchEngine(collection, model, decoder)
    made = []

    def app_of(**options):
        made.append(create(engine, roots=[films], **options))
        return made[-1]

    yield app_of
    for app in made:
        app.state.archive.close()


@pytest.fixture(scope="session")
def worded(films, model, decoder, collection, tmp_path_factory):
    """Address of a service over a copy of the collection that stores what is said and shown."""
    from trichord.search.collection import StoredCollection
    from trichord.search.engine import SearchEngine
    from trichord.search.text_table import FileTexts
    from trichord.service.app import create

    place = tmp_path_factory.mktemp("worded") / "an archive with words"
    shutil.copytree(collection.name, place)
    copy = StoredCollection.open(str(place))
    rows = copy.table.rows(["file", "signature"], filter="start = 0.0").to_pylist()
    signatures = {row["file"]: row["signature"] for row in rows}
    for (name, kind), lines in LINES.items():
        signature = signatures[str(films / name)]
        copy.texts.put(
            [FileTexts(signature=signature, kind=kind, lines=lines, status="recognised")]
        )
    app = create(SearchEngine(copy, model, decoder), roots=[films])
    with serving(app) as address:
        yield address
    app.state.archive.close()


@pytest.fixture(scope="module")
def address(app_of):
    """Of the service."""
    with serving(app_of()) as address:
        yield address


@pytest.fixture(scope="package")
def browser():
    """Chromium with a microphone that beeps."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"needs {CHROMIUM}")
    beeping = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", *beeping]
        )
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Opens pages; afterwards none must have complained, or asked anybody but the service.

    `refused`: parts of complaints that a test calls forth.
    """
    contexts, complaints, elsewhere = [], [], []

    def visit(path="/", at=address, refused=(), **options):
        context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)

        def complain(text):
            if not any(part in text for part in refused):
                complaints.append(text)

        def note(request):
            if not request.url.startswith((at, "blob:" + at)):
                elsewhere.append(request.url)

        page.on("console", lambda said: said.type in ("error", "warning") and complain(said.text))
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("request", note)
        page.goto(at + path)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert elsewhere == []
    assert complaints == []


@pytest.fixture
def ids(address):
    """Asks the service without the page: the ids that it finds, best first."""

    def ids(*parts, **asked):
        asked = {"parts": [{"weight": 1, **part} for part in parts], "k": 24, **asked}
        answer = httpx.post(f"{address}/api/search", json=asked)
        assert answer.status_code == 200, answer.text
        return [hit["id"] for hit in answer.json()["hits"]]

    return ids
