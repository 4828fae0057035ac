import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import small_trunks
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors.torch import load_file, save_file
from transformers import (
    ASTFeatureExtractor,
    ASTModel,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperFeatureExtractor,
    WhisperModel,
)

from trichord.api.conformance import check_encoder
from trichord.config import AudioTrunk, InfoNCE
from trichord.encoders.graph import Sizes
from trichord.encoders.weight_cache import shared_towers
from trichord.exporting.graphs import write_graph
from trichord.types import UserError
from trichord.types.tensors import Batch, Padded

RATE = 16_000
FAMILIES = {
    "ast": (ASTModel, ASTFeatureExtractor),
    "whisper": (WhisperModel, WhisperFeatureExtractor),
    "wav2vec2": (Wav2Vec2Model, Wav2Vec2FeatureExtractor),
    "wav2vec2_large": (Wav2Vec2Model, Wav2Vec2FeatureExtractor),
    "hubert": (HubertModel, Wav2Vec2FeatureExtractor),
    "hubert_batch_norm": (HubertModel, Wav2Vec2FeatureExtractor),
}
CHUNKS = {"ast": 400 + 99 * 160, "whisper": 2 * RATE}
"""Samples of a chunk; 10 s for the others."""
EXPORTED = ("ast", "whisper")


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    """A folder of each family, named after it."""
    return written(request.param, tmp_path_factory.mktemp("trunks"))


def written(family, place):
    return getattr(small_trunks, family)(place / family)


def noise(seconds, seed=0):
    random = np.random.default_rng(seed)
    swell = np.sin(np.linspace(0, 7, round(seconds * RATE)))
    return (random.normal(0, 0.1, len(swell)) * swell).astype(np.float32)


class Reference:
    """A model of `transformers`, which reads each chunk alone and without padding of its own."""

    def __init__(self, folder):
        model, extractor = FAMILIES[folder.name]
        self.kind = folder.name
        self.model = model.from_pretrained(folder).eval()
        self.extractor = extractor.from_pretrained(folder)

    @torch.inference_mode()
    def of_chunk(self, wave):
        inputs = self.extractor(wave, sampling_rate=RATE, return_tensors="pt")
        if self.kind == "ast":
            return self.model(inputs["input_values"]).pooler_output[0]
        if self.kind == "whisper":
            frames = self.model.encoder(inputs["input_features"]).last_hidden_state[0]
            return frames[: math.ceil(len(wave) / 320)].mean(dim=0)
        return self.model(inputs["input_values"]).last_hidden_state[0].mean(dim=0)

    def of_wave(self, wave):
        length = CHUNKS.get(self.kind, 10 * RATE)
        cut = [wave[start : start + length] for start in range(0, len(wave), length)]
        if len(cut) > 1 and len(cut[-1]) < RATE:
            cut.pop()
        return torch.stack([self.of_chunk(one) for one in cut])


def build(folder, **options):
    torch.manual_seed(0)
    return AudioTrunk(name=str(folder), **{"dim": 24} | options).build().eval()


def features(encoder, *waves):
    with torch.inference_mode():
        return encoder.trunk_features(Padded.stack([encoder.prepare(wave) for wave in waves]))


@pytest.mark.parametrize("seconds", [0.3, 10.0, 65.0])
def test_sounds_have_the_features_of_transformers(folder, seconds):
    encoder, reference = build(folder), Reference(folder)
    ours, expected = features(encoder, noise(seconds)).values[0], reference.of_wave(noise(seconds))
    torch.testing.assert_close(F.normalize(ours), F.normalize(expected), atol=1e-5, rtol=0)
    with torch.inference_mode():
        vector = encoder(Padded.stack([ours])).pooled[0]
        mean = F.normalize(encoder.head(expected).mean(dim=0), dim=0)
    torch.testing.assert_close(vector, mean, atol=1e-5, rtol=0)


def test_sounds_differ_by_more_than_the_tolerance(folder):
    encoder = build(folder)
    one, other = (features(encoder, noise(0.5, seed)).values[0, 0] for seed in (1, 2))
    assert (F.normalize(one, dim=0) - F.normalize(other, dim=0)).abs().max() > 1e-4


def test_a_vector_does_not_depend_on_the_batch(folder):
    encoder = build(folder)
    waves = [noise(seconds, seed) for seed, seconds in enumerate((0.3, 0.7, 3.2, 0.7, 12.5))]
    together = features(encoder, *waves)
    for row, mask, wave in zip(together.values, together.mask, waves, strict=True):
        alone = features(encoder, wave).values[0]
        torch.testing.assert_close(F.normalize(row[mask]), F.normalize(alone), atol=1e-5, rtol=0)


