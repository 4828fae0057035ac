import numpy as np
import pytest
import torch
from torch import nn

from trichord.encoders.encoder import AudioEncoder, Encoder, next_power_of_two, pooled
from trichord.types import UserError
from trichord.types.tensors import Padded


class Trunk(nn.Module):
    """Counts what it reads; has a BatchNorm, as HTSAT does, that would drift in training mode."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.seen = 0

    def forward(self, steps):
        self.seen += len(steps)
        return self.norm(steps)


class HeedingTrunk(nn.Module):
    """Adds what it is told of each step's sound to the step."""

    def forward(self, steps, sound):
        return steps + sound[:, None]


class HeedingEncoder(Encoder):
    takes_audio_type = True


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder(Trunk(), nn.Linear(3, 4, bias=False), 3, {"kind": "test"})


def padded(*lengths):
    generator = torch.Generator().manual_seed(sum(lengths))
    return Padded.stack([torch.randn(n, 3, generator=generator) for n in lengths])


def test_masked_steps_are_never_read(encoder):
    encoder.trunk_features(padded(2, 0, 5))
    assert encoder.trunk.seen == 7


def test_clips_of_different_length_are_read_without_padding_their_inputs(encoder):
    rows = [torch.randn(n, 3, generator=torch.Generator().manual_seed(n)) for n in (2, 0, 5)]
    expected = encoder.trunk_features(Padded.stack(rows))
    encoder.trunk.seen = 0
    found = encoder.trunk_features_of_rows(rows)
    assert encoder.trunk.seen == 7
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.mask, expected.mask)
    nothing = encoder.trunk_features_of_rows([rows[1], rows[1]])
    assert nothing.mask.tolist() == [[False], [False]]


def test_projection_comes_before_the_mean_and_the_mean_is_normalised_once(encoder):
    inputs = padded(3)
    read = encoder.trunk_features(inputs)
    mean = (read.values[0] @ encoder.head.weight.T).mean(0)
    torch.testing.assert_close(encoder(read).pooled[0], mean / mean.norm())


def test_a_clip_has_the_same_vector_alone_and_beside_longer_ones(encoder):
    together = encoder.eval()(encoder.trunk_features(padded(2, 9, 1))).pooled[0]
    generator = torch.Generator().manual_seed(12)
    alone = Padded.stack([torch.randn(2, 3, generator=generator)])
    torch.testing.assert_close(
        encoder(encoder.trunk_features(alone)).pooled[0], together, atol=1e-6, rtol=0
    )


def test_a_clip_without_steps_is_absent_and_zero(encoder):
    found = encoder(encoder.trunk_features(padded(2, 0)))
    assert found.present.tolist() == [True, False]
    assert found.pooled[1].abs().sum() == 0
    assert float(found.pooled[0].detach().norm()) == pytest.approx(1, abs=1e-6)


def test_a_batch_without_any_step_is_all_absent(encoder):
    assert not encoder(encoder.trunk_features(padded(0, 0))).present.any()


def test_a_frozen_trunk_stays_as_it_is_while_its_head_trains(encoder):
    encoder.train()
    before = {name: value.clone() for name, value in encoder.trunk.state_dict().items()}
    found = encoder(encoder.trunk_features(padded(4, 4)))
    found.pooled.sum().backward()
    for name, value in encoder.trunk.state_dict().items():
        assert torch.equal(value, before[name])
    assert encoder.head.weight.grad is not None
    assert all(parameter.grad is None for parameter in encoder.trunk.parameters())


def test_an_unfrozen_trunk_trains_and_has_no_fingerprint(encoder):
    before = encoder.fingerprint
    encoder.unfreeze()
    encoder.train()
    encoder(encoder.trunk_features(padded(4, 4))).pooled[:, 0].sum().backward()
    assert encoder.trunk.norm.weight.grad is not None
    with pytest.raises(ValueError, match="fingerprint"):
        _ = encoder.fingerprint
    encoder.freeze_trunk()
    assert encoder.fingerprint != before  # the running statistics moved


def test_many_steps_are_read_in_portions(encoder):
    steps = torch.randn(2 * encoder.batch_size + 1, 3)
    torch.testing.assert_close(encoder.run_trunk(steps), encoder.trunk(steps))


def test_fingerprints_tell_weights_and_preparation_apart(encoder):
    same = Encoder(encoder.trunk, encoder.head, 3, {"kind": "test"})
    assert same.fingerprint == encoder.fingerprint
    assert Encoder(encoder.trunk, encoder.head, 3, {"kind": "x"}).fingerprint != same.fingerprint
    other = Encoder(Trunk(), nn.Linear(3, 4), 3, {"kind": "test"})
    other.trunk.norm.weight.data += 1
    assert other.fingerprint != same.fingerprint


