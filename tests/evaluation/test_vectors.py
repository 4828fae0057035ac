import numpy as np
import pytest
import torch

from trichord.evaluation import vectors
from trichord.evaluation.gallery import Mean, Weights
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
    assert found.compares("audio", "vision")


def test_the_untrained_pair_has_a_vector_towards_each_side(untrained_model, source):
    found = embed_source(untrained_model, source(untrained_model))
    captions = found.captions["audio"]
    assert found.compares("text", "audio")
    assert not found.compares("audio", "vision")
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


def scores_of(found):
    """Captions about both against the clips that are there."""
    owner = found.captions["audio_visual"].owner
    clips = np.flatnonzero(found.present("clip"))
    scores = found.scores("clip", "audio_visual", np.arange(len(owner)), clips)
    return scores.block(slice(0, len(owner)), slice(0, len(clips)))


def as_training_only(model, source):
    """What the model itself gives for all captions about both and all clips, in one batch."""
    numbers = source.captions.numbers["audio_visual"]
    batch = source.batch(np.arange(len(source.clips)), None)
    with torch.no_grad():
        text = model.text(source.texts(numbers, "vision"))
        return model.fusion(text, model.vision(batch.vision), model.audio(batch.audio)).numpy()


FUSIONS = [
    ("global_to_global", {}),
    ("global_to_global", {"absent": "zeros"}),
    ("global_to_local", {}),
    ("global_to_local", {"absent": "zeros"}),
    ("tight", {}),
    ("local_to_local", {}),
]


@pytest.mark.parametrize(("level", "options"), FUSIONS)
def test_clips_are_scored_as_the_model_scores_them(level, options, fused_model, feature_source):
    model = fused_model(level, **options)
    source = feature_source(model)
    found = embed_source(model, source)
    there = found.present("clip")
    assert there.tolist() == [True, True, True, False, True, True]
    np.testing.assert_allclose(
        scores_of(found), as_training_only(model, source)[:, there], atol=2e-5
    )


def test_global_to_local_vectors_are_those_that_an_index_holds(fused_model, feature_source):
    model = fused_model("global_to_local")
    source = feature_source(model)
    found = embed_source(model, source)
    batch = source.batch(np.arange(len(source.clips)), None)
    with torch.no_grad():
        plain = model.vision(batch.vision)
        vision, audio = model.fusion.media(plain, model.audio(batch.audio))
    np.testing.assert_allclose(found.vision, vision.pooled.numpy(), atol=1e-5)
    np.testing.assert_allclose(found.audio, audio.pooled.numpy(), atol=1e-5)
    assert np.abs(found.vision - plain.pooled.numpy()).max() > 0.1
    assert found.mingled


@pytest.mark.parametrize("level", ["global_to_local", "local_to_local"])
def test_portions_change_no_fused_score(level, fused_model, feature_source, monkeypatch):
    model = fused_model(level)
    source = feature_source(model)
    whole = scores_of(embed_source(model, source))
    monkeypatch.setattr(vectors, "CLIPS_AT_ONCE", 2)
    np.testing.assert_allclose(scores_of(embed_source(model, source)), whole, atol=2e-5)


def test_only_global_to_local_mingles_sight_and_sound(fused_model, feature_source):
    for level in ("global_to_global", "tight", "local_to_local", None):
        model = fused_model(level)
        assert not embed_source(model, feature_source(model)).mingled


def test_a_model_without_a_fusion_fuses_only_when_it_is_told_how(fused_model, feature_source):
    model = fused_model(None)
    source = feature_source(model)
    assert embed_source(model, source).fused is None
    found = embed_source(model, source, Weights())
    assert found.fused == Mean()
    with_fusion = fused_model("global_to_global")
    np.testing.assert_allclose(
        scores_of(found), scores_of(embed_source(with_fusion, source)), atol=1e-6
    )


def test_weights_reach_the_mean_and_its_rule_stays_the_models(fused_model, feature_source):
    model = fused_model("global_to_global", absent="zeros")
    found = embed_source(model, feature_source(model), Weights(visual_weight=2.0))
    assert found.fused == Mean(weights=Weights(visual_weight=2.0), absent="zeros")


def test_two_spaces_cannot_be_fused(untrained_model, source):
    with pytest.raises(ValueError, match="does not compare audio with vision"):
        embed_source(untrained_model, source(untrained_model), Weights())


def test_a_source_without_sight_has_no_pictures_and_fused_clips_of_sound(
    fused_model, feature_source
):
    model = fused_model("global_to_local")
    found = embed_source(model, feature_source(model, modalities=("text", "audio")))
    assert not found.has_vision.any()
    assert found.present("clip").tolist() == found.has_audio.tolist()
    assert found.has_audio.tolist() == [True, False, True, False, True, True]


def test_clips_that_towers_have_yet_to_read_are_taken_few_at_a_time(
    fused_model, feature_source, monkeypatch
):
    model = fused_model("global_to_global")
    held = feature_source(model)
    sizes = []

    class Unread:
        """As if the pictures had to be decoded: the batches themselves are read."""

        clips, captions, texts = held.clips, held.captions, held.texts
        precomputed = ("text", "audio")

        def batch(self, clips, captions, masking=None):
            sizes.append(len(clips))
            return held.batch(clips, captions)

    monkeypatch.setattr(vectors, "MEDIA_AT_ONCE", 4)
    embed_source(model, Unread())
    assert sizes == [4, 2]
