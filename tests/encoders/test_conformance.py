"""The suite finds what is wrong with an encoder, and nothing where nothing is."""

from functools import partial

import numpy as np
import pytest
import torch
from outside import BagOfWords, Bands, Thumbnails
from torch import nn

from trichord.encoders.conformance import CHECKS, EncoderUnderTest, flaws_of

RANDOM = np.random.default_rng(0)


class WrongWidth(Thumbnails):
    def __init__(self):
        super().__init__()
        self.width = 9


class Noisy(Thumbnails):
    def prepare(self, frames):
        return super().prepare(frames) + float(RANDOM.normal())


class BatchMean(nn.Module):
    def forward(self, steps):
        return steps - steps.mean(0)


class Centred(Bands):
    """Steps are measured against those that they are read with."""

    def __init__(self):
        super().__init__()
        self.trunk.append(BatchMean())


class PaddingCounts(BagOfWords):
    """The mean over a text's columns, padding or not."""

    def __init__(self):
        super().__init__()
        self.trunk.padding_idx = None
        nn.init.normal_(self.trunk.weight)


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, steps):
        self.seen += len(steps)
        return steps


class Drifting(Bands):
    """A frozen trunk that notes what it reads."""

    def __init__(self):
        super().__init__()
        self.trunk.append(Counter())


class Detached(Bands):
    """A trunk that gives no gradients."""

    def run_trunk(self, steps, sound=None):
        return super().run_trunk(steps, sound).detach()


class Plain(Bands):
    """Its head has nothing to learn."""

    def __init__(self):
        super().__init__()
        self.head, self.dim = nn.Identity(), self.width


class DetachedPlain(Plain, Detached):
    """The same behind a trunk that gives no gradient."""


class Hidden(nn.Module):
    """Weights that torch does not know of."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(40, 40)]

    @torch.no_grad()
    def forward(self, steps):
        return self.layers[0](steps)


class Unsaved(Bands):
    def __init__(self):
        super().__init__()
        self.trunk.append(Hidden())


class Dated(Thumbnails):
    """Its preparation is of the moment."""

    def __init__(self):
        super().__init__()
        self.preparation["made"] = id(self)
        DATED.append(self)  # two at one address would be of one date


DATED = []


@pytest.mark.parametrize("good", [BagOfWords, Thumbnails, Bands, partial(Bands, dim=5), Plain])
def test_good_encoders_pass(good):
    assert dict(flaws_of(EncoderUnderTest.of(good))) == dict.fromkeys(CHECKS)


@pytest.mark.parametrize(
    ("broken", "check", "said"),
    [
        (WrongWidth, "shapes", "48 wide, width says 9"),
        (Noisy, "determinism", "other inputs the second time"),
        (Centred, "batches", "beside other clips a vector differs by"),
        (PaddingCounts, "padding", "differs by"),
        (Drifting, "freezing", "frozen trunk changes"),
        (Detached, "freezing", "unfrozen trunk gets no gradient"),
        (DetachedPlain, "freezing", "unfrozen trunk gets no gradient"),
        (Unsaved, "saving", "after saving and loading a vector differs by"),
        (Dated, "fingerprint", "another fingerprint in each build"),
    ],
)
def test_a_broken_encoder_fails_the_check_of_what_is_broken(broken, check, said):
    flaws = dict(flaws_of(EncoderUnderTest.of(broken)))
    assert said in flaws[check]
    if check != "shapes":
        assert flaws["shapes"] is None


def test_what_an_encoder_raises_is_its_flaw():
    class Failing(Bands):
        def prepare(self, wave):
            raise RuntimeError("no such codec\nand more")

    assert set(dict(flaws_of(EncoderUnderTest.of(Failing))).values()) == {
        "RuntimeError: no such codec",
        None,
    }
