import numpy as np
import pytest
import torch
from transformers import CLIPModel

from trichord.config import ClipText, ClipVision
from trichord.encoders.clip import ClipTextEncoder, ClipVisionEncoder, restore_spacing
from trichord.types import UserError
from trichord.types.tensors import Padded


@pytest.fixture(scope="module")
def text(tiny_towers):
    return ClipTextEncoder(ClipText(name=str(tiny_towers / "clip"))).eval()


@pytest.fixture(scope="module")
def words(tiny_towers):
    """Texts as the features of their tokens."""
    return ClipTextEncoder(ClipText(name=str(tiny_towers / "clip"), tokens=True)).eval()


@pytest.fixture(scope="module")
def vision(tiny_towers):
    return ClipVisionEncoder(ClipVision(name=str(tiny_towers / "clip"), max_frames=8)).eval()


def test_text_vectors_are_those_of_transformers_whatever_the_padding(text, tiny_towers):
    model = CLIPModel.from_pretrained(tiny_towers / "clip").eval()
    texts = ["a red ball", "a low bell rings slowly on the beach and someone says good morning"]
    together = text(text.trunk_features(Padded.stack(list(text.prepare(texts)[:, None])))).pooled
    for row, one in zip(together, texts, strict=True):
        ids = text.tokenizer([one], return_tensors="pt")
        expected = model.get_text_features(**ids).pooler_output[0]
        torch.testing.assert_close(row, expected / expected.norm(), atol=1e-5, rtol=0)


def test_a_text_ends_at_its_first_end_or_with_its_last_token(text):
    end, word = text.end, text.end + 5
    ids = torch.tensor([[word, word, end, end], [word, word, word, end], [word] * 4])
    assert text.lengths(ids).tolist() == [3, 4, 4]


TEXTS = ["a red ball", "bell", "a low bell rings slowly on the beach and someone says good morning"]


def rows_of(encoder, texts, missing=()):
    ids = encoder.prepare(texts)[:, None]
    there = torch.tensor([[i not in missing] for i in range(len(texts))])
    return Padded(ids, there)


@torch.inference_mode()
def test_words_or_not_the_caption_has_the_same_vector(text, words):
    inputs = rows_of(text, TEXTS)
    expected = text(text.trunk_features(inputs)).pooled
    torch.testing.assert_close(
        words(words.trunk_features(inputs)).pooled, expected, atol=1e-6, rtol=0
    )


