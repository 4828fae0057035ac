"""CLAP's text tower in numpy, against the tower itself."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from trichord.encoders.clap import ClapTextEncoder
from trichord.encoders.plain_clap import PlainClap
from trichord.encoders.plain_text import Source
from trichord.types.tensors import Padded

TEXTS = (
    "a low bell rings slowly",
    "bell",
    "It's 1,234 – naïve Ünïcode; 字 <pad><pad> in the middle </s> and what follows",
    "  two   blanks\tand\nlines ",
    "a long sentence " * 40,
)


@pytest.fixture
def folder(tiny_towers, tmp_path):
    """A CLAP model of the test's own."""
    return shutil.copytree(tiny_towers / "clap", tmp_path / "clap")


def both(folder, run=None, change=None):
    """The tower, and what numpy makes of it."""
    tower = ClapTextEncoder(str(folder))
    with torch.no_grad():
        for value in tower.parameters() if change else ():
            value.copy_(change(value))
    place = folder / "tokenizer.saved"
    place.write_text(tower.tokenizer.backend_tokenizer.to_str())
    return tower, PlainClap(source_of(folder, run, tower.pad), place)


def source_of(folder, run=None, pad=1):
    files = [str(folder / "model.safetensors")] + ([str(run)] if run else [])
    return Source(
        kind="clap_text", role="sound_text", folder=str(folder), files=files, longest=77,
        end=None, pad=pad,
    )  # fmt: skip


def vectors(tower, texts):
    ids = tower.prepare(list(texts))[:, None]
    there = torch.ones(len(texts), 1, dtype=torch.bool)
    with torch.inference_mode():
        return tower(tower.read(Padded(ids, there))).pooled.numpy()


def rewrite(folder, **changes):
    told = json.loads((folder / "config.json").read_text())
    told["text_config"] |= changes
    (folder / "config.json").write_text(json.dumps(told))


def test_vectors_are_those_of_the_tower(folder):
    tower, plain = both(folder)
    np.testing.assert_allclose(plain.embed(TEXTS), vectors(tower, TEXTS), atol=2e-6)


def test_a_vector_does_not_depend_on_its_company(folder):
    _, plain = both(folder)
    alone = np.concatenate([plain.embed([text]) for text in TEXTS])
    assert np.array_equal(plain.embed(TEXTS), alone)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "quick_gelu"},
        {"projection_hidden_act": "gelu"},
        {"layer_norm_eps": 0.1},
        {"num_attention_heads": 4},
    ],
)
def test_what_a_configuration_says_is_heeded(folder, changes):
    _, before = both(folder)
    rewrite(folder, **changes)
    tower, plain = both(folder)
    np.testing.assert_allclose(plain.embed(TEXTS), vectors(tower, TEXTS), atol=2e-6)
    assert np.abs(plain.embed(TEXTS) - before.embed(TEXTS)).max() > 1e-5


def test_a_run_has_its_own_head_and_trunk(folder, tmp_path):
    def change(value):
        return value + 0.3 * torch.sin(torch.arange(value.numel())).reshape(value.shape)

    changed, _ = both(folder, change=change)
    run = tmp_path / "weights.safetensors"
    state = {f"model.sound_text.{k}": v.clone() for k, v in changed.state_dict().items()}
    save_file(state | {"model.text.head.weight": torch.zeros(2, 2)}, run)
    tower, plain = both(folder, run, change)
    np.testing.assert_allclose(plain.embed(TEXTS), vectors(tower, TEXTS), atol=2e-6)


def test_another_kind_of_model_is_refused(folder, tiny_towers):
    both(folder)
    tokenizer = folder / "tokenizer.saved"
    with pytest.raises(ValueError, match="holds no model of type clap"):
        PlainClap(source_of(tiny_towers / "clip"), tokenizer)
    with pytest.raises(ValueError, match="pad differently"):
        PlainClap(source_of(folder, pad=7), tokenizer)
