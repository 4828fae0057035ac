import json
import shutil

import numpy as np
import pytest
import torch
from transformers import ClapModel

from trichord.config import Clap, ClapText
from trichord.encoders.clap import ClapEncoder, ClapTextEncoder, chunks
from trichord.types import UserError
from trichord.types.tensors import Padded

RATE = 16_000


@pytest.fixture(scope="module")
def audio(tiny_towers):
    return encoder(tiny_towers)


def encoder(tiny_towers, **changes):
    return ClapEncoder(Clap(name=str(tiny_towers / "clap"), **changes)).eval()


def wave(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "lengths"),
    [(0, []), (1, [1]), (4, [4]), (10, [10]), (11, [10]), (12, [10, 2]), (30, [10, 10, 10])],
)
def test_chunks_keep_a_tail_that_is_long_enough_or_alone(samples, lengths):
    cut = chunks(np.arange(samples, dtype=np.float32), 10, 2)
    assert [len(one) for one in cut] == lengths
    if cut:
        assert np.array_equal(np.concatenate(cut), np.arange(sum(lengths)))


def test_a_chunk_has_the_vector_that_transformers_gives_it(audio, tiny_towers):
    model = ClapModel.from_pretrained(tiny_towers / "clap").eval()
    heard = wave(2.0)
    inputs = audio.extractor(heard, sampling_rate=RATE, return_tensors="pt")["input_features"]
    expected = model.get_audio_features(input_features=inputs.float()).pooler_output
    found = audio(audio.trunk_features(Padded.stack([audio.prepare(heard)]))).pooled
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_long_sound_is_the_same_every_time(audio):
    heard = wave(7.3)
    assert torch.equal(audio.prepare(heard), audio.prepare(heard))
    assert len(audio.prepare(heard)) == 4  # 2 + 2 + 2 s and a tail of 1.3 s


def test_no_sound_makes_no_steps_of_the_right_shape(audio):
    nothing, something = audio.no_steps(), audio.prepare(wave(1))
    assert len(nothing) == 0
    assert nothing.shape[1:] == something.shape[1:]


def test_a_linear_head_is_new_and_one_layer(tiny_towers):
    head = encoder(tiny_towers, head="linear").head
    assert isinstance(head, torch.nn.Linear)
    assert head.weight.shape == (24, 32)


def test_the_tail_rule_belongs_to_the_fingerprint(tiny_towers, audio):
    assert encoder(tiny_towers, min_tail_seconds=0.5).fingerprint != audio.fingerprint


def test_a_fused_model_is_refused(tiny_towers, tmp_path):
    shutil.copytree(tiny_towers / "clap", tmp_path / "fused")
    path = next((tmp_path / "fused").glob("*processor*.json"))
    settings = json.loads(path.read_text()) | {"truncation": "fusion"}
    path.write_text(json.dumps(settings))
    with pytest.raises(UserError, match="prepares sound for a fused one"):
        ClapEncoder(Clap(name=str(tmp_path / "fused")))


def test_fused_weights_are_refused_whatever_their_preprocessor_says(tiny_towers, tmp_path):
    model = ClapModel.from_pretrained(tiny_towers / "clap")
    config = model.config
    config.audio_config.enable_fusion = True
    config.audio_config.aff_block_r = 2
    shutil.copytree(tiny_towers / "clap", tmp_path / "fused")
    ClapModel(config).save_pretrained(tmp_path / "fused")
    with pytest.raises(UserError, match="not deterministic"):
        ClapEncoder(Clap(name=str(tmp_path / "fused")))
    ClapTextEncoder(ClapText(name=str(tmp_path / "fused")))  # its text tower is like any other


def test_claps_own_text_tower_gives_its_vectors(tiny_towers):
    text = ClapTextEncoder(ClapText(name=str(tiny_towers / "clap"))).eval()
    model = ClapModel.from_pretrained(tiny_towers / "clap").eval()
    texts = ["a low bell", "someone says good morning slowly"]
    found = text(text.trunk_features(Padded.stack(list(text.prepare(texts)[:, None])))).pooled
    for row, one in zip(found, texts, strict=True):
        expected = model.get_text_features(**text.tokenizer([one], return_tensors="pt"))
        torch.testing.assert_close(row, expected.pooler_output[0], atol=1e-5, rtol=0)
    assert text.count_cut(["bell " * 90]) == 1


def test_a_text_that_holds_the_paddings_sign_keeps_its_end(tiny_towers):
    text = ClapTextEncoder(ClapText(name=str(tiny_towers / "clap")))
    p = text.pad
    ids = torch.tensor([[0, 5, p, 6, 2, p], [0, 5, 2, p, p, p], [0, 5, 6, 7, 8, 2]])
    assert text.lengths(ids).tolist() == [5, 3, 6]
