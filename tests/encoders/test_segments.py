"""Audio encoders that start from a vision model that is no CLIP, such as a CNN."""

from dataclasses import replace

import numpy as np
import pytest
import small_trunks
import torch
from torch import nn
from transformers import ConvNextModel, Dinov2Model, IJepaModel, ResNetModel

from trichord.api.conformance import check_encoder
from trichord.config import ClipAudio, LogMel, SegmentConfig
from trichord.encoders.graph import Sizes
from trichord.encoders.segments import PictureTrunk, SegmentEncoder
from trichord.exporting.graphs import write_graph
from trichord.types import UserError
from trichord.types.tensors import Padded

MODELS = {
    "resnet": ResNetModel,
    "convnext": ConvNextModel,
    "dinov2": Dinov2Model,
    "ijepa": IJepaModel,
}
SHORT = {"log_mel": LogMel(mels=56, hop=256), "frames": 56, "longest": 3, "padding": "as_paper"}
"""Segments of 0.9 s: four of DINOv2's patches of 14 each way."""
OF_42 = {"log_mel": LogMel(mels=42, hop=256), "frames": 42}
"""As the small I-JEPA takes them."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("vision")
    return {name: str(getattr(small_trunks, name)(root / name)) for name in MODELS}


@pytest.fixture(scope="module")
def sound(folders):
    """The config of an audio encoder that starts from a family."""

    def config(family="resnet", **changes):
        size = OF_42 if family == "ijepa" else {}
        wanted = {"token": "none", "dim": 24} | SHORT | size | changes
        return ClipAudio(name=folders[family], **wanted)

    return config


def wave(seconds=2.0, seed=0, rate=16_000):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def batch_norms(encoder):
    return [one for one in encoder.trunk.modules() if isinstance(one, nn.BatchNorm2d)]


@pytest.mark.parametrize("family", MODELS)
@torch.inference_mode()
def test_a_segment_has_the_features_of_the_vision_model(sound, folders, family):
    encoder = sound(family).build().eval()
    segments = encoder.prepare(wave())
    assert segments.shape[:2] == (3, 3)
    output = MODELS[family].from_pretrained(folders[family]).eval()(pixel_values=segments)
    expected = (
        output.last_hidden_state.mean(dim=1)
        if family == "ijepa"
        else output.pooler_output.flatten(1)
    )
    assert float((expected[0] - expected[1]).abs().max()) > 1e-3
    torch.testing.assert_close(encoder.run_trunk(segments), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_one_channel_stands_for_three_equal_ones(sound):
    stereo, mono = sound().build().eval(), sound(channels="mono").build().eval()
    shown, alone = stereo.prepare(wave()), mono.prepare(wave())
    assert alone.shape[1] == 1
    torch.testing.assert_close(stereo.trunk(shown), mono.trunk(alone), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "family",
    [name if name == "resnet" else pytest.param(name, marks=pytest.mark.slow) for name in MODELS],
)
def test_every_check_of_an_encoder_passes(sound, family):
    checks = check_encoder(sound(family))
    assert [check for check in checks if check.status != "PASS"] == []


def test_scratch_has_the_sizes_and_none_of_the_weights(sound):
    def built(**changes):
        torch.manual_seed(3)
        return sound(**changes).build()

    initial, scratch, again = built(), built(scratch=True), built(scratch=True)
    ours, theirs, same = (one.trunk.state_dict() for one in (initial, scratch, again))
    assert {name: value.shape for name, value in ours.items()} == {
        name: value.shape for name, value in theirs.items()
    }
    kernels = [name for name, value in ours.items() if value.ndim == 4]
    assert len(kernels) > 5
    assert not any(torch.allclose(ours[name], theirs[name]) for name in kernels)
    assert all(torch.equal(theirs[name], same[name]) for name in kernels)
    assert {float(one.running_var.std()) for one in batch_norms(scratch)} == {0.0}
    assert all(float(one.running_var.std()) > 0 for one in batch_norms(initial))


def test_batch_norms_keep_their_statistics_while_scale_and_shift_train(sound):
    encoder = sound().build()
    encoder.unfreeze()
    encoder.train()
    norms = batch_norms(encoder)
    before = [(one.running_mean.clone(), one.running_var.clone()) for one in norms]
    assert encoder.trunk.training
    assert not any(one.training for one in norms)

    encoder(encoder.trunk_features(Padded.stack([encoder.prepare(wave())]))).steps.sum().backward()

    after = [(one.running_mean, one.running_var) for one in norms]
    assert all(torch.equal(*pair) for was, now in zip(before, after, strict=True)
               for pair in zip(was, now, strict=True))  # fmt: skip
    assert all(float(one.weight.grad.abs().sum()) > 0 for one in norms)


def test_other_clips_of_a_batch_change_nothing_while_the_trunk_trains(sound):
    encoder = sound().build()
    encoder.unfreeze()
    encoder.train()
    segments = encoder.prepare(wave(seed=1))
    louder = torch.cat([segments, 5 * encoder.prepare(wave(seed=2))])
    together, alone = encoder.trunk(louder)[: len(segments)], encoder.trunk(segments)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("token", [0.5, 0.0, "both", "clip"])
def test_a_type_token_is_refused_because_it_needs_a_transformer(sound, token):
    with pytest.raises(
        UserError, match=r"--model\.audio\.token .*resnet.*a CLIP's transformer: choose none"
    ):
        sound(token=token).build()


def test_no_token_can_be_chosen_later_either(sound):
    encoder = sound().build()
    assert encoder.audio_type is None
    with pytest.raises(UserError, match="takes no audio type token"):
        encoder.choose_audio_type(0.5)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"dim": None}, r"--model\.audio\.dim: .*no projection of its own"),
        ({"patch_dropout": 0.5}, r"--model\.audio\.patch-dropout 0\.5: .*leave it out"),
        ({"family": "dinov2", "frames": 40}, r"\(40, 56\) do not fit .*patches of 14"),
        ({"family": "ijepa", "frames": 56}, r"\(56, 42\) do not fit .*pictures of 42"),
    ],
)
def test_what_a_vision_model_cannot_do_is_refused_by_name(sound, changes, refusal):
    with pytest.raises(UserError, match=refusal):
        sound(**changes).build()


def test_another_type_of_model_is_refused_with_those_that_fit(folders, tmp_path):
    name = str(small_trunks.whisper(tmp_path / "whisper"))
    with pytest.raises(UserError, match=r"of type 'whisper'.*clip.*dinov2.*resnet"):
        ClipAudio(name=name, token="none", dim=24).build()


def test_an_exported_encoder_has_the_vectors_of_its_run(sound, tmp_path):
    encoder = sound().build().eval()
    write_graph(encoder, tmp_path / "audio.onnx")
    (tmp_path / "audio").mkdir()
    Sizes(dim=encoder.dim, width=encoder.dim).write(tmp_path / "audio")
    graph = replace(sound(), name=str(tmp_path / "audio"), arithmetic="graph").build().eval()
    rows = Padded.stack([encoder.prepare(wave())])
    assert torch.equal(graph.prepare(wave()), rows.values[0])
    with torch.inference_mode():
        ours, theirs = (one(one.trunk_features(rows)).pooled for one in (encoder, graph))
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)


class Rows(SegmentConfig):
    """An encoder from outside the package, on a network of its own."""

    kind = "rows"

    def build(self):
        network = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(),
                                nn.AdaptiveAvgPool2d(1), nn.Flatten())  # fmt: skip
        return SegmentEncoder(self, PictureTrunk(network), nn.Linear(8, 6), kind=self.kind)


def test_any_network_from_outside_keeps_to_the_protocol():
    checks = check_encoder(Rows(**SHORT))
    assert [check for check in checks if check.status != "PASS"] == []


def test_masks_for_the_intra_modal_term_hide_parts(sound):
    encoder = sound().build()
    spectrogram = encoder.spectrogram(wave())
    masked = encoder.spec_augment(spectrogram, np.random.default_rng(0))
    plain = encoder.to_segments(spectrogram)
    assert masked.shape == plain.shape
    assert not torch.equal(masked, plain)
