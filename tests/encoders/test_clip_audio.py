from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from trichord.config import LogMel
from trichord.encoders.clip_audio import ClipAudioEncoder, ClipAudioTrunk
from trichord.encoders.spectrogram import Spectrogram, cut_segments, mask_spectrogram
from trichord.types import UserError
from trichord.types.tensors import Padded

RATE = 16_000


@pytest.fixture(scope="module")
def tower(tiny_towers):
    """The vision tower as `transformers` has it: patches of 16 on pictures of 32 x 32."""
    return CLIPVisionModelWithProjection.from_pretrained(tiny_towers / "clip").eval()


@pytest.fixture(scope="module")
def build(tiny_clip4vla):
    """Encoders with other settings, from the same draw."""

    def built(seed=0, **changes):
        torch.manual_seed(seed)
        return replace(tiny_clip4vla.audio, **changes).build().eval()

    return built


@pytest.fixture(scope="module")
def audio(build):
    return build()


def pictures(count=3, channels=3, time=32, mels=32, seed=0):
    return torch.randn(count, channels, time, mels, generator=torch.Generator().manual_seed(seed))


def wave(seconds, seed=0, channels=None):
    size = (round(seconds * RATE),) if channels is None else (channels, round(seconds * RATE))
    return np.random.default_rng(seed).normal(0, 0.1, size).astype(np.float32)


def by_hand(tower, sequences):
    """The tower over sequences that are embedded already: its own layers, nothing of ours."""
    vision = tower.vision_model
    hidden = vision.encoder(inputs_embeds=vision.pre_layrnorm(sequences)).last_hidden_state
    return vision.post_layernorm(hidden[:, 0])


