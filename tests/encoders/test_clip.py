import numpy as np
import pytest
import torch
from transformers import CLIPModel

from trichord.encoders.clip import ClipTextEncoder, ClipVisionEncoder
from trichord.types import UserError
from trichord.types.tensors import Padded


@pytest.fixture(scope="module")
def text(tiny_towers):
    return ClipTextEncoder(str(tiny_towers / "clip")).eval()


@pytest.fixture(scope="module")
def vision(tiny_towers):
    return ClipVisionEncoder(str(tiny_towers / "clip"), frames_per_second=1.0, max_frames=8).eval()


def test_text_vectors_are_those_of_transformers_whatever_the_padding(text, tiny_towers):
    model = CLIPModel.from_pretrained(tiny_towers / "clip").eval()
    texts = ["a red ball", "a low bell rings slowly on the beach and someone says good morning"]
    together = text(text.read(Padded.stack(list(text.prepare(texts)[:, None])))).pooled
    for row, one in zip(together, texts, strict=True):
        ids = text.tokenizer([one], return_tensors="pt")
        expected = model.get_text_features(**ids).pooler_output[0]
        torch.testing.assert_close(row, expected / expected.norm(), atol=1e-5, rtol=0)


def test_image_vectors_are_those_of_transformers(vision, tiny_towers):
    model = CLIPModel.from_pretrained(tiny_towers / "clip").eval()
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 48, 3), dtype=np.uint8)
    steps = vision.head(vision.read_steps(vision.prepare(frames)))
    pixels = vision.processor(list(frames), return_tensors="pt")
    torch.testing.assert_close(
        steps, model.get_image_features(**pixels).pooler_output, atol=1e-5, rtol=0
    )


def test_over_long_texts_are_cut_and_counted(text):
    long = "ball " * 100
    assert text.prepare([long]).shape[1] == 77
    assert text.count_cut([long, "a ball"]) == 1


def test_no_frames_make_no_steps(vision):
    assert vision.prepare(np.zeros((0, 1, 1, 3), np.uint8)).shape == (0, 3, 32, 32)


def test_frames_are_planned_at_the_side_of_the_tower(vision):
    assert vision.frames.short_side == 32
    assert vision.frames.count == 8


def test_an_unknown_model_is_one_clear_line():
    with pytest.raises(UserError, match=r"'no/such-model' could not be loaded.*local folder"):
        ClipTextEncoder("no/such-model")


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="could not be loaded in that folder"):
        ClipVisionEncoder(str(tmp_path), frames_per_second=1.0, max_frames=8)
