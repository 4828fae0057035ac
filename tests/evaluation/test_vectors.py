import numpy as np
import pytest
import torch

from trichord.evaluation import vectors
from trichord.evaluation.vectors import embed_source
from trichord.features.source import FeatureSource
from trichord.features.store import FeatureFolder, FeatureRow
from trichord.types import Caption, Clip


@pytest.fixture
def source(tmp_path):
    """Clips with random features; the second is silent, the third has no caption."""

    def make(model):
        texts = [["a bell", "a drum"], ["a bell"], []]
        clips = [
            Clip(id=f"c{i}", path="/", captions=tuple(Caption(text=t, about="audio") for t in of))
            for i, of in enumerate(texts)
        ]
        random, folder = np.random.default_rng(0), FeatureFolder(tmp_path)

        def put(name, keys, steps):
            tower = model.encoders()[name]
            rows = [
                FeatureRow(k, "o", "ok", random.normal(size=(n, tower.width)).astype(np.float32))
                for k, n in zip(keys, steps, strict=True)
            ]
            folder.table(name, tower).put(rows)

        put("vision", ["c0", "c1", "c2"], [3, 1, 2])
        put("audio", ["c0", "c1", "c2"], [1, 0, 2])
        for name in model.encoders().keys() & {"text", "sound_text"}:
            put(name, ["a bell", "a drum"], [1, 1])
        return FeatureSource(clips, model, folder)

    return make


def test_every_clip_and_caption_is_embedded_in_order(tiny_model, source):
    found = embed_source(tiny_model, source(tiny_model))
    assert found.ids == ("c0", "c1", "c2")
    assert found.has_audio.tolist() == [True, False, True]
    assert found.has_vision.all()
    captions = found.captions["audio"]
    assert captions.texts == ("a bell", "a drum", "a bell")
    assert captions.owner.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(captions.toward_vision[0], captions.toward_vision[2])
    np.testing.assert_array_equal(captions.toward_vision, captions.toward_audio)
    assert found.aligned


def test_the_untrained_pair_has_a_vector_towards_each_side(untrained_model, source):
    found = embed_source(untrained_model, source(untrained_model))
    captions = found.captions["audio"]
    assert not found.aligned
    assert not np.allclose(captions.toward_vision, captions.toward_audio)


def test_portions_change_nothing(tiny_model, source, monkeypatch):
    held = source(tiny_model)
    whole = embed_source(tiny_model, held)
    monkeypatch.setattr(vectors, "CLIPS_AT_ONCE", 2)
    monkeypatch.setattr(vectors, "CAPTIONS_AT_ONCE", 2)
    cut = embed_source(tiny_model, held)
    np.testing.assert_allclose(cut.vision, whole.vision, atol=1e-6)
    np.testing.assert_allclose(
        cut.captions["audio"].toward_vision, whole.captions["audio"].toward_vision, atol=1e-6
    )


def test_measuring_leaves_training_as_it_was(tiny_model, source):
    tiny_model.train()
    embed_source(tiny_model, source(tiny_model))
    assert tiny_model.training
    assert torch.is_grad_enabled()
    assert not tiny_model.text.trunk.training  # frozen