def test_a_click_and_silence_have_vectors(folder):
    encoder = build(folder)
    for wave in (np.ones(1, np.float32), np.zeros(RATE // 2, np.float32)):
        assert features(encoder, wave).values.isfinite().all()


def test_a_tail_is_kept_if_it_is_long_enough_or_alone(folder):
    encoder = build(folder, min_tail_seconds=0.5)
    length = CHUNKS.get(folder.name, 10 * RATE)
    for samples, steps in ((1, 1), (length, 1), (length + 7_999, 1), (length + 8_000, 2)):
        assert len(encoder.prepare(np.zeros(samples, np.float32))) == steps


@pytest.mark.parametrize(
    "folder",
    [
        name if name in ("ast", "wav2vec2") else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILIES
    ],
    indirect=True,
)
def test_every_check_of_an_encoder_passes(folder):
    checks = check_encoder(AudioTrunk(name=str(folder), dim=24))
    assert [check for check in checks if check.status == "FAIL"] == []
    skipped = [check.name for check in checks if check.status == "SKIP"]
    assert skipped == ([] if folder.name in EXPORTED else ["export"])


@pytest.mark.parametrize("family", [pytest.param("ast", marks=pytest.mark.slow), "whisper"])
def test_an_exported_trunk_has_the_vectors_of_its_run(family, tmp_path):
    encoder = build(written(family, tmp_path))
    write_graph(encoder, tmp_path / "audio.onnx")
    encoder.extractor.save_pretrained(tmp_path / "audio")
    Sizes(dim=encoder.dim, width=encoder.dim).write(tmp_path / "audio")
    graph = build(tmp_path / "audio", arithmetic="graph")
    with torch.inference_mode():
        ours, theirs = (one(features(one, noise(2.6))).pooled for one in (encoder, graph))
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)


def test_the_fingerprint_covers_weights_and_preparation_but_not_the_new_head(folder):
    config = AudioTrunk(name=str(folder))
    torch.manual_seed(1)
    fingerprint = config.build().fingerprint
    torch.manual_seed(2)
    assert config.build().fingerprint == fingerprint
    assert replace(config, dim=24).build().fingerprint == fingerprint
    assert replace(config, min_tail_seconds=0.5).build().fingerprint != fingerprint


def test_models_that_share_a_trunk_have_heads_of_their_own(folder):
    alone = build(folder)
    with shared_towers():
        one, other = (AudioTrunk(name=str(folder), dim=24).build().eval() for _ in range(2))
    for shared in (one, other):
        assert torch.equal(features(shared, noise(1.5)).values, features(alone, noise(1.5)).values)
        assert shared.fingerprint == alone.fingerprint
    assert not torch.equal(one.head.weight, other.head.weight)


def test_a_head_trains_toward_the_texts_of_a_clip(folder, tiny_trimodal):
    torch.manual_seed(0)
    audio = AudioTrunk(name=str(folder), dim=24)
    model = replace(tiny_trimodal, audio=audio).build().train()
    objective = InfoNCE().build(("at",))
    texts = ["a low bell rings", "someone says good morning"]
    batch = Batch(
        ids=("one", "two"),
        text=Padded.stack(list(model.text.prepare(texts)[:, None])),
        audio=Padded.stack([model.audio.prepare(noise(s, seed=round(s))) for s in (3.0, 1.2)]),
    )
    optimizer = torch.optim.SGD(model.audio.head.parameters(), lr=1e-3)
    trunk = {name: value.clone() for name, value in model.audio.trunk.state_dict().items()}
    rows = {"at": torch.ones(2, dtype=torch.bool)}
    losses = []
    for _ in range(2):
        loss = sum(objective(model(batch), rows).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert all(torch.equal(v, trunk[n]) for n, v in model.audio.trunk.state_dict().items())


def test_a_trunk_that_trains_masks_nothing_at_random(folder):
    """SpecAugment would draw from numpy's global generator."""
    encoder = build(folder)
    encoder.unfreeze()
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    encoder.train()(encoder.trunk_features(Padded.stack([encoder.prepare(noise(2.0))])))
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_half_precision_is_near(folder):
    waves = (noise(0.4), noise(2.2))
    full, halved = (features(build(folder, arithmetic=a), *waves) for a in ("float32", "bfloat16"))
    assert halved.values.dtype == torch.float32
    cosines = F.cosine_similarity(full.values[full.mask], halved.values[full.mask])
    assert cosines.min() > 0.99
    assert not torch.equal(full.values, halved.values)


def test_waves_are_not_compiled_for_each_length(tmp_path, monkeypatch):
    encoder = build(written("hubert", tmp_path))
    waves = (noise(0.4), noise(0.6), noise(2.2))
    expected = features(encoder, *waves).values
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    encoder.compile_trunk()
    torch.testing.assert_close(features(encoder, *waves).values, expected)


def test_waves_are_cut_as_one_says_and_other_models_have_chunks_of_their_own(tmp_path):
    assert len(build(written("hubert", tmp_path), chunk_seconds=2.5).prepare(noise(6.0))) == 3
    with pytest.raises(UserError, match=r"--model.audio.chunk-seconds: '.*' always reads 2 s"):
        build(written("whisper", tmp_path), chunk_seconds=2.5)
    with pytest.raises(UserError, match=r"--model.audio.chunk-seconds: '.*' always reads 1.015 s"):
        build(written("ast", tmp_path), chunk_seconds=1.0)


def test_only_a_trunk_with_batch_norm_has_it(folder):
    assert build(folder).has_batch_norm == (folder.name == "hubert_batch_norm")


def test_weights_with_the_names_of_older_files_are_read(tmp_path):
    """Published wav2vec2s and HuBERTs were saved before torch renamed the parts of weight norms."""
    folder = written("hubert", tmp_path)
    wave = noise(1.0)
    expected = features(build(folder), wave).values
    tensors = load_file(folder / "model.safetensors")
    new = "encoder.pos_conv_embed.conv.parametrizations.weight.original"
    old = "encoder.pos_conv_embed.conv.weight_"
    names = {f"{new}0": f"{old}g", f"{new}1": f"{old}v"}
    assert set(names) <= set(tensors)
    tensors = {names.get(name, name): value for name, value in tensors.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert torch.equal(features(build(folder), wave).values, expected)


MISSING = {
    "ast": "audio_spectrogram_transformer.layernorm.bias",
    "whisper": "model.encoder.conv2.bias",
    "wav2vec2": "wav2vec2.feature_projection.projection.bias",
    "hubert": "feature_projection.projection.bias",
}


@pytest.mark.parametrize("family", MISSING)
def test_a_missing_or_misshapen_tensor_is_refused_by_name(family, tmp_path):
    folder, name = written(family, tmp_path), MISSING[family]
    told = name.removeprefix("audio_spectrogram_transformer.").removeprefix("wav2vec2.")
    told = told.removeprefix("model.")
    tensors = load_file(folder / "model.safetensors")
    rest = {k: v for k, v in tensors.items() if k != name}
    assert len(rest) == len(tensors) - 1
    save_file(rest, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=rf"lack 1 of the .* \({told}\)"):
        build(folder)
    save_file(tensors | {name: torch.zeros(7)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=rf"have 1 of another shape .* \({told}\)"):
        build(folder)


@pytest.mark.parametrize(
    ("family", "settings", "told"),
    [
        ("ast", {"max_length": 120}, "makes 120 frames of 32 bands, its encoder takes 100 of 32"),
        ("whisper", {"chunk_length": 3}, "makes 300 frames of 24 bands, .* takes 200 of 24"),
        ("whisper", {"feature_size": 20}, "makes 200 frames of 20 bands, .* takes 200 of 24"),
        ("whisper", {"dither": 0.1}, "adds noise"),
    ],
)
def test_the_extractor_of_another_model_is_refused(family, settings, told, tmp_path):
    folder = written(family, tmp_path)
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    with pytest.raises(UserError, match=told):
        build(folder)


def test_another_family_and_a_foreign_graph_are_refused(tiny_towers, tmp_path):
    with pytest.raises(UserError, match="is of type 'clap', and this tower takes audio-spec"):
        build(tiny_towers / "clap")
    shutil.copytree(tiny_towers / "clap", tmp_path / "clap")
    with pytest.raises(UserError, match="ClapFeatureExtractor prepares sound for another encoder"):
        build(tmp_path / "clap", arithmetic="graph")


def test_a_space_of_another_size_than_that_of_the_texts_is_refused(tmp_path, tiny_trimodal):
    audio = AudioTrunk(name=str(written("ast", tmp_path)))
    with pytest.raises(UserError, match="512"):
        replace(tiny_trimodal, audio=audio).build()