def same(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


# The trunk


@torch.inference_mode()
def test_without_a_token_it_is_the_vision_tower(build, tower):
    encoder, shown = build(token="none"), pictures(5)
    expected = tower(pixel_values=shown)
    same(encoder.trunk(shown), tower.vision_model(pixel_values=shown).pooler_output)
    same(encoder.head(encoder.trunk(shown)), expected.image_embeds)


@pytest.mark.parametrize("token", [0.0, 1.0, 0.5, 0.3])
@torch.inference_mode()
def test_a_number_mixes_the_two_tokens_into_one_behind_the_patches(token, build, tower):
    trunk, shown = build(token=token).trunk, pictures()
    verbal, nonverbal = trunk.tokens
    mixed = (1 - token) * verbal + token * nonverbal + trunk.positions[-1]
    sequences = tower.vision_model.embeddings(shown)
    sequences = torch.cat([sequences, mixed.expand(3, 1, -1)], dim=1)
    assert sequences.shape[1] == 1 + 4 + 1
    same(trunk(shown), by_hand(tower, sequences))


@torch.inference_mode()
def test_both_tokens_stand_at_one_position(build, tower):
    trunk, shown = build(token="both").trunk, pictures()
    two = (trunk.tokens + trunk.positions[-1]).expand(3, -1, -1)
    sequences = torch.cat([tower.vision_model.embeddings(shown), two], dim=1)
    assert sequences.shape[1] == 1 + 4 + 2
    same(trunk(shown), by_hand(tower, sequences))


@torch.inference_mode()
def test_every_choice_of_token_hears_something_else(build):
    shown = pictures()
    heard = [build(token=token).trunk(shown) for token in ("none", 0.0, 0.5, 1.0, "both")]
    for i, one in enumerate(heard):
        assert all(float((one - other).abs().max()) > 1e-3 for other in heard[:i])


@torch.inference_mode()
def test_under_clip_each_picture_has_the_token_of_its_clip(build):
    shown, mixed = pictures(4), build(token="clip").trunk
    found = mixed(shown, torch.tensor([0.0, 1.0, 0.25, 0.5]))
    for row, token in enumerate((0.0, 1.0, 0.25, 0.5)):
        same(found[row : row + 1], build(token=token).trunk(shown[row : row + 1]))
    same(mixed(shown), build(token=0.5).trunk(shown))


@torch.inference_mode()
def test_only_under_clip_does_it_matter_what_the_clips_sound_like(build):
    trunk, shown = build(token=0.25).trunk, pictures()
    assert torch.equal(trunk(shown, torch.tensor([0.0, 1.0, 0.5])), trunk(shown))


@torch.inference_mode()
def test_the_tokens_of_clips_reach_each_of_their_segments(build):
    encoder = build(token="clip")
    rows = [pictures(3, seed=1), pictures(1, seed=2), pictures(0), pictures(2, seed=3)]
    read = encoder.trunk_features(Padded.stack(rows), torch.tensor([0.0, 1.0, 0.5, 0.25]))
    for row, (shown, token) in enumerate(zip(rows, (0.0, 1.0, 0.5, 0.25), strict=True)):
        same(read.values[row, : len(shown)], build(token=token).run_trunk(shown))


@torch.inference_mode()
def test_one_channel_stands_for_three_equal_ones(audio):
    shown = pictures(channels=1)
    same(audio.trunk(shown), audio.trunk(shown.repeat(1, 3, 1, 1)))


@torch.inference_mode()
def test_positions_of_another_grid_are_interpolated_as_transformers_does_it(build, tower):
    embeddings = tower.vision_model.embeddings
    sequence = torch.zeros(1, 1 + 3 * 2, 32)
    expected = embeddings.interpolate_pos_encoding(sequence, 48, 32)[0]
    encoder = build(frames=48, token="none")
    torch.testing.assert_close(encoder.trunk.positions[:-1], expected, atol=1e-7, rtol=0)
    shown = pictures(time=48)
    moved = tower.vision_model(pixel_values=shown, interpolate_pos_encoding=True)
    same(encoder.trunk(shown), moved.pooler_output)


def test_pictures_that_are_no_whole_number_of_patches_are_refused(build):
    with pytest.raises(UserError, match=r"\(40, 32\).*patches of 16"):
        build(frames=40)


# Where its weights come from


def namesakes(tower):
    """The tower's weights under the names that they have here."""
    moved = {
        "vision_model.embeddings.class_embedding": "trunk.class_embedding",
        "vision_model.embeddings.patch_embedding": "trunk.patches",
        "vision_model.pre_layrnorm": "trunk.before",
        "vision_model.encoder": "trunk.layers",
        "vision_model.post_layernorm": "trunk.after",
        "visual_projection": "head",
    }
    return {
        ours + name.removeprefix(theirs): value
        for name, value in tower.state_dict().items()
        for theirs, ours in moved.items()
        if name.startswith(theirs)
    }


def test_everything_with_a_namesake_in_the_vision_tower_is_copied(audio, tower):
    copied, state = namesakes(tower), audio.state_dict()
    assert set(state) == {*copied, "trunk.positions", "trunk.tokens"}
    assert all(torch.equal(state[name], value) for name, value in copied.items())
    positions = tower.vision_model.embeddings.position_embedding.weight
    assert torch.equal(audio.trunk.positions[:-1], positions)
    assert len(audio.trunk.positions) == 1 + 4 + 1


def test_from_scratch_it_has_the_sizes_of_the_tower_and_nothing_else(build, tower):
    state = build(scratch=True).state_dict()
    for name, value in namesakes(tower).items():
        assert state[name].shape == value.shape
        if value.ndim > 1:
            assert not torch.equal(state[name], value)
    positions = tower.vision_model.embeddings.position_embedding.weight
    assert not torch.equal(state["trunk.positions"][:-1], positions)


def is_normal(values, deviation):
    """Mean, deviation and tails of a few thousand draws."""
    units = values / deviation
    assert float(units.mean()) == pytest.approx(0, abs=0.05)
    assert float(units.std()) == pytest.approx(1, abs=0.05)
    assert float((units.abs() > 2).float().mean()) == pytest.approx(0.0455, abs=0.015)


def test_the_new_position_is_unit_normal_and_the_tokens_are_as_wide_as_published(tower):
    torch.manual_seed(0)
    drawn = [ClipAudioTrunk(tower.vision_model, (32, 32)) for _ in range(200)]
    is_normal(torch.stack([one.positions[-1].detach() for one in drawn]), 1.0)
    is_normal(torch.stack([one.tokens.detach() for one in drawn]), 32**-0.5)


@pytest.mark.parametrize("scratch", [False, True])
def test_the_seed_decides_what_is_new(scratch, build):
    one, again, other = (build(seed=seed, scratch=scratch).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    changed = {name for name, value in one.items() if not torch.equal(value, other[name])}
    assert changed >= {"trunk.tokens", "trunk.positions"}
    assert scratch or changed == {"trunk.tokens", "trunk.positions"}


def test_at_the_published_size_it_has_the_published_number_of_weights():
    with torch.device("meta"):
        tower = CLIPVisionModelWithProjection(CLIPVisionConfig())
        trunk = ClipAudioTrunk(tower.vision_model, (224, 224))
    weights = [*trunk.parameters(), *tower.visual_projection.parameters()]
    assert sum(one.numel() for one in weights) == 87_851_520


def test_an_unknown_model_is_one_clear_line_from_scratch_too(build):
    for scratch in (False, True):
        with pytest.raises(UserError, match=r"'no/such-model' cannot be fetched"):
            build(name="no/such-model", scratch=scratch)


# The audio type token, chosen


def test_fingerprints_tell_tokens_apart(build):
    tokens = ("none", "both", "clip", 0.0, 0.5, 1.0)
    assert len({build(token=token).fingerprint for token in tokens}) == len(tokens)


@pytest.mark.parametrize(
    "changes",
    [
        {"padding": "as_paper"},
        {"longest": 3},
        {"channels": "mono"},
        {"sound_seconds": 30.0},
    ],
)
def test_fingerprints_tell_preparations_apart(changes, build, audio):
    assert build(**changes).fingerprint != audio.fingerprint


def test_how_the_copy_is_masked_is_no_part_of_the_fingerprint(build, audio):
    assert build(masking="as_paper").fingerprint == audio.fingerprint


@torch.inference_mode()
def test_another_token_may_be_chosen_and_no_weight_changes(build):
    encoder, shown = build(token=0.5), pictures()
    weights = {name: value.clone() for name, value in encoder.state_dict().items()}
    before, heard = encoder.fingerprint, encoder.trunk(shown)
    encoder.choose_audio_type(1.0)
    assert encoder.fingerprint == build(token=1.0).fingerprint != before
    same(encoder.trunk(shown), build(token=1.0).trunk(shown))
    assert all(torch.equal(value, weights[name]) for name, value in encoder.state_dict().items())
    encoder.choose_audio_type(0.5)
    assert encoder.fingerprint == before
    assert torch.equal(encoder.trunk(shown), heard)


def test_a_thawed_tower_trains_tokens_and_position_too(build):
    encoder = build(token=0.25)
    encoder.unfreeze()
    encoder.run_trunk(pictures()).square().sum().backward()
    verbal, nonverbal = encoder.trunk.tokens.grad
    torch.testing.assert_close(nonverbal * 3, verbal)  # shares of 0.75 and 0.25
    assert float(verbal.abs().max()) > 0
    torch.testing.assert_close(encoder.trunk.positions.grad[-1] * 0.75, verbal)


# From waves to vectors


@torch.inference_mode()
def test_a_clip_has_the_same_vector_whatever_its_neighbours(audio):
    rows = [audio.prepare(wave(seconds, i)) for i, seconds in enumerate((0.1, 1.0, 0.6, 0.3))]
    assert [len(row) for row in rows] == [1, 4, 3, 2]
    together = audio(audio.trunk_features(Padded.stack(rows))).pooled
    for row, expected in zip(rows, together, strict=True):
        same(audio(audio.trunk_features(Padded.stack([row]))).pooled[0], expected)


@torch.inference_mode()
def test_segments_are_projected_normalised_averaged_and_normalised_again(audio):
    read = audio.trunk_features(Padded.stack([audio.prepare(wave(0.6))]))
    each = [step / step.norm() for step in read.values[0] @ audio.head.weight.T]
    mean = torch.stack(each).mean(0)
    same(audio(read).pooled[0], mean / mean.norm())


@torch.inference_mode()
def test_a_clip_without_sound_is_a_masked_row_and_no_number_is_lost(audio):
    silent = audio.no_steps()
    assert silent.shape == (0, 3, 32, 32)
    found = audio(audio.trunk_features(Padded.stack([silent, audio.prepare(wave(0.5))])))
    assert found.present.tolist() == [False, True]
    assert not found.pooled[0].any()
    assert torch.isfinite(found.pooled).all()


@pytest.mark.parametrize("samples", [1, 100, 511, 512])
@torch.inference_mode()
def test_sound_shorter_than_a_window_is_heard(samples, audio):
    steps = audio.prepare(wave(1)[:samples])
    assert steps.shape == (1, 3, 32, 32)
    found = audio(audio.trunk_features(Padded.stack([steps])))
    assert float(found.pooled[0].norm()) == pytest.approx(1, abs=1e-5)


@torch.inference_mode()
def test_zeros_all_over_are_finite(audio):
    steps = audio.prepare(np.zeros(RATE, np.float32))
    assert torch.isfinite(steps).all()
    assert torch.isfinite(audio(audio.trunk_features(Padded.stack([steps]))).pooled).all()


def test_left_mean_and_right_are_the_three_channels_in_this_order(audio):
    assert audio.stereo
    both = wave(0.7, channels=2)
    steps = audio.prepare(both)
    alone = [both[0], (both[0] + both[1]) / 2, both[1]]
    for channel, one in enumerate(alone):
        same(steps[:, channel], audio.prepare(one)[:, 0])
    assert not torch.allclose(steps[:, 0], steps[:, 2], atol=1e-2)


def test_one_channel_is_heard_as_three_equal_ones(audio):
    flat, row = audio.prepare(wave(0.7)), audio.prepare(wave(0.7)[None])
    assert torch.equal(flat, row)
    assert flat.shape[1] == 3
    assert torch.equal(flat[:, 0], flat[:, 2])


@torch.inference_mode()
def test_a_mono_encoder_makes_one_channel_and_hears_the_same(build, audio):
    mono = build(channels="mono")
    assert not mono.stereo
    steps = mono.prepare(wave(0.7))
    assert steps.shape == (3, 1, 32, 32)
    same(mono.run_trunk(steps), audio.run_trunk(audio.prepare(wave(0.7))))


def test_pictures_are_segments_of_the_spectrogram_that_was_asked_for(build):
    encoder = build(padding="as_paper", longest=3, channels="mono")
    heard = wave(1.6)  # 201 time steps: six whole segments and one of nine steps
    decibels = Spectrogram(LogMel(mels=32))(torch.from_numpy(heard)[None])
    torch.testing.assert_close(encoder.spectrogram(heard), decibels)
    cut = cut_segments(decibels, frames=32, padding="as_paper")
    assert len(cut) == 7
    torch.testing.assert_close(encoder.prepare(heard), cut[2:5])


@pytest.mark.parametrize("rule", ["as_published", "as_paper"])
def test_the_masked_copy_hides_the_same_cells_in_every_channel_before_cutting(rule, build):
    encoder = build(masking=rule)
    heard = encoder.spectrogram(wave(0.9, channels=2))
    flat = (
        mask_spectrogram(torch.full_like(heard, -1.0), rule=rule, random=np.random.default_rng(5))
        == 0
    )
    assert 0.3 < float(flat.float().mean()) < 0.99
    found = encoder.spec_augment(heard, np.random.default_rng(5))
    torch.testing.assert_close(found, encoder.to_segments(heard.masked_fill(flat, 0.0)))
    assert not torch.equal(found, encoder.spec_augment(heard, np.random.default_rng(6)))


def test_the_tower_says_what_it_must_be_given(audio, build):
    assert (audio.rate, audio.audio_seconds, audio.takes_audio_type) == (RATE, 60.0, True)
    assert isinstance(audio, ClipAudioEncoder)
    assert (audio.dim, audio.width) == (24, 32)
    assert build(sound_seconds=5.0).audio_seconds == 5.0
