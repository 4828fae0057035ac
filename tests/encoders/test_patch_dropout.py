from dataclasses import replace

import pytest
import torch

from trichord.encoders.patch_dropout import drop_patches
from trichord.types import UserError
from trichord.types.tensors import Padded


def numbered(steps=3, patches=8):
    """Tokens that say where they come from: step, then 0 for the class and 1, 2, ... for patches."""
    step, place = torch.meshgrid(torch.arange(steps), torch.arange(patches + 1), indexing="ij")
    return torch.stack([step, place], dim=2).float()


def test_the_class_token_stays_and_each_picture_loses_patches_of_its_own():
    torch.manual_seed(0)
    found = drop_patches(numbered(), 0.5)
    assert found.shape == (3, 1 + 4, 2)
    assert found[:, 0].tolist() == [[0, 0], [1, 0], [2, 0]]
    kept = [set(row[1:, 1].tolist()) for row in found]
    assert all(len(one) == 4 and one <= set(range(1, 9)) for one in kept)
    assert [set(row[:, 0].tolist()) for row in found] == [{0}, {1}, {2}]
    assert len({frozenset(one) for one in kept}) > 1


def test_which_patches_stay_comes_from_torchs_random_numbers():
    torch.manual_seed(1)
    first, second = drop_patches(numbered(), 0.5), drop_patches(numbered(), 0.5)
    torch.manual_seed(1)
    assert torch.equal(drop_patches(numbered(), 0.5), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("share", "kept"), [(0.0, 8), (0.25, 6), (0.75, 2), (0.99, 1)])
def test_a_share_of_the_patches_goes_and_one_stays(share, kept):
    assert drop_patches(numbered(), share).shape[1] == 1 + kept


def test_all_patches_are_as_likely_to_stay():
    torch.manual_seed(2)
    stayed = drop_patches(numbered(4000), 0.5)[:, 1:, 1].long()
    share = torch.bincount(stayed.flatten(), minlength=9)[1:] / 4000
    torch.testing.assert_close(share, torch.full((8,), 0.5), atol=0.03, rtol=0)


def tokens_read(encoder, inputs, sound=None):
    """How many tokens of a picture go through the layers, the last of them as it goes in."""
    layers = (
        encoder.trunk.layers if hasattr(encoder.trunk, "layers") else encoder.trunk.model.encoder
    )
    seen = []
    hook = layers.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["inputs_embeds"]), with_kwargs=True
    )
    encoder.trunk_features(inputs, sound)
    hook.remove()
    [hidden] = seen
    return hidden.shape[1], hidden[:, -1]


def test_frames_are_thinned_while_the_tower_trains_and_only_then(tiny_trimodal):
    encoder = replace(tiny_trimodal.vision, patch_dropout=0.5).build()
    inputs = Padded.stack([torch.randn(3, 3, 32, 32)])
    assert tokens_read(encoder.train(), inputs)[0] == 1 + 4  # frozen, in evaluation mode
    encoder.unfreeze()
    assert tokens_read(encoder.train(), inputs)[0] == 1 + 2
    assert tokens_read(encoder.eval(), inputs)[0] == 1 + 4


def test_segments_are_thinned_and_the_sound_token_is_always_heard(tiny_clip4vla):
    torch.manual_seed(0)
    encoder = replace(tiny_clip4vla.audio, patch_dropout=0.75, token="clip").build()
    encoder.unfreeze()
    inputs = Padded.stack([torch.randn(2, 3, 32, 32)])
    whole, last = tokens_read(encoder.eval(), inputs, torch.tensor([0.25]))
    thin, heard = tokens_read(encoder.train(), inputs, torch.tensor([0.25]))
    assert (whole, thin) == (1 + 4 + 1, 1 + 1 + 1)
    torch.testing.assert_close(heard, last)


def test_what_training_leaves_out_is_no_part_of_a_fingerprint(tiny_trimodal):
    whole, thin = (
        replace(tiny_trimodal.vision, patch_dropout=share).build() for share in (0.0, 0.5)
    )
    assert whole.fingerprint == thin.fingerprint


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_leaves_nothing_is_refused(share, tiny_clip4vla):
    with pytest.raises(UserError, match=r"--model\.vision\.patch-dropout .* less than 1"):
        replace(tiny_clip4vla.vision, patch_dropout=share).build()
    with pytest.raises(UserError, match=r"--model\.audio\.patch-dropout"):
        replace(tiny_clip4vla.audio, patch_dropout=share).build()
