import subprocess
import sys
import wave
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

import trichord
from trichord.api.model import Model
from trichord.types import UserError


@pytest.fixture
def model(tiny_model):
    with Model("tiny", tiny_model, workers=1) as one:
        yield one


def test_importing_trichord_loads_nothing_heavy():
    heavy = {"torch", "numpy", "transformers", "lance", "av"}
    code = f"import sys, trichord; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        trichord.nothing  # noqa: B018


def test_all_public_names_are_there():
    assert all(getattr(trichord, name) is not None for name in trichord.__all__)


def test_texts_are_unit_vectors_and_a_bare_text_is_refused(model):
    found = model.embed_text(["a red ball", "a low bell"])
    assert found.shape == (2, model.dim)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    with pytest.raises(UserError, match="takes a list of texts"):
        model.embed_text("a red ball")


def test_a_picture_is_the_same_as_file_as_array_and_as_image(model, folder):
    pixels = np.asarray(Image.open(folder / "still.png"))
    rows = model.embed_vision([folder / "still.png", pixels, Image.fromarray(pixels), pixels[None]])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    # The file's picture is made smaller by the decoder, an array by CLIP's own processor.
    np.testing.assert_allclose(rows[1:], np.repeat(rows[1:2], 3, axis=0), atol=1e-6)
    assert rows[0] @ rows[1] > 0.99


def test_a_sound_is_the_same_as_file_and_as_samples(model, folder):
    with wave.open(str(folder / "beep.wav")) as file:
        samples = np.frombuffer(file.readframes(-1), "<i2").astype(np.float32) / 32768
    both = np.stack([samples, samples])
    rows = model.embed_audio([folder / "beep.wav", (samples, 16_000), (both, 16_000)])
    np.testing.assert_allclose(rows[1:], rows[[0, 0]], atol=1e-5)
    # At another rate it is brought to the tower's.
    time = np.arange(44_100) / 44_100
    other = model.embed_audio([(0.4 * np.sin(2 * np.pi * 440 * time), 44_100)])
    assert other[0] @ rows[0] > 0.99


def test_what_is_missing_is_nan_and_never_zeros(model, folder):
    rows = model.embed_audio([folder / "still.png", folder / "beep.wav", (np.zeros(8000), 16_000)])
    assert np.isnan(rows).all(axis=1).tolist() == [True, False, True]
    assert np.isnan(model.embed_vision([folder / "beep.wav"])).all()
    assert model.embed_vision([]).shape == (0, model.dim)


def test_rows_do_not_depend_on_what_else_is_asked(model, folder):
    clips = [folder / "clip.mp4", folder / "still.png"] * 10
    together = model.embed_vision(clips)
    alone = model.embed_vision(clips[:1]), model.embed_vision(clips[1:2])
    np.testing.assert_allclose(together, np.concatenate(alone * 10), atol=1e-5)


def test_files_come_one_by_one_with_their_status(model, folder):
    asked = iter([folder / name for name in ("clip.mp4", "broken.mp4", "beep.wav", "still.png")])
    found = list(model.embed_files(asked))
    assert [one.status for one in found] == ["ok", "corrupt", "no_video", "no_audio"]
    assert [(one.vision is not None, one.audio is not None) for one in found] == [
        (True, True), (False, False), (False, True), (True, False)
    ]  # fmt: skip
    assert found[1].reason
    np.testing.assert_allclose(
        found[0].vision, model.embed_vision([folder / "clip.mp4"])[0], atol=1e-5
    )
    assert asdict(found[0])["file"].endswith("clip.mp4")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda m, f: m.embed_vision(str(f / "still.png")), "takes a list"),
        (lambda m, f: m.embed_vision([f / "broken.mp4"]), r"broken\.mp4 cannot be read \(corrupt"),
        (lambda m, f: m.embed_audio([f / "nothing.wav"]), r"nothing\.wav cannot be read"),
        (lambda m, f: m.embed_vision([np.zeros((4, 4))]), "give uint8"),
        (lambda m, f: m.embed_audio([np.zeros(9)]), "pair"),
        (lambda m, f: m.embed_audio([(np.full(9, np.nan), 16_000)]), "finite samples"),
        (lambda m, f: m.embed_audio([(np.zeros(9), 3)]), "at 3 Hz"),
        (lambda m, f: m.embed_audio([(np.ones((16_000, 2)), 16_000)]), r"\(16000, 2\).*samples\.T"),
    ],
)
def test_mistakes_are_told_in_a_line(call, told, model, folder):
    with pytest.raises(UserError, match=told) as error:
        call(model, folder)
    assert "\n" not in str(error.value)


def test_closed_it_can_be_used_again(model, folder):
    before = model.embed_audio([folder / "beep.wav"])
    model.close()
    assert np.array_equal(model.embed_audio([folder / "beep.wav"]), before)


def test_a_run_or_an_experiment_is_loaded_and_nothing_else(tmp_path):
    with trichord.load("world-clip-clap") as untrained:
        assert not untrained.compares("audio", "vision")
        assert untrained.comparable == {("text", "vision"), ("text", "audio")}
        assert untrained.embed_text(["a bell"], "audio").shape == (1, 128)
    with pytest.raises(UserError, match="did you mean 'clip-clap'"):
        trichord.load("clip-clp")
    with pytest.raises(UserError, match="no GPU"):
        trichord.load("world-clip-clap", device="cuda")
