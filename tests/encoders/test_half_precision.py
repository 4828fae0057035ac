"""Mixed precision is near float32 on every processor."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from trichord.encoders.half_precision import half_precision


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        # The first two are those that are noise on AMX by oneDNN's own bfloat16.
        (nn.Conv1d(32, 32, 16, padding=8, groups=4), (1, 32, 50)),
        (nn.Conv1d(64, 64, 16, padding=8, groups=8), (1, 64, 64)),
        (nn.Conv2d(3, 24, 7, stride=3), (2, 3, 32, 32)),
        (nn.Linear(64, 64), (4, 64)),
    ],
    ids=str,
)
def test_a_layer_is_near_what_it_is_in_float32(layer, shape):
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = layer(inputs)
        with half_precision(torch.device("cpu")):
            found = layer(inputs.bfloat16())
    cosine = F.cosine_similarity(found.float().flatten(), expected.flatten(), dim=0)
    assert cosine > 0.999


def test_only_convolutions_stay_in_float32():
    inputs = torch.randn(2, 8, 10)
    with half_precision(torch.device("cpu")):
        assert nn.Conv1d(8, 8, 3)(inputs).dtype == torch.float32
        assert nn.Linear(10, 4)(inputs).dtype == torch.bfloat16
    assert nn.Linear(10, 4)(inputs).dtype == torch.float32


def test_gradients_pass_through():
    layer = nn.Conv1d(8, 8, 3)
    with half_precision(torch.device("cpu")):
        nn.Linear(8, 4)(layer(torch.randn(2, 8, 10))).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
