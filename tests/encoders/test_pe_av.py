import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from safetensors.torch import load_file, save_file
from small_families import (
    PE_HOP,
    PE_RATE,
    PE_TEXT,
    SPOKEN,
    TOWER,
    naflex,
    pe_audio,
    pe_audio_video,
    siglip,
)
from transformers import (
    AutoTokenizer,
    PeAudioFeatureExtractor,
    PeAudioModel,
    PeVideoConfig,
    PeVideoEncoderConfig,
    PeVideoModel,
    ViTConfig,
)

from trichord.api.conformance import check_encoder
from trichord.config import PeAvAudio, PeAvText, PeAvVision, SiglipVision, TriModal
from trichord.encoders.pe_av import VideoTrunk, clip_step, frame_processor
from trichord.encoders.text_graph import TextGraph
from trichord.exporting.graphs import write_text_graph
from trichord.types import UserError
from trichord.types.tensors import Padded

pytestmark = pytest.mark.usefixtures("encoders_traced_once")

TEXTS = (
    *SPOKEN,
    "",
    "x",
    "a very long sentence that goes on and on and has to be cut somewhere, once",
)
SECONDS = (0.3, 1.0, 12.34, 29.99, 30.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return pe_audio(tmp_path_factory.mktemp("families") / "pe_audio")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return pe_audio_video(tmp_path_factory.mktemp("families") / "pe_audio_video")


@pytest.fixture(scope="module")
def model(folder):
    return PeAudioModel.from_pretrained(folder).eval()


def vectors(encoder, inputs):
    with torch.inference_mode():
        return encoder(encoder.trunk_features(Padded.stack(inputs))).pooled


def wave(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.2, round(seconds * PE_RATE)).astype(np.float32)


def expected_text(model, folder, texts=TEXTS):
    tokens = AutoTokenizer.from_pretrained(folder)(
        list(texts), padding=True, truncation=True, max_length=24, return_tensors="pt"
    )
    sound = torch.zeros(len(texts), 1, 4 * PE_HOP)
    with torch.inference_mode():
        read = model(tokens["input_ids"], sound, attention_mask=tokens["attention_mask"])
    return F.normalize(read.text_audio_embeds)


def expected_audio(model, folder, waves):
    """Each wave by itself, as the model's card does it."""
    extractor = PeAudioFeatureExtractor.from_pretrained(folder)
    alone = [extractor([one], sampling_rate=PE_RATE, return_tensors="pt") for one in waves]
    with torch.inference_mode():
        embeds = [model.get_audio_embeds(**one) for one in alone]
    return F.normalize(torch.cat(embeds))


@pytest.mark.parametrize("tie", [None, False])
def test_texts_have_the_vectors_of_transformers(tmp_path, tie):
    """Also where the config says that the last state is the one before the last normalisation."""
    folder = pe_audio(tmp_path / "model", tie=tie)
    model = PeAudioModel.from_pretrained(folder).eval()
    encoder = PeAvText(name=str(folder)).build().eval()
    ours = vectors(encoder, list(encoder.prepare(list(TEXTS))[:, None]))
    torch.testing.assert_close(ours, expected_text(model, folder), atol=1e-5, rtol=0)
    assert encoder.count_cut(list(TEXTS)) > 0


def test_sounds_have_the_vectors_of_transformers(folder, model):
    """A sound of at most 30 s is one step; it has the same vector beside longer ones."""
    encoder = PeAvAudio(name=str(folder)).build().eval()
    waves = [wave(seconds, seed) for seed, seconds in enumerate(SECONDS)]
    rows = [encoder.prepare(one) for one in waves]
    assert [len(row) for row in rows] == [1] * len(rows)
    expected = expected_audio(model, folder, waves)
    torch.testing.assert_close(vectors(encoder, rows), expected, atol=1e-5, rtol=0)


def test_padding_would_change_a_vector(folder, model):
    """The reason why each sound is read at its own length: a mask of `transformers` does not help."""
    extractor = PeAudioFeatureExtractor.from_pretrained(folder)
    both = extractor([wave(0.3), wave(5.0)], sampling_rate=PE_RATE, return_tensors="pt")
    with torch.inference_mode():
        batched = F.normalize(model.get_audio_embeds(**both))[:1]
    difference = (batched - expected_audio(model, folder, [wave(0.3)])).abs().max()
    assert difference > 1e-4


def test_a_long_sound_is_one_step_or_the_mean_of_its_chunks(folder, model):
    sound = wave(65.0)
    one = PeAvAudio(name=str(folder), step_seconds=70.0).build().eval()
    ours = vectors(one, [one.prepare(sound)])
    torch.testing.assert_close(ours, expected_audio(model, folder, [sound]), atol=1e-5, rtol=0)
    several = PeAvAudio(name=str(folder)).build().eval()
    rows = several.prepare(sound)
    assert rows[:, 0].tolist() == [48_000.0, 48_000.0, 8_000.0]
    with torch.inference_mode():
        embeds = [model.get_audio_embeds(row[None, None, 1 : 1 + int(row[0])]) for row in rows]
    expected = F.normalize(torch.cat(embeds).mean(dim=0, keepdim=True))
    torch.testing.assert_close(vectors(several, [rows]), expected, atol=1e-5, rtol=0)
    assert one.fingerprint != several.fingerprint


@pytest.mark.parametrize("config", [pytest.param(PeAvText, marks=pytest.mark.slow), PeAvAudio])
@pytest.mark.parametrize("kind", ["folder", pytest.param("whole", marks=pytest.mark.slow)])
def test_every_check_of_an_encoder_passes(request, kind, config):
    checks = check_encoder(config(name=str(request.getfixturevalue(kind))))
    assert [check for check in checks if check.status == "FAIL"] == []
    skipped = [check.name for check in checks if check.status == "SKIP"]
    assert skipped == (["export"] if config is PeAvAudio else [])


def test_texts_are_searched_without_torch_as_with_it(folder, tmp_path):
    encoder = PeAvText(name=str(folder)).build().eval()
    write_text_graph(encoder, tmp_path / "text.onnx", tmp_path / "tokenizer.json")
    graph = TextGraph(tmp_path / "text.onnx", tmp_path / "tokenizer.json")
    ours = vectors(encoder, list(encoder.prepare(list(TEXTS))[:, None]))
    np.testing.assert_allclose(graph.embed(TEXTS), ours.numpy(), atol=1e-5, rtol=0)


def test_the_whole_model_has_the_towers_of_its_parts(folder, whole, model):
    text = PeAvText(name=str(whole)).build().eval()
    ours = vectors(text, list(text.prepare(list(TEXTS))[:, None]))
    torch.testing.assert_close(ours, expected_text(model, folder), atol=1e-5, rtol=0)
    audio = PeAvAudio(name=str(whole)).build().eval()
    expected = expected_audio(model, folder, [wave(2.0)])
    torch.testing.assert_close(
        vectors(audio, [audio.prepare(wave(2.0))]), expected, atol=1e-5, rtol=0
    )


def test_a_text_has_a_head_for_each_partner(whole):
    tensors = load_file(whole / "model.safetensors")
    audio, vision = (PeAvText(name=str(whole), toward=one).build() for one in ("audio", "vision"))
    for encoder, head in (
        (audio, "audio_model.text_audio_head"), (vision, "video_model.text_video_head"),
    ):  # fmt: skip
        assert torch.equal(encoder.head.proj.weight, tensors[f"{head}.proj.weight"])
    assert not torch.equal(audio.head.proj.weight, vision.head.proj.weight)
    assert (
        audio.fingerprint == vision.fingerprint
    )  # of the trunk: their cached features are the same


def test_a_model_of_sounds_has_no_head_toward_vision(folder):
    with pytest.raises(
        UserError, match=r"--model.text.toward vision: .* only with another modality"
    ):
        PeAvText(name=str(folder), toward="vision").build()


def test_both_text_encoders_of_a_model_share_a_tower_and_one_space(whole, tmp_path):
    """Vision by a stand-in of the same size: PE-AV's needs timm."""
    config = TriModal(
        text=PeAvText(name=str(whole), toward="vision"),
        sound_text=PeAvText(name=str(whole), toward="audio"),
        vision=SiglipVision(name=str(siglip(tmp_path / "siglip"))),
        audio=PeAvAudio(name=str(whole)),
        one_space=True,
    )
    model = config.build().eval()
    pairs = zip(model.text.trunk.parameters(), model.sound_text.trunk.parameters(), strict=True)
    assert all(one.data_ptr() == other.data_ptr() for one, other in pairs)
    assert model.compares("audio", "vision")
    toward = [model.embed_text(["a dog barks"], one) for one in ("vision", "audio")]
    assert np.abs(toward[0] - toward[1]).max() > 0.01


def video_config(**settings):
    """The frames' encoder is a ViT instead of one of timm."""
    vision = ViTConfig(**TOWER, num_attention_heads=4, image_size=32, patch_size=16, num_labels=12)
    video = PeVideoEncoderConfig(
        vision_config=vision,
        hidden_size=48,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        head_dim=12,
    )
    return PeVideoConfig(text_config=TOWER | PE_TEXT, video_config=video, **settings)


def test_clips_of_different_lengths_have_the_vectors_of_transformers():
    torch.manual_seed(0)
    model = PeVideoModel(video_config()).eval()
    trunk = VideoTrunk(model.video_encoder)
    clips = [torch.randn(count, 3, 32, 32) for count in (1, 5, 16)]
    with torch.inference_mode():
        ours = model.video_head(trunk(torch.cat([clip_step(clip, 16) for clip in clips])))
        ids = torch.tensor([[1, 5, 2]])
        expected = [model(ids, pixel_values_videos=clip[None]).video_embeds for clip in clips]
    torch.testing.assert_close(
        F.normalize(ours), F.normalize(torch.cat(expected)), atol=1e-5, rtol=0
    )


def test_frames_are_prepared_as_the_video_processor_says(tmp_path):
    """Its own class needs torchvision; its settings are those of the published models."""
    published = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    published |= {"rescale_factor": 1 / 255, "size": {"height": 24, "width": 32}}
    settings = {"video_processor": published, "processor_class": "PeAudioVideoProcessor"}
    (tmp_path / "processor_config.json").write_text(json.dumps(settings))
    frames = np.random.default_rng(0).integers(0, 256, (2, 50, 40, 3), np.uint8)
    pixels = frame_processor(str(tmp_path))(list(frames), return_tensors="pt")["pixel_values"]
    squeezed = Image.fromarray(frames[1]).resize((32, 24), Image.Resampling.BILINEAR)
    expected = torch.from_numpy(np.asarray(squeezed) / 127.5 - 1).permute(2, 0, 1).float()
    torch.testing.assert_close(pixels[1], expected, atol=1e-6, rtol=0)
    (tmp_path / "processor_config.json").unlink()
    with pytest.raises(UserError, match="no settings of its video processor"):
        frame_processor(str(tmp_path))


@pytest.mark.skipif(find_spec("timm") is not None, reason="timm is installed")
def test_vision_without_timm_is_refused_with_the_remedy(whole):
    with pytest.raises(UserError, match=r"timm, which is not installed: pip install timm"):
        PeAvVision(name=str(whole)).build()


def test_a_preprocessor_of_another_model_is_refused(tmp_path):
    name = str(pe_audio(tmp_path / "model", hop=128))
    with pytest.raises(UserError, match=r"has a hop of 128 samples, its audio tower one of 64"):
        PeAvAudio(name=name).build()


@pytest.mark.parametrize(
    ("config", "tensor"),
    [
        (PeAvText, "text_model.layers.1.mlp.Wi.weight"),
        (PeAvText, "text_audio_head.proj.weight"),
        (PeAvAudio, "audio_encoder.layers.1.mlp.up_proj.weight"),
        (PeAvAudio, "audio_head.proj.weight"),
    ],
)
@pytest.mark.parametrize("write", [pe_audio, pe_audio_video])
def test_a_missing_tensor_and_another_family_are_refused_by_name(config, tensor, write, tmp_path):
    folder = write(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    stored = tensor if tensor in tensors else f"audio_model.{tensor}"
    del tensors[stored]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=rf"lack 1 of .* \({tensor}\)"):
        config(name=str(folder)).build()
    with pytest.raises(UserError, match="is of type 'siglip2', and this tower takes pe_audio"):
        config(name=str(naflex(tmp_path / "other"))).build()


def test_other_lengths_of_steps_are_another_preparation(folder):
    config = PeAvAudio(name=str(folder))
    assert replace(config, step_seconds=5.0).build().fingerprint != config.build().fingerprint
