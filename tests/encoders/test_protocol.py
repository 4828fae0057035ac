"""What every encoder keeps to: those of the package and some from outside."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from outside import BagOfWords, Bands, Thumbnails, media
from torch import nn

from trichord.config import ClapText, ClipAudio, ClipText, ClipVision
from trichord.encoders.encoder import AudioEncoder, Encoder, TextEncoder, VisionEncoder
from trichord.media.plan import FramePlan
from trichord.types import UserError
from trichord.types.tensors import Padded

NAMES = (
    "clip_text", "clip_tokens", "clap_text", "clip_vision", "clap", "clip_audio", "mono",
    "bag_of_words", "thumbnails", "bands",
)  # fmt: skip
BASES = {"text": TextEncoder, "vision": VisionEncoder, "audio": AudioEncoder}


@pytest.fixture(params=NAMES)
def build(request, tiny_trimodal, tiny_clip4vla):
    clip, clap = tiny_trimodal.text.name, tiny_trimodal.audio.name
    made = {
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

    def build():
        torch.manual_seed(1)
        return made().eval()

    return build


@pytest.fixture
def encoder(build):
    return build()


def rows_of(encoder):
    """Clips (or texts) as rows of steps."""
    prepared = encoder.prepare(media(encoder))
    if encoder.modality == "text":
        return list(prepared[:, None])
    return [prepared, prepared[:2], prepared[-1:]]


def test_it_extends_the_class_of_its_modality_and_says_its_sizes(encoder):
    assert isinstance(encoder, BASES[encoder.modality])
    example = encoder.example()
    assert len(example) == 2
    assert encoder.no_steps().shape == (0, *example.shape[1:])
    read = encoder.read_steps(example)
    assert read.shape[-1] == encoder.width
    assert encoder.head(read).shape[-1] == encoder.dim


def test_the_same_media_are_prepared_alike(encoder):
    assert torch.equal(encoder.prepare(media(encoder)), encoder.prepare(media(encoder)))


@torch.inference_mode()
def test_neither_batch_nor_padding_changes_a_vector(encoder):
    rows = rows_of(encoder)
    together = encoder(encoder.read(Padded.stack([*rows, rows[0][:0]])))
    assert together.present.tolist() == [True] * len(rows) + [False]
    for row, pooled in zip(rows, together.pooled, strict=False):
        alone = encoder(encoder.read(Padded.stack([row]))).pooled[0]
        torch.testing.assert_close(pooled, alone, atol=1e-5, rtol=0)
        assert float(pooled.norm()) == pytest.approx(1, abs=1e-5)


def test_steps_that_are_masked_change_nothing(encoder):
    padded = Padded.stack(rows_of(encoder))
    noisy = padded.values.clone()
    noisy[~padded.mask] = 7
    assert torch.equal(encoder.read(Padded(noisy, padded.mask)).values, encoder.read(padded).values)


def test_texts_are_as_long_as_they_say(encoder):
    if encoder.modality != "text":
        return
    ids = encoder.prepare(media(encoder))
    for row, length in zip(ids, encoder.lengths(ids).tolist(), strict=True):
        assert 1 <= length <= len(row)
        short = encoder.read(Padded.stack([row[None, :length]]))
        whole = encoder.read(Padded.stack([row[None]]))
        torch.testing.assert_close(encoder(short).pooled, encoder(whole).pooled, atol=1e-5, rtol=0)
    assert encoder.count_cut(media(encoder)) == 0
    assert len(encoder.prepare([""])) == 1  # a clip without a caption, beside clips with one


def test_only_the_head_trains_until_the_trunk_is_unfrozen(encoder):
    encoder.train()
    read = encoder.read(Padded.stack(rows_of(encoder)))
    assert not read.values.requires_grad
    encoder(read).pooled[:, 0].sum().backward()
    assert any(parameter.grad is not None for parameter in encoder.head.parameters())
    encoder.unfreeze()
    encoder(encoder.read(Padded.stack(rows_of(encoder)))).pooled[:, 0].sum().backward()
    assert any(parameter.grad is not None for parameter in encoder.trunk.parameters())


def test_weights_are_saved_and_loaded(build):
    trained, fresh = build(), build()
    trained.own_trunk()
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(0.1)
    fresh.own_trunk()
    before = fresh.fingerprint
    fresh.load_state_dict(trained.state_dict())
    fresh.own_trunk()  # as a run does that loads weights of its own
    padded = Padded.stack(rows_of(fresh))
    assert torch.equal(fresh(fresh.read(padded)).pooled, trained(trained.read(padded)).pooled)
    assert before != fresh.fingerprint == trained.fingerprint


def test_the_fingerprint_is_of_weights_and_preparation(build):
    one, other = build(), build()
    assert one.fingerprint == other.fingerprint
    other.preparation["crop"] = 7
    other.compute_in("float32")  # forgets the fingerprint
    assert one.fingerprint != other.fingerprint


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
    known = [audio(), audio(rate=16_000), audio(stereo=True), audio(sound_seconds=3.0)]
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
    with pytest.raises(UserError, match="takes no sound token"):
        bands.choose_audio_type(0.0)
    with pytest.raises(ValueError, match="takes no sound token"), bands.listening_for(0.0):
        pass
    steered = ClipAudio(name=tiny_clip4vla.text.name, frames=32, token="clip").build()
    known = steered.fingerprint
    with steered.listening_for(0.25):
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
