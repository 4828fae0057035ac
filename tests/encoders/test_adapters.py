"""Low-rank adapters in the trunks of encoders."""

import sys

import pytest
import torch
from small_families import siglip
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from trichord.config.training import Lora
from trichord.encoders.adapters import add_adapters, is_adapter, merge, remove_adapters
from trichord.encoders.weight_cache import shared_towers
from trichord.types import UserError
from trichord.types.extras import NotInstalledError


@pytest.fixture
def trunk(tiny_trimodal):
    return tiny_trimodal.vision.build().trunk


def adapted(trunk):
    """Layers that have an adapter."""
    return {name.partition(".lora_A")[0] for name in trunk.state_dict() if ".lora_A." in name}


def draw(trunk):
    """Numbers for the second matrices, which start at zero."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, value in trunk.named_parameters():
            if ".lora_B." in name:
                value.normal_(0, 0.3)


def test_attention_is_adapted_and_nothing_else_trains(trunk):
    add_adapters(trunk, Lora(rank=2), "The trunk")
    layers = adapted(trunk)
    assert layers
    assert {name.rpartition(".")[2] for name in layers} == {
        "q_proj",
        "k_proj",
        "v_proj",
        "out_proj",
    }
    trains = {name for name, value in trunk.named_parameters() if value.requires_grad}
    assert trains == {name for name in trunk.state_dict() if is_adapter(name)}


def test_layers_are_chosen_by_their_last_names_or_all_of_them(tiny_trimodal):
    def layers(*targets):
        trunk = tiny_trimodal.vision.build().trunk
        add_adapters(trunk, Lora(rank=2, targets=targets), "The trunk")
        return adapted(trunk)

    assert {name.rpartition(".")[2] for name in layers("fc1", "q_proj")} == {"fc1", "q_proj"}
    plain = tiny_trimodal.vision.build().trunk
    linear = {name for name, part in plain.named_modules() if isinstance(part, nn.Linear)}
    assert layers("all-linear") == linear


def test_unknown_layers_are_refused_with_those_that_there_are(trunk):
    before = trunk.state_dict().keys()
    with pytest.raises(
        UserError, match=r"^The vision trunk has no linear layer query: .*fc1, fc2, k_proj"
    ):
        add_adapters(trunk, Lora(rank=2, targets=("query",)), "The vision trunk")
    assert trunk.state_dict().keys() == before


def test_a_rank_above_the_size_of_a_layer_is_refused(trunk):
    with pytest.raises(UserError, match=r"lora\.rank 33: the trunk has a layer of 32 numbers"):
        add_adapters(trunk, Lora(rank=33), "The trunk")


def test_layers_that_torchs_attention_never_calls_get_no_adapters(tmp_path):
    from trichord.config import SiglipVision

    vision = SiglipVision(name=str(siglip(tmp_path / "siglip"))).build()
    assert any(isinstance(part, nn.MultiheadAttention) for part in vision.trunk.modules())
    vision.adapt(Lora(rank=2, targets=("all-linear",)))
    draw(vision.trunk)
    vision.trunk(vision.example()).sum().backward()
    adapters = [p for name, p in vision.trunk.named_parameters() if is_adapter(name)]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapters)


def test_merged_adapters_give_the_same_features_and_leave_shared_weights_alone(tiny_trimodal):
    with shared_towers():
        ours, theirs = tiny_trimodal.vision.build(), tiny_trimodal.vision.build()
        before = {name: value.clone() for name, value in theirs.trunk.state_dict().items()}
        plain, inputs = ours.fingerprint, ours.example()
        ours.adapt(Lora(rank=2, alpha=8))
        ours.train()
        draw(ours.trunk)
        ours.eval()
        with torch.no_grad():
            with_adapters = ours.trunk(inputs)
            assert (with_adapters - theirs.trunk(inputs)).abs().max() > 1e-3
            ours.merge_adapters()
            torch.testing.assert_close(ours.trunk(inputs), with_adapters, atol=1e-5, rtol=0)
    assert ours.trunk.state_dict().keys() == before.keys()
    assert all(
        torch.equal(value, before[name]) for name, value in theirs.trunk.state_dict().items()
    )
    assert ours.fingerprint != plain == theirs.fingerprint == ours.adapted_fingerprint
    assert not any(value.requires_grad for value in ours.trunk.parameters())


def test_adapters_of_another_trunk_change_nothing(trunk):
    add_adapters(trunk, Lora(rank=2), "The trunk")
    draw(trunk)
    adapters = remove_adapters(trunk)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    first = next(name for name in adapters if ".lora_A." in name)
    wrong = adapters | {first: torch.zeros(2, 7)}
    assert merge(trunk, wrong, Lora(rank=2)) == first
    assert merge(trunk, {f"other.{k}": v for k, v in adapters.items()}, Lora(rank=2))
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


def test_a_seed_draws_the_same_adapters_whatever_was_drawn_before(tiny_trimodal):
    def weights(seed):
        vision = tiny_trimodal.vision.build()
        torch.rand(3)
        vision.adapt(Lora(rank=2), seed)
        return {k: v for k, v in vision.trunk.state_dict().items() if ".lora_A." in k}

    one, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert not any(torch.equal(value, other[name]) for name, value in one.items())


def test_at_the_size_of_vit_b_they_are_smaller_than_five_megabytes():
    with torch.device("meta"):
        trunk = CLIPVisionModel(CLIPVisionConfig(patch_size=32))
        add_adapters(trunk, Lora(rank=8), "The trunk")
    adapters = [value for name, value in trunk.state_dict().items() if is_adapter(name)]
    layers, width = 12, 768
    assert sum(value.numel() for value in adapters) == layers * 4 * 2 * width * 8
    assert sum(value.nbytes for value in adapters) < 5e6


def test_without_peft_the_extra_is_named(trunk, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(NotInstalledError, match=r"pip install 'trichord\[lora\]'"):
        add_adapters(trunk, Lora(rank=2), "The trunk")
