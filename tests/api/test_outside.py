"""Encoders from outside the package, trained, measured and searched with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from outside import outside_model

from trichord.api.collection import Collection
from trichord.api.model import Model
from trichord.config import InfoNCE
from trichord.evaluation.retrieval import recalls_at
from trichord.evaluation.vectors import embed_source
from trichord.features.extraction import extract_media, extract_texts
from trichord.features.source import FeatureSource, MediaSource
from trichord.features.store import FeatureFolder
from trichord.types import Caption, Clip

NAMES = ("bell", "drum", "dog", "rain", "siren", "silent-snow", "dark-night")


@pytest.fixture
def clips():
    return [
        Clip(
            id=name,
            path=f"/nowhere/{name}.mp4",
            captions=(
                Caption(text=f"{name} is seen", about="visual"),
                Caption(text=f"how {name} sounds", about="audio"),
            ),
        )
        for name in NAMES
    ]


def train(model, source, steps=150):
    objective = InfoNCE().build()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.01)
    every = np.arange(len(source.clips))
    losses = []
    for step in range(steps):
        batch = source.batch(every, 2 * every + step % 2)
        rows = torch.ones(len(every), dtype=torch.bool)
        terms = objective(model(batch), {"av": rows, "at": rows, "vt": rows})
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.fixture
def trained(clips, made_up):
    model = outside_model()
    losses = train(model, MediaSource(clips, model, made_up))
    assert losses[-1] < 0.3 * losses[0]
    return model.eval()


def test_they_learn_which_clip_a_caption_is_of(trained, clips, made_up):
    vectors = embed_source(trained, MediaSource(clips, trained, made_up))
    assert vectors.has_audio.tolist() == [name != "silent-snow" for name in NAMES]
    assert vectors.has_vision.tolist() == [name != "dark-night" for name in NAMES]
    found = recalls_at(1, vectors, ["visual<-visual", "audio<-audio", "visual<-sound"])
    assert min(found.values()) > 0.8


def test_their_features_are_cached_and_read_again(trained, clips, made_up, tmp_path):
    folder = FeatureFolder(tmp_path / "cache")
    texts = [caption.text for clip in clips for caption in clip.captions]
    list(extract_texts(trained, texts, folder))
    list(extract_media(trained, clips, folder, made_up))
    cached = embed_source(trained, FeatureSource(clips, trained, folder))
    fresh = embed_source(trained, MediaSource(clips, trained, made_up))
    for name in ("vision", "audio"):
        np.testing.assert_allclose(getattr(cached, name), getattr(fresh, name), atol=1e-5)
    for kind in ("visual", "audio"):
        one, other = cached.captions[kind], fresh.captions[kind]
        np.testing.assert_allclose(one.toward_vision, other.toward_vision, atol=1e-5)


def test_they_index_and_search_files(trained, folder, tmp_path):
    with Model("outside", trained, workers=1) as model:
        assert model.comparable == {("text", "vision"), ("text", "audio"), ("audio", "vision")}
        archive = Collection.create(tmp_path / "archive", model, seconds=1.0)
        archive.add(folder)
        assert archive.search("a bell", k=3)
        by_sound = archive.search(audio=folder / "beep.wav", visual_weight=0.0, k=1)
        assert by_sound[0].moment.file.endswith("beep.wav")
        by_sight = archive.search(image=folder / "still.png", audio_weight=0.0, k=1)
        assert by_sight[0].moment.file.endswith("still.png")
        again = Collection.open(tmp_path / "archive", model)
        assert [hit.moment for hit in again.search("a bell")] == [
            hit.moment for hit in archive.search("a bell")
        ]


def test_what_needs_words_of_the_text_encoder_is_refused(trained):
    with pytest.raises(ValueError, match="text encoder gives no words to a captioner"):
        trained.token_ids(["a bell"])


def test_one_of_them_stands_beside_encoders_of_the_package(tiny_trimodal, clips, made_up):
    model = tiny_trimodal.build().eval()
    model.audio = outside_model().audio
    source = MediaSource(clips, model, made_up)
    assert source.batch(np.arange(3), None).audio.values.shape[2:] == (64,)
    assert model.plan.rates == (8_000,)
    assert replace(model.plan, frames=None).stereo is False