def test_steps_that_count_alike_are_normalised_before_the_mean_too():
    steps = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]], [[0.0, -2.0], [5.0, 5.0], [1, 2]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    half = 0.5**0.5
    alike = pooled(steps, mask, "mean_of_unit")
    torch.testing.assert_close(alike, torch.tensor([[half, half], [0.0, -1.0]]))
    weighed = pooled(steps, mask, "mean")
    torch.testing.assert_close(weighed, torch.tensor([[0.6, 0.8], [0.0, -1.0]]))


@pytest.mark.parametrize("pooling", ["mean", "mean_of_unit"])
def test_an_encoder_pools_as_it_was_told_and_in_full_precision(pooling, encoder):
    told = Encoder(encoder.trunk, encoder.head, 3, {"kind": "test"}, pooling)
    read = told.trunk_features(padded(3, 0, 1))
    found = told(read)
    assert torch.equal(found.pooled, pooled(found.steps, read.mask, pooling))
    assert not found.pooled[1].any()
    halves = pooled(found.steps.bfloat16(), read.mask, pooling)
    assert halves.dtype == torch.float32
    torch.testing.assert_close(halves.norm(dim=1), torch.tensor([1.0, 0.0, 1.0]))


def test_each_step_is_told_what_its_own_clip_sounds_like():
    heeding = HeedingEncoder(HeedingTrunk(), nn.Identity(), 3, {})
    heeding.batch_size = 4
    inputs, sound = padded(3, 0, 5, 2), torch.tensor([10.0, 20.0, 30.0, 40.0])
    read = heeding.trunk_features(inputs, sound)
    expected = (inputs.values + sound[:, None, None]) * inputs.mask[..., None]
    assert torch.equal(read.values, expected)


def test_a_trunk_that_does_not_heed_sound_is_not_told(encoder):
    inputs = padded(3, 2)
    told = encoder.eval().trunk_features(inputs, torch.tensor([0.0, 1.0]))
    assert torch.equal(told.values, encoder.trunk_features(inputs).values)


def test_an_audio_encoder_has_no_masked_view_by_default():
    class Halves(AudioEncoder):
        def prepare(self, wave):
            return torch.from_numpy(wave[: len(wave) // 2 * 2]).reshape(-1, 2)

    halves = Halves(nn.Identity(), nn.Identity(), 2, {})
    wave = np.arange(5, dtype=np.float32)
    kept = halves.spectrogram(wave)
    assert halves.to_segments(kept).tolist() == [[0.0, 1.0], [2.0, 3.0]]
    with pytest.raises(UserError, match=r"'aa' and 'mt' need CLIP4VLA's audio encoder.*leave"):
        halves.spec_augment(kept, np.random.default_rng(0))


def test_a_trunk_that_the_run_made_its_own_stays_so_when_it_is_frozen_again(encoder):
    assert not encoder.trunk_changed
    encoder.unfreeze()
    encoder.freeze_trunk()
    assert encoder.trunk_changed
    assert not any(parameter.requires_grad for parameter in encoder.trunk.parameters())


class Portions(nn.Module):
    """Notes how many steps it is given at once."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.sizes = []

    def compile(self, **options):
        assert options == {"dynamic": False}

    def forward(self, steps, *sound):
        self.sizes.append(len(steps))
        return self.norm(steps) + sum(one[:, None] for one in sound)


def test_a_compiled_trunk_reads_portions_of_few_sizes_and_the_filling_is_thrown_away():
    encoder = HeedingEncoder(Portions(), nn.Identity(), 3, {}).eval()
    inputs, sound = padded(64, 4, 1), torch.tensor([1.0, 2.0, 3.0])
    expected = encoder.trunk_features(inputs, sound)
    encoder.compile_trunk()
    encoder.trunk.sizes.clear()
    torch.testing.assert_close(encoder.trunk_features(inputs, sound).values, expected.values)
    assert encoder.trunk.sizes == [64, 8]


def test_portions_are_not_filled_where_steps_would_meet_the_filling():
    encoder = Encoder(Portions(), nn.Identity(), 3, {})
    encoder.has_batch_norm = True
    encoder.compile_trunk()
    encoder.unfreeze()
    encoder.train().trunk_features(padded(5))
    encoder.eval().trunk_features(padded(5))
    assert encoder.trunk.sizes == [5, 8]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 63, 64])
def test_portions_are_filled_to_a_power_of_two(count):
    assert next_power_of_two(count) == min(2**n for n in range(7) if 2**n >= count)


@pytest.mark.slow
def test_a_trunk_that_torch_compiles_gives_the_same_features(tiny_model):
    inputs = Padded.stack([torch.randn(n, 3, 32, 32) for n in (3, 2)])
    expected = tiny_model.vision.trunk_features(inputs).values
    tiny_model.vision.compile_trunk()
    torch.testing.assert_close(
        tiny_model.vision.trunk_features(inputs).values, expected, atol=1e-5, rtol=0
    )


def test_half_precision_is_of_the_trunk_alone_and_has_a_fingerprint_of_its_own():
    torch.manual_seed(0)
    encoder = Encoder(nn.Linear(3, 3), nn.Linear(3, 4), 3, {"kind": "test"}).eval()
    whole, exact = encoder.fingerprint, encoder.trunk_features(padded(4)).values
    encoder.set_arithmetic("bfloat16")
    assert encoder.fingerprint != whole
    read = encoder.trunk_features(padded(4)).values
    assert read.dtype == torch.float32
    torch.testing.assert_close(read, read.bfloat16().float(), atol=0, rtol=0)
    torch.testing.assert_close(read, exact, atol=0.02, rtol=0.02)
    assert not torch.equal(read, exact)
    encoder.set_arithmetic("float32")
    assert encoder.fingerprint == whole
    assert torch.equal(encoder.trunk_features(padded(4)).values, exact)
