"""What every encoder keeps to: those of the package and some from outside."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from outside import BagOfWords, Bands, Thumbnails
from torch import nn

from trichord.config import ClapText, ClipAudio, ClipText, ClipVision
from trichord.encoders.conformance import CHECKS, EncoderUnderTest
from trichord.encoders.encoder import Encoder, VisionEncoder
from trichord.media.plan import FramePlan
from trichord.types import UserError

NAMES = (
    "clip_text", "clip_tokens", "clap_text", "clip_vision", "clap", "clip_audio", "mono",
    "bag_of_words", "thumbnails", "bands",
)  # fmt: skip


@pytest.fixture(params=NAMES)
def build(request, tiny_trimodal, tiny_clip4vla):
    clip, clap = tiny_trimodal.text.name, tiny_trimodal.audio.name
    return {
        "clip_text": ClipText(name=clip).build,
        "clip_tokens": ClipText(name=clip, tokens=True).build,
        "clap_text": ClapText(name=clap).build,
        "clip_vision": ClipVision(name=clip).build,
        "clap": tiny_trimodal.audio.build,
        "clip_audio": tiny_clip4vla.audio.build,
        "mono": replace(tiny_clip4vla.audio, channels="mono").build,
        "bag_of_words": BagOfWords,
        "thumbnails": Thumbnails,
        "bands": Bands,
    }[request.param]


@pytest.mark.parametrize("check", CHECKS)
def test_every_encoder_keeps_to_the_protocol(check, build):
    CHECKS[check](EncoderUnderTest.of(build))


def test_no_steps_have_the_shape_of_steps(build):
    encoder = build()
    assert encoder.no_steps().shape == (0, *encoder.example().shape[1:])


def test_what_is_decoded_belongs_to_the_fingerprint():
    def vision(plan):
        torch.manual_seed(1)
        made = Thumbnails()
        made.frames = plan
        return made.fingerprint

    def audio(**wanted):
        torch.manual_seed(1)
        made = Bands()
        vars(made).update(wanted)
        return made.fingerprint

    assert vision(Thumbnails.frames) != vision(FramePlan(short_side=None, count=9))
    known = [audio(), audio(rate=16_000), audio(stereo=True), audio(audio_seconds=3.0)]
    assert len(set(known)) == 4
    assert audio(rate=8_000) == known[0]


def test_an_encoder_without_prepare_is_refused():
    class Nothing(VisionEncoder):
        pass

    with pytest.raises(TypeError, match="prepare"):
        Nothing(nn.Identity(), nn.Linear(2, 3))


def test_sizes_are_those_of_the_head_unless_they_are_given():
    head = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 3))
    assert (Encoder(nn.Identity(), head).width, Encoder(nn.Identity(), head).dim) == (7, 3)
    given = Encoder(nn.Identity(), nn.Identity(), 9)
    assert (given.width, given.dim) == (9, 9)
    assert Encoder(nn.Identity(), nn.Conv1d(4, 6, 1), 4, dim=6).dim == 6
    with pytest.raises(ValueError, match="Encoder: its head has no linear layer; give width"):
        Encoder(nn.Identity(), nn.Identity())


def test_only_an_encoder_that_takes_an_audio_type_is_given_one(tiny_clip4vla):
    bands = Bands()
    assert bands.audio_type is None
    with pytest.raises(UserError, match="takes no audio type token"):
        bands.choose_audio_type(0.0)
    with pytest.raises(ValueError, match="takes no audio type token"), bands.using_audio_type(0.0):
        pass
    steered = ClipAudio(name=tiny_clip4vla.text.name, frames=32, token="clip").build()
    known = steered.fingerprint
    with steered.using_audio_type(0.25):
        assert (steered.trunk.token, steered.audio_type) == (0.25, "clip")
        assert steered.fingerprint == known
    assert steered.trunk.token == "clip"
    steered.choose_audio_type(0.25)
    assert steered.audio_type == 0.25
    assert steered.fingerprint != known


def test_a_processor_that_squeezes_gets_frames_at_their_size(tmp_path):
    from transformers import SiglipImageProcessor as Squeezing

    from trichord.encoders.frames import TransformersVisionEncoder

    class Squeezed(TransformersVisionEncoder):
        def __init__(self):
            super().__init__(
                "squeezed",
                nn.Flatten(),
                nn.Linear(3 * 24 * 16, 5),
                processor=Squeezing(size={"height": 24, "width": 16}),
                frames=FramePlan(short_side=None),
            )

    encoder = Squeezed()
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), np.uint8)
    assert encoder.prepare(frames).shape == (3, 3, 24, 16)
    assert encoder.preparation["size"] == {"height": 24, "width": 16}
    assert "crop" not in encoder.preparation
    assert encoder.no_steps().shape == (0, 3, 24, 16)
