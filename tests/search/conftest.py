"""A small archive whose content is known, and a collection of it."""

import importlib.util
import shutil
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from trichord.media import Decoder
from trichord.search.indexing import begin, index
from trichord.search.table import Entry, FileEntries, FileVersion, MomentTable
from trichord.storage import Storage
from trichord.types import Moment

RATE = 16_000
SECONDS = 2.0
COLOURS = {"red": (200, 30, 30), "blue": (30, 40, 200), "green": (20, 160, 60)}


def square(colour, step, background=(240, 240, 235)):
    """A coloured square that moves to the right."""
    picture = np.full((48, 64, 3), background, np.uint8)
    left = 4 + 2 * step % 36
    picture[12:36, left : left + 24] = colour
    return picture


def tone(pitch, seconds, loudness=0.4):
    """A tone with an overtone, float32 (samples,)."""
    time = np.arange(round(seconds * RATE)) / RATE
    wave = np.sin(2 * np.pi * pitch * time) + 0.5 * np.sin(4 * np.pi * pitch * time)
    return (loudness * wave / 1.5).astype(np.float32)


def write_sound(container, stream, wave):
    step = stream.codec_context.frame_size or 1024
    for start in range(0, len(wave), step):
        piece = wave[None, start : start + step]
        if stream.codec_context.format.name == "s16":
            piece = (piece * 32767).round().astype(np.int16)
        frame = av.AudioFrame.from_ndarray(
            piece, format=stream.codec_context.format.name, layout="mono"
        )
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def make_video(path, colour, wave=None, seconds=4.0, fps=5):
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=fps, options={"g": "5"})
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = None if wave is None else container.add_stream("aac", rate=RATE, layout="mono")
        for step in range(round(seconds * fps)):
            frame = av.VideoFrame.from_ndarray(square(colour, step), format="rgb24")
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if sound is not None:
            write_sound(container, sound, wave)


def make_sound(path, wave):
    with av.open(str(path), "w") as container:
        write_sound(container, container.add_stream("pcm_s16le", rate=RATE, layout="mono"), wave)


@pytest.fixture(scope="session")
def load():
    """Loads a script that lies beside the tests as a module."""

    def load(path):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """Files of every kind, made once: treat as read-only."""
    folder = tmp_path_factory.mktemp("rendered")
    make_video(folder / "red.mp4", COLOURS["red"], tone(220, 4.0))
    make_video(folder / "blue.mp4", COLOURS["blue"], tone(1500, 4.0))
    make_video(folder / "mute.mp4", COLOURS["green"])
    half = np.concatenate([tone(600, 2.0), np.zeros(2 * RATE, np.float32)])
    # Uncompressed, so that the second half is silence and not an encoder's remnant of it.
    make_sound(folder / "half.wav", half)
    make_sound(folder / "tone.wav", tone(3000, 3.5))
    Image.fromarray(square((250, 200, 0), 3, (20, 20, 60))).save(folder / "still.png")
    (folder / "broken.mp4").write_bytes((folder / "red.mp4").read_bytes()[:700])
    return folder


@pytest.fixture
def archive(rendered, tmp_path):
    """A folder of its own with the rendered files, one of them in a folder below."""
    folder = tmp_path / "archive"
    shutil.copytree(rendered, folder)
    (folder / "more").mkdir()
    (folder / "tone.wav").rename(folder / "more" / "it's a tone.wav")
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny layers: threads would spend their time waiting for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def decoder():
    with Decoder(workers=2) as decoder:
        yield decoder


@pytest.fixture
def clip4vla(tiny_clip4vla):
    """Builds a model with CLIP4VLA's audio tower whose audio type token and fusion make a difference."""
    import torch

    from trichord.config import Cross

    def build(token=0.5, level=None, text_slots=77, frame_slots=64):
        slots = {"text_slots": text_slots, "frame_slots": frame_slots}
        cross = level and Cross(level=level, from_text=False, heads=2, layers=1, **slots)
        model = replace(
            tiny_clip4vla,
            text=replace(tiny_clip4vla.text, tokens=level == "local_to_local"),
            audio=replace(tiny_clip4vla.audio, token=token),
            fusion=cross,
        )
        built = model.build().eval()
        torch.manual_seed(3)
        trunk = built.audio.audio_trunk
        trunk.positions.data[-1] = 0.0
        trunk.tokens.data = torch.randn_like(trunk.tokens)
        for value in built.fusion.parameters() if cross else ():
            torch.nn.init.normal_(value, std=0.3)
        return built

    return build


@pytest.fixture
def start(tmp_path):
    """Makes or opens the collection of a model, with moments of two seconds."""

    def start(model, name="collection", seconds=SECONDS):
        return begin(tmp_path / name, str(tmp_path / "run"), model, seconds, seconds)

    return start


def contents(collection):
    """Everything the table holds, vectors apart, and the vectors."""
    read = collection.table.read_files(list(collection.table.files()))
    marks = [
        (
            one.version,
            entry.moment,
            entry.status,
            entry.vision is None,
            entry.audio is None,
            entry.thumbnail,
            entry.caption,
            entry.tags,
        )
        for one in read
        for entry in one.entries
    ]
    gallery = collection.table.gallery()
    return marks, np.hstack([gallery.vision, gallery.audio])


def assert_equal(one, other):
    """Two collections hold the same, and were calibrated alike."""
    (marks, vectors), (others, other_vectors) = contents(one), contents(other)
    assert marks == others
    assert np.abs(vectors - other_vectors).max() < 1e-5
    for kind in ("text", "vision", "audio", "both"):
        a = one.description.calibration.of_kind(kind)
        b = other.description.calibration.of_kind(kind)
        assert a.vision.spread == pytest.approx(b.vision.spread, abs=1e-4)
        assert a.audio.location == pytest.approx(b.audio.location, abs=1e-4)
        assert a.agreement == pytest.approx(b.agreement, abs=1e-3)


@pytest.fixture(name="contents")
def contents_():
    return contents


@pytest.fixture(name="assert_equal")
def assert_equal_():
    return assert_equal


@pytest.fixture
def collection(start, tiny_model, decoder, archive):
    """The indexed archive."""
    made = start(tiny_model)
    list(index(made, tiny_model, decoder, [archive]))
    return made


def file_entries(file, count, value=1.0, signature="s", audio=True):
    """A file of `count` moments whose vectors hold `value`."""
    return FileEntries(
        version=FileVersion(file=file, signature=signature, size=count, mtime_ns=7),
        entries=tuple(
            Entry(
                moment=Moment(file=file, start=float(i), end=i + 1.0),
                status="ok" if audio else "no_audio",
                vision=np.full(3, value, np.float32),
                audio=np.full(2, value, np.float32) if audio else None,
            )
            for i in range(count)
        ),
    )


@pytest.fixture(name="entries")
def entries_():
    return file_entries


@pytest.fixture
def table(tmp_path):
    """Of vectors of three and two numbers."""
    return MomentTable(Storage(tmp_path), "moments.lance", 3, 2)


@pytest.fixture
def told(table, entries):
    """Two files with captions, tags, thumbnails, speech and durations."""

    def told(entry, caption, tags):
        return replace(entry, caption=caption, tags=tags, thumbnail=b"jpeg", speech=0.25)

    first, second = entries("a", 3), entries("b", 1)
    changed = (
        told(first.entries[0], "a dog barks", ("z", "loud")),
        told(first.entries[1], "a cat and a dog sleep in the sun", ()),
        first.entries[2],
    )
    version = replace(first.version, duration=3.5)
    table.put([FileEntries(version=version, entries=changed), second])
    return table
