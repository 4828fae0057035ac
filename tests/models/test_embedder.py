import numpy as np
import pytest
import torch

from trichord.config import Clap, ClipText, ClipVision, TriModal
from trichord.media import Decoded
from trichord.types import UserError
from trichord.types.tensors import Batch, Padded

RATE = 16_000


def decoded(seed=0, frames=3, seconds=2.0):
    random = np.random.default_rng(seed)
    pictures = random.integers(0, 255, (frames, 32, 40, 3), dtype=np.uint8) if frames else None
    sound = (
        {RATE: random.normal(0, 0.1, round(seconds * RATE)).astype(np.float32)} if seconds else {}
    )
    return Decoded(status="ok", frames=pictures, audio=sound)


def test_vectors_do_not_depend_on_what_else_is_in_the_batch(tiny_model):
    clips = [decoded(0), decoded(1, frames=9, seconds=7), decoded(2, frames=1, seconds=0.5)]
    for embed in (tiny_model.embed_vision, tiny_model.embed_audio):
        together, present = embed(clips)
        assert present.all()
        for row, clip in zip(together, clips, strict=True):
            np.testing.assert_allclose(embed([clip])[0][0], row, atol=1e-5)
            assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)


def test_what_a_clip_lacks_is_absent_and_zero(tiny_model):
    vision, seen = tiny_model.embed_vision([decoded(frames=0), decoded()])
    audio, heard = tiny_model.embed_audio([decoded(), decoded(seconds=0)])
    assert seen.tolist() == [False, True]
    assert heard.tolist() == [True, False]
    assert not vision[0].any()
    assert not audio[1].any()


def test_texts_have_one_vector_where_spaces_are_one(tiny_model, untrained_model):
    texts = ["a red ball", "a low bell"]
    assert np.array_equal(
        tiny_model.embed_text(texts, "vision"), tiny_model.embed_text(texts, "audio")
    )
    apart = (untrained_model.embed_text(texts, side) for side in ("vision", "audio"))
    assert not np.allclose(*apart)


def test_texts_do_not_depend_on_their_neighbours(tiny_model):
    texts = ["a", "a very long text " * 20, "bell"]
    rows = tiny_model.embed_text(texts)
    for row, text in zip(rows, texts, strict=True):
        np.testing.assert_allclose(tiny_model.embed_text([text])[0], row, atol=1e-5)


def test_an_empty_text_is_refused_by_its_place(tiny_model):
    with pytest.raises(UserError, match="Text 2 of 2 is empty"):
        tiny_model.embed_text(["a bell", "  "])
    assert tiny_model.embed_text([]).shape == (0, 24)


def test_inputs_and_trunk_features_give_the_same_embeddings(tiny_model):
    clips = [decoded(0), decoded(1, seconds=0)]
    batch = Batch(
        ids=("a", "b"),
        text=Padded.stack(list(tiny_model.text.prepare(["x", "a bell"])[:, None])),
        audio=Padded.stack([tiny_model.audio_inputs(one) for one in clips]),
        vision=Padded.stack([tiny_model.vision_inputs(one) for one in clips]),
    )
    direct, from_features = tiny_model(batch), tiny_model(tiny_model.read(batch))
    for modality in ("text", "audio", "vision"):
        assert torch.equal(direct.of(modality).pooled, from_features.of(modality).pooled)
    assert direct.audio.present.tolist() == [True, False]


def test_a_batch_may_lack_a_modality(tiny_model):
    vision = Padded.stack([tiny_model.vision_inputs(decoded())])
    found = tiny_model(Batch(ids=("a",), vision=vision))
    assert found.text is None
    assert found.audio is None


def test_the_plan_is_what_the_towers_need(tiny_model):
    assert tiny_model.plan.rates == (RATE,)
    assert tiny_model.plan.frames.short_side == 32


def test_the_fingerprint_follows_heads_too(tiny_trimodal):
    one, other = tiny_trimodal.build(), tiny_trimodal.build()
    assert one.fingerprint == other.fingerprint
    other.audio.head.linear2.bias.data += 1
    assert one.fingerprint != other.fingerprint


def test_towers_of_different_projection_sizes_are_refused(tiny_towers, tmp_path):
    from trichord.encoders.small import SmallClip, build_clip

    sizes = SmallClip(side=32, width=32, inner=64, layers=1, text_inner=64, dim=16)
    build_clip(sizes, ["a bell"], tmp_path, seed=0).save_pretrained(tmp_path)
    name = str(tmp_path)
    model = TriModal(
        text=ClipText(name=name),
        vision=ClipVision(name=name),
        audio=Clap(name=str(tiny_towers / "clap")),
    )
    with pytest.raises(UserError, match=r"16 dimensions.*24"):
        model.build()
