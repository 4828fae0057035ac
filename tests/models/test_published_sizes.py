"""Parameter counts at ViT-B/32 size, on torch's meta device: nothing is allocated."""

import pytest
import torch
from transformers import CLIPConfig

from trichord.config import ClipAudio, ClipText, ClipVision, Cross, InfoNCE, TriModal
from trichord.encoders import clip, clip_audio, multilingual_clip
from trichord.encoders.pretrained import load

WORDS_OF_CLIP4VLA = 49_411
SCALE = 1
"""CLIP's own temperature, which the authors carry along; ours is the objective's."""


@pytest.fixture
def vit_b_32(monkeypatch):
    """Towers of the published sizes for every name, without weights."""
    config = CLIPConfig(text_config={"vocab_size": WORDS_OF_CLIP4VLA})

    def empty(kind, name, model_types):
        return kind(config.text_config if "Text" in kind.__name__ else config.vision_config)

    monkeypatch.setattr(clip, "load_cached", lambda kind, name: load(kind, "stand-in-clip"))
    monkeypatch.setattr(clip, "load_model", empty)
    monkeypatch.setattr(clip, "require_size", lambda processor, name, side: None)
    monkeypatch.setattr(clip, "require_fit", lambda tokenizer, name, rows: None)
    for module in (clip, clip_audio):
        monkeypatch.setattr(module, "require_type", lambda name, model_types: "clip")
    monkeypatch.setattr(multilingual_clip, "model_type", lambda name: "clip")


def build(fusion=None):
    model = TriModal(text=ClipText(), vision=ClipVision(), audio=ClipAudio(), fusion=fusion)
    with torch.device("meta"):
        return model.build()


def count(module):
    return sum(value.numel() for value in module.parameters())


def test_the_audio_tower_has_the_published_size(vit_b_32):
    model = build()
    assert {value.device.type for value in model.parameters()} == {"meta"}
    assert count(model.audio) == 87_851_520


def test_clip_with_three_more_words_has_the_published_size(vit_b_32):
    model = build()
    assert count(model.text) + count(model.vision) + SCALE == 151_278_849


def test_the_model_of_the_logged_run_has_the_published_size(vit_b_32):
    model = build(Cross(form="bert"))
    with torch.device("meta"):
        objective = InfoNCE(shared=True).build()
    assert count(model.fusion) == 17_335_296 + 513
    assert count(model) + count(objective) == 256_466_178


def test_the_released_form_of_the_cross_transformer_has_the_published_size(vit_b_32):
    assert count(build(Cross(form="clip", from_text=False)).fusion) == 12_650_496 + 513