@torch.inference_mode()
def test_each_token_up_to_the_end_of_text_is_a_step(words, tiny_towers):
    model = CLIPModel.from_pretrained(tiny_towers / "clip").eval()
    read = words.trunk_features(rows_of(words, TEXTS))
    found = words(read)
    lengths = [len(ids) for ids in words.tokenizer(TEXTS)["input_ids"]]
    assert len(set(lengths)) == 3
    width = read.mask.shape[1]
    assert width % 8 == 0
    assert width - 8 < max(lengths) <= width
    for row, (one, length) in enumerate(zip(TEXTS, lengths, strict=True)):
        assert read.mask[row].tolist() == [True] * length + [False] * (width - length)
        assert not read.values[row, length:].any()
        hidden = model.text_model(**words.tokenizer([one], return_tensors="pt")).last_hidden_state
        torch.testing.assert_close(read.values[row, :length], hidden[0], atol=1e-5, rtol=0)
        expected = model.text_projection(hidden[0])
        torch.testing.assert_close(found.steps[row, :length], expected, atol=1e-5, rtol=0)
        unit = expected[-1] / expected[-1].norm()
        torch.testing.assert_close(found.pooled[row], unit, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_missing_caption_has_no_words_and_no_vector(words):
    found = words(words.trunk_features(rows_of(words, TEXTS, missing=(0, 2))))
    alone = words(words.trunk_features(rows_of(words, TEXTS[1:2])))
    assert found.present.tolist() == [False, True, False]
    torch.testing.assert_close(found.pooled[1], alone.pooled[0], atol=1e-6, rtol=0)
    assert not found.pooled[[0, 2]].any()


@torch.inference_mode()
def test_a_batch_without_any_caption_has_no_words(text, words):
    for encoder in (text, words):
        found = encoder(encoder.trunk_features(rows_of(encoder, TEXTS, missing=(0, 1, 2))))
        assert not found.present.any()
        assert not found.pooled.any()


@torch.inference_mode()
def test_words_in_half_precision_still_have_vectors_in_full(text, words):
    inputs = rows_of(text, TEXTS)
    with torch.autocast("cpu", torch.bfloat16):
        for encoder in (text, words):
            found = encoder(encoder.trunk_features(inputs)).pooled
            assert found.dtype == torch.float32
            torch.testing.assert_close(found.norm(dim=1), torch.ones(3))


def test_fingerprints_tell_words_and_lengths_apart(text, words, tiny_towers):
    short = ClipTextEncoder(ClipText(name=str(tiny_towers / "clip"), longest=8))
    assert len({text.fingerprint, words.fingerprint, short.fingerprint}) == 3


@torch.inference_mode()
def test_a_text_is_cut_where_it_was_asked_to_and_keeps_its_end(tiny_towers, text):
    for tokens in (False, True):
        short = ClipTextEncoder(
            ClipText(name=str(tiny_towers / "clip"), tokens=tokens, longest=5)
        ).eval()
        ids = short.prepare(TEXTS)
        assert ids.shape == (3, 5)
        whole = text.tokenizer(TEXTS[2])["input_ids"]
        assert ids[2].tolist() == [*whole[:4], text.tokenizer.eos_token_id]
        assert short.count_cut(TEXTS) == sum(len(i) > 5 for i in text.tokenizer(TEXTS)["input_ids"])
        found = short(short.trunk_features(Padded.stack(list(ids[:, None]))))
        assert found.mask.sum(dim=1).tolist() == ([5, 3, 5] if tokens else [1, 1, 1])
        expected = text(
            text.trunk_features(Padded(ids[:, None], torch.ones(3, 1, dtype=torch.bool)))
        )
        torch.testing.assert_close(found.pooled, expected.pooled, atol=1e-6, rtol=0)


def test_image_vectors_are_those_of_transformers(vision, tiny_towers):
    model = CLIPModel.from_pretrained(tiny_towers / "clip").eval()
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 48, 3), dtype=np.uint8)
    steps = vision.head(vision.run_trunk(vision.prepare(frames)))
    pixels = vision.processor(list(frames), return_tensors="pt")
    torch.testing.assert_close(
        steps, model.get_image_features(**pixels).pooler_output, atol=1e-5, rtol=0
    )


def test_over_long_texts_are_cut_and_counted(text):
    long = "ball " * 100
    assert text.prepare([long]).shape[1] == 77
    assert text.count_cut([long, "a ball"]) == 1


def test_no_frames_make_no_steps(vision):
    assert vision.no_steps().shape == (0, 3, 32, 32)


def test_frames_are_planned_at_the_side_of_the_tower(vision):
    assert vision.frames.short_side == 32
    assert vision.frames.count == 8


def test_an_unknown_model_is_one_clear_line():
    with pytest.raises(UserError, match=r"'no/such-model' cannot be fetched: .*offline.md"):
        ClipTextEncoder(ClipText(name="no/such-model"))


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="has no Config that can be read"):
        ClipVisionEncoder(ClipVision(name=str(tmp_path), max_frames=8))


@pytest.mark.parametrize(
    ("spelt", "written"),
    [
        ("a mid - sized lamp , with shrill piping .", "a mid-sized lamp, with shrill piping."),
        ('a woman says " turn left " ; a dog barks', 'a woman says "turn left"; a dog barks'),
        ("a dog 's bark ( loud ) isn 't heard !", "a dog's bark (loud) isn't heard!"),
        ('he says " a " and " b " .', 'he says "a" and "b".'),
        ('it ends in "', 'it ends in "'),
        ("  plain   words ", "plain words"),
        ("", ""),
    ],
)
def test_blanks_stand_where_people_write_them(spelt, written):
    assert restore_spacing(spelt) == written
    assert restore_spacing(written) == written


def test_looked_up_values_are_those_of_the_image_processor(vision):
    random = np.random.default_rng(0)
    for shape in ((3, 32, 47, 3), (2, 41, 32, 3), (1, 20, 60, 3)):  # the last one is to be enlarged
        frames = random.integers(0, 256, shape, dtype=np.uint8)
        expected = vision.processor(list(frames), return_tensors="pt")["pixel_values"]
        assert torch.equal(vision.prepare(frames), expected)


def test_keyframes_alone_are_another_preparation_and_the_default_is_not(tiny_towers, vision):
    name = str(tiny_towers / "clip")
    keys = ClipVisionEncoder(ClipVision(name=name, max_frames=8, nearest="keyframe"))
    assert keys.frames.nearest == "keyframe"
    assert "nearest" not in vision.decoding()["frames"]
    assert keys.fingerprint != vision.fingerprint
