"""CLIP's text tower in numpy, against the tower itself."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from trichord.encoders.clip import ClipTextEncoder
from trichord.encoders.plain_clip import PlainClip
from trichord.encoders.plain_text import Source
from trichord.types.tensors import Padded

TEXTS = (
    "a red ball bounces",
    "ball",
    "It's 1,234 – naïve Ünïcode; 字 <|endoftext|> and what follows",
    "  two   blanks\tand\nlines ",
    "a long sentence " * 40,
)


@pytest.fixture
def folder(tiny_towers, tmp_path):
    """A CLIP model of the test's own."""
    return shutil.copytree(tiny_towers / "clip", tmp_path / "clip")


def both(folder, run=None, change=None, longest=77):
    """The tower, and what numpy makes of it."""
    tower = ClipTextEncoder(str(folder), longest=longest)
    if change is not None:
        change(tower)
    place = folder / "tokenizer.saved"
    place.write_text(tower.tokenizer.backend_tokenizer.to_str())
    return tower, PlainClip(source_of(folder, run, tower.max_tokens), place)


def source_of(folder, run=None, longest=77):
    files = [str(folder / "model.safetensors")] + ([str(run)] if run else [])
    return Source(
        kind="clip_text", role="text", folder=str(folder), files=files, longest=longest,
        end=None, pad=None,
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


@pytest.mark.parametrize("longest", [77, 32, 8])
def test_vectors_are_those_of_the_tower(folder, longest):
    tower, plain = both(folder, longest=longest)
    np.testing.assert_allclose(plain.embed(TEXTS), vectors(tower, TEXTS), atol=2e-6)


def test_a_vector_does_not_depend_on_its_company(folder):
    _, plain = both(folder)
    alone = np.concatenate([plain.embed([text]) for text in TEXTS])
    assert np.array_equal(plain.embed(TEXTS), alone)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu", "relu"])
def test_each_activation_is_the_towers_own(folder, activation):
    rewrite(folder, hidden_act=activation)
    tower, plain = both(folder)
    np.testing.assert_allclose(plain.embed(TEXTS), vectors(tower, TEXTS), atol=2e-6)


def test_the_end_of_text_of_old_configurations_is_the_highest_id(folder):
    """They say 2, whatever the vocabulary: the published CLIP models do."""
    rewrite(folder, eos_token_id=2)
    tower, plain = both(folder)
    ids = tower.prepare(["a red ball"])[0]
    assert plain.tokens("a red ball").tolist() == ids[: int(ids.argmax()) + 1].tolist()
    np.testing.assert_allclose(plain.embed(TEXTS), vectors(tower, TEXTS), atol=2e-6)


def test_weights_in_half_precision_are_read_in_float32(folder):
    weights = {key: value.half() for key, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    tower, plain = both(folder)
    np.testing.assert_allclose(plain.embed(TEXTS), vectors(tower, TEXTS), atol=2e-6)


def test_a_run_has_its_own_head_and_trunk(folder, tmp_path):
    def change(tower):
        with torch.no_grad():
            tower.head.weight.mul_(-0.5).add_(0.01)
            tower.trunk.model.final_layer_norm.bias.add_(0.3)

    changed = ClipTextEncoder(str(folder))
    change(changed)
    run = tmp_path / "weights.safetensors"
    state = {f"model.text.{k}": v.clone() for k, v in changed.state_dict().items()}
    save_file(state | {"model.vision.head.weight": torch.zeros(2, 2)}, run)
    tower, plain = both(folder, run, change)
    np.testing.assert_allclose(plain.embed(TEXTS), vectors(tower, TEXTS), atol=2e-6)


def test_another_kind_of_model_is_refused(folder, tiny_towers):
    both(folder)
    tokenizer = folder / "tokenizer.saved"
    with pytest.raises(ValueError, match="holds no model of type clip"):
        PlainClip(source_of(tiny_towers / "clap"), tokenizer)
    rewrite(folder, hidden_act="relu6")
    with pytest.raises(ValueError, match="No such activation here: relu6"):
        PlainClip(source_of(folder), tokenizer)


def test_a_damaged_tokenizer_is_refused(folder):
    (folder / "tokenizer.saved").write_text("{}")
    with pytest.raises(ValueError, match="is no tokenizer"):
        PlainClip(source_of(folder), folder / "tokenizer.saved")
