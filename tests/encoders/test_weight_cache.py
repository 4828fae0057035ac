"""A command reads a pretrained tower once; models that change its weights have copied them before."""

import shutil
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from trichord.checkpoint.weights import load_owned
from trichord.encoders import clap, clip, pretrained
from trichord.encoders import weight_cache as module
from trichord.encoders.encoder import Encoder
from trichord.encoders.weight_cache import known_fingerprints, shared_towers, unshare

TOWERS = ("text", "vision", "audio")


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(model, expected):
    found = model.state_dict()
    assert found.keys() == expected.keys()
    return all(torch.equal(found[name], value) for name, value in expected.items())


def memory(tower):
    return [one.data_ptr() for one in [*tower.trunk.parameters(), *tower.trunk.buffers()]]


@pytest.fixture
def reads(monkeypatch):
    """The names of what was read of a disk."""
    names = []

    def noting(read):
        def noted(kind, *arguments):
            names.append(kind.__name__)
            return read(kind, *arguments)

        return noted

    monkeypatch.setattr(module, "load", noting(pretrained.load))
    for family in (clip, clap):
        monkeypatch.setattr(family, "load_model", noting(pretrained.load_model))
    return names


def test_models_are_what_they_are_without(tiny_trimodal):
    torch.manual_seed(3)
    alone = tiny_trimodal.build()
    drawn = torch.rand(2)
    with shared_towers():
        for _ in range(2):  # the one that reads, and one that is lent
            torch.manual_seed(3)
            model = tiny_trimodal.build()
            assert torch.equal(torch.rand(2), drawn)  # what is drawn next does not depend on it
            assert same(model, weights(alone))
            assert not any(one.requires_grad for one in model.text.trunk.parameters())
            for name in TOWERS:
                there = getattr(model, name)
                assert there.fingerprint == getattr(alone, name).fingerprint
                assert [n for n, _ in there.trunk.named_buffers()] == [
                    n for n, _ in getattr(alone, name).trunk.named_buffers()
                ]


def test_a_tower_is_read_and_printed_once(tiny_trimodal, reads, monkeypatch):
    digests = []
    digest = Encoder._digest
    monkeypatch.setattr(
        Encoder, "_digest", lambda self, of: (digests.append(of), digest(self, of))[1]
    )
    with shared_towers():
        models = [tiny_trimodal.build() for _ in range(3)]
        for name in TOWERS:
            assert len({getattr(model, name).fingerprint for model in models}) == 1
            assert memory(getattr(models[0], name)) == memory(getattr(models[2], name))
    assert sorted(reads) == sorted(set(reads))
    assert len(reads) == 6
    assert len(digests) == 3


def test_the_same_weights_prepared_otherwise_have_another_fingerprint(tiny_trimodal):
    with shared_towers():
        plain = tiny_trimodal.build().text
        short = replace(tiny_trimodal, text=replace(tiny_trimodal.text, longest=5)).build().text
        assert memory(plain) == memory(short)
        assert plain.fingerprint != short.fingerprint


def test_without_it_nothing_is_lent(tiny_trimodal, reads):
    one, other = tiny_trimodal.build(), tiny_trimodal.build()
    assert not set(memory(one.text)) & set(memory(other.text))
    assert len(reads) == 12
    assert known_fingerprints(one.text.trunk) == {}


def test_heads_are_every_models_own(tiny_trimodal):
    with shared_towers():
        one, other = tiny_trimodal.build(), tiny_trimodal.build()
        expected = weights(other)
        with torch.no_grad():
            for name in TOWERS:
                for weight in getattr(one, name).head.parameters():
                    weight.add_(1)
    assert same(other, expected)


@pytest.mark.parametrize("name", TOWERS)
def test_a_tower_that_trains_changes_no_other_model(tiny_trimodal, name):
    with shared_towers():
        one, other = tiny_trimodal.build(), tiny_trimodal.build()
        expected = weights(other)
        tower = getattr(one, name)
        before = tower.fingerprint
        known = list(tower.trunk.parameters())
        tower.unfreeze()
        assert [id(weight) for weight in tower.trunk.parameters()] == [id(one) for one in known]
        tower.train()
        with torch.no_grad():
            for value in tower.trunk.state_dict().values():
                value.add_(1)
        tower.freeze_trunk()
        assert tower.fingerprint != before
        assert same(other, expected)
        assert same(tiny_trimodal.build(), expected)
        assert getattr(other, name).fingerprint == before


def test_weights_that_are_loaded_go_into_no_other_model(tiny_trimodal):
    with shared_towers():
        one, other = tiny_trimodal.build(), tiny_trimodal.build()
        expected = weights(other)
        load_owned(one, None, {f"model.{name}": value + 1 for name, value in expected.items()})
        assert same(other, expected)
        assert same(one, {name: value + 1 for name, value in expected.items()})


def test_heads_alone_are_loaded_without_a_copy_of_the_trunk(tiny_trimodal):
    with shared_towers():
        one, other = tiny_trimodal.build(), tiny_trimodal.build()
        heads = {name: value for name, value in weights(other).items() if ".head." in name}
        load_owned(one, None, {f"model.{name}": value for name, value in heads.items()})
        assert memory(one.text) == memory(other.text)


def test_another_model_in_the_same_place_is_read(tiny_trimodal, tiny_towers, tmp_path):
    from trichord_world.small import SmallClip, build_clip

    place = tmp_path / "clip"
    shutil.copytree(tiny_towers / "clip", place)
    text = replace(tiny_trimodal.text, name=str(place))
    with shared_towers():
        before = text.build().fingerprint
        size = SmallClip(side=32, patch=16, width=32, inner=64, layers=2, text_inner=64, dim=24)
        build_clip(size, ("another text",), place, seed=9).save_pretrained(place)
        assert text.build().fingerprint != before


def test_sharing_ends_with_the_outermost(tiny_trimodal, reads):
    with shared_towers():
        with shared_towers():
            tiny_trimodal.text.build()
        tiny_trimodal.text.build()
        assert len(reads) == 2
    tiny_trimodal.text.build()
    assert len(reads) == 4


def test_unsharing_twice_copies_once(tiny_trimodal):
    with shared_towers():
        trunk = tiny_trimodal.build().audio.trunk
        unshare(trunk)
        mine = [one.data_ptr() for one in [*trunk.parameters(), *trunk.buffers()]]
        unshare(trunk)
    assert [one.data_ptr() for one in [*trunk.parameters(), *trunk.buffers()]] == mine


def test_new_heads_of_a_shared_tower_are_drawn_for_each_seed(tiny_trimodal):
    config = replace(tiny_trimodal, audio=replace(tiny_trimodal.audio, head="linear"))
    heads = []
    for scope in (nullcontext(), shared_towers()):
        with scope:
            for seed in (1, 2):
                torch.manual_seed(seed)
                heads.append(config.build().audio.head.weight)
    assert torch.equal(heads[0], heads[2])
    assert torch.equal(heads[1], heads[3])
    assert not torch.equal(heads[2], heads[3])
