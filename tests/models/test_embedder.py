from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import torch

from trichord.checkpoint.weights import load_owned, owned_state
from trichord.config import Clap, ClapText, ClipText, ClipVision, Cross, GlobalToGlobal, TriModal
from trichord.config.limits import check, fingerprint_text
from trichord.media import Decoded
from trichord.models import fusion
from trichord.types import UserError
from trichord.types.rng import isolated_rng
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
    together = tiny_model.embed_media(clips)
    assert together.has_vision.all()
    assert together.has_audio.all()
    for i, clip in enumerate(clips):
        alone = tiny_model.embed_media([clip])
        for row, same in (
            (together.vision[i], alone.vision[0]), (together.audio[i, 0], alone.audio[0, 0]),
        ):  # fmt: skip
            np.testing.assert_allclose(same, row, atol=1e-5)
            assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)


def test_what_a_clip_lacks_is_absent_and_zero(tiny_model):
    found = tiny_model.embed_media([decoded(frames=0), decoded(seconds=0)])
    assert found.has_vision.tolist() == [False, True]
    assert found.has_audio.tolist() == [True, False]
    assert not found.vision[0].any()
    assert not found.audio[1].any()


@pytest.fixture
def steered(tiny_clip4vla):
    """Builds a model whose audio type token and fusion make a difference."""

    def build(token=0.5, level=None):
        cross = level and Cross(level=level, from_text=False, heads=2, layers=1, frame_slots=9)
        audio = replace(tiny_clip4vla.audio, token=token)
        model = replace(tiny_clip4vla, audio=audio, fusion=cross).build().eval()
        torch.manual_seed(3)
        trunk = model.audio.audio_trunk
        trunk.positions.data[-1] = 0.0
        trunk.tokens.data = torch.randn_like(trunk.tokens)
        for value in model.fusion.parameters() if cross else ():
            torch.nn.init.normal_(value, std=0.3)
        return model

    return build


CLIPS = (decoded(0), decoded(1, frames=0), decoded(2, seconds=0), decoded(3, frames=9, seconds=0.5))


@pytest.mark.parametrize("own", [0.5, 0.0, "clip", "both", "none"])
def test_sound_is_heard_at_each_sound_token_and_then_as_before(steered, own):
    model, tokens = steered(own), (0.0, 0.3, 1.0)
    fingerprint = model.fingerprint
    found = model.embed_media(CLIPS, tokens)
    for i, token in enumerate(tokens):
        alone = steered(token).embed_media(CLIPS)
        np.testing.assert_allclose(found.audio[:, i], alone.audio[:, 0], atol=1e-6)
        np.testing.assert_array_equal(found.vision, alone.vision)
    assert np.abs(found.audio[0, 0] - found.audio[0, 2]).max() > 0.01
    assert found.has_audio.tolist() == [True, True, False, True]
    after = model.embed_media(CLIPS).audio
    np.testing.assert_array_equal(after, steered(own).embed_media(CLIPS).audio)
    assert model.fingerprint == fingerprint


def test_a_wave_is_heard_once_for_all_sound_tokens(steered, monkeypatch):
    model = steered()
    waves = []
    compute = model.audio.spectrogram
    model.audio.no_steps()  # made of a spectrogram of its own, once
    monkeypatch.setattr(
        model.audio, "spectrogram", lambda wave: waves.append(wave) or compute(wave)
    )
    model.embed_media(CLIPS, (0.0, 0.5, 1.0))
    assert len(waves) == sum(bool(clip.audio) for clip in CLIPS)


def test_a_tower_without_sound_token_cannot_listen_at_one(tiny_model):
    with pytest.raises(ValueError, match="takes no audio type token"):
        tiny_model.embed_media([decoded()], (0.5,))


def test_global_to_local_reads_each_clip_alone_and_in_the_light_of_the_first_token(steered):
    model, tokens = steered(level="global_to_local"), (1.0, 0.0)
    found = model.embed_media(CLIPS, tokens)
    for i, clip in enumerate(CLIPS):
        vision, heard = model.read_media([clip], tokens)
        for j, audio in enumerate(heard):
            seen, said = model.fusion.media(
                vision if vision.present[0] else None, audio if audio.present[0] else None
            )
            if said is not None:
                np.testing.assert_allclose(found.audio[i, j], said.pooled[0].detach(), atol=1e-5)
            if seen is not None and j == 0:
                np.testing.assert_allclose(found.vision[i], seen.pooled[0].detach(), atol=1e-5)
    other = model.embed_media(CLIPS, tokens[::-1])
    apart = np.abs(found.vision - other.vision).max(axis=1) > 1e-4
    assert apart.tolist() == [True, False, False, True]
    np.testing.assert_allclose(found.audio, other.audio[:, ::-1], atol=1e-6)


@pytest.mark.parametrize("level", ["tight", "local_to_local"])
def test_fusions_that_read_pairs_leave_vectors_as_they_are(steered, level):
    with_fusion, without = steered(level=level).embed_media(CLIPS), steered().embed_media(CLIPS)
    np.testing.assert_array_equal(with_fusion.vision, without.vision)
    np.testing.assert_array_equal(with_fusion.audio, without.audio)


@pytest.mark.parametrize(
    ("level", "reranks"),
    [(None, False), ("global_to_local", False), ("tight", True), ("local_to_local", True)],
)
def test_it_reranks_where_its_fusion_reads_pairs(steered, level, reranks):
    assert steered(level=level).reranks == reranks


def test_more_frames_than_the_fusion_has_room_for_are_refused(steered):
    with pytest.raises(ValueError, match="10 frames, the fusion room for 9"):
        steered(level="global_to_local").embed_media([decoded(frames=10)])


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
    direct, from_features = tiny_model(batch), tiny_model(tiny_model.apply_trunks(batch))
    for modality in ("text", "audio", "vision"):
        assert torch.equal(direct.of(modality).pooled, from_features.of(modality).pooled)
    assert direct.audio.present.tolist() == [True, False]


def test_sound_that_was_read_is_not_read_again_and_nor_is_its_masked_copy(steered, monkeypatch):
    model = steered(token="clip")
    sound = Padded.stack([model.audio_inputs(one) for one in CLIPS[:2]])
    vision = Padded.stack([model.vision_inputs(CLIPS[0])] * 2)
    batch = Batch(ids=("a", "b"), audio=sound, masked=sound, audio_type=torch.tensor([0.0, 1.0]))
    read = model.apply_trunks(replace(batch, vision=vision))
    monkeypatch.setattr(model.audio.trunk, "forward", None)  # reading once more would call it
    once_read = replace(
        batch, vision=vision, audio=read.audio, masked=read.masked, precomputed=("audio",)
    )
    again = model.apply_trunks(once_read)
    assert torch.equal(again.masked.values, read.masked.values)
    assert torch.equal(again.vision.values, read.vision.values)
    assert not torch.equal(read.masked.values, sound.values.flatten(3))


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


def test_the_fingerprint_follows_pooling_and_the_fusions_settings(tiny_clip4vla):
    audio = tiny_clip4vla.audio
    pooled = replace(audio, pooling="mean" if audio.pooling == "mean_of_unit" else "mean_of_unit")
    cross = Cross(from_text=False, heads=2, layers=1)
    variants = [
        tiny_clip4vla,
        replace(tiny_clip4vla, audio=pooled),
        *(replace(tiny_clip4vla, fusion=GlobalToGlobal(absent=a)) for a in ("masked", "zeros")),
        *(replace(tiny_clip4vla, fusion=replace(cross, absent=a)) for a in ("masked", "zeros")),
        replace(tiny_clip4vla, fusion=replace(cross, frame_slots=9)),
    ]
    prints = []
    for variant in variants:
        torch.manual_seed(0)
        prints.append(variant.build().fingerprint)
    assert len(set(prints)) == len(prints)


OTHER = {
    "level": "tight", "form": "bert", "layers": 2, "heads": 4, "text_slots": 30,
    "frame_slots": 9, "segment_slots": 10, "absent": "zeros",
}  # fmt: skip


def drawn(config):
    """A model with the same random weights each time."""
    with isolated_rng(0):
        return config.build()


def test_the_fingerprint_tells_every_setting_of_a_fusion_but_those_of_training(tiny_clip4vla):
    cross = Cross(from_text=False, heads=2, layers=1)
    assert {*OTHER, "from_text", "dropout"} == {field.name for field in fields(Cross)}

    def fingerprint(**changes):
        return drawn(replace(tiny_clip4vla, fusion=replace(cross, **changes))).fingerprint

    prints = [fingerprint(), *(fingerprint(**{name: value}) for name, value in OTHER.items())]
    assert len(set(prints)) == len(prints)
    assert fingerprint(dropout=0.5) == prints[0]
    # The tiny text tower is of another width than the space, so that no fusion can start from it.
    assert fingerprint_text(replace(cross, from_text=True)) != fingerprint_text(cross)


@dataclass(frozen=True, kw_only=True)
class Sharpened(GlobalToGlobal):
    """A fusion from outside, with a setting of its own and no weight."""

    sharpness: float = 1.0

    def build(self, model):
        mean = fusion.GlobalToGlobalFusion(absent=self.absent)
        mean.sharpness = self.sharpness
        return mean


def test_the_fingerprint_tells_the_settings_of_a_fusion_that_nobody_here_knows(tiny_clip4vla):
    prints = [
        drawn(replace(tiny_clip4vla, fusion=Sharpened(sharpness=value))).fingerprint
        for value in (1.0, 10.0, 100.0, 10.0)
    ]
    assert prints[1] == prints[3]
    assert len(set(prints)) == 3


def test_towers_of_different_projection_sizes_are_refused(tiny_towers, tmp_path):
    from trichord_world.small import SmallClip, build_clip

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


def test_fingerprints_of_towers_stay_what_they_are():
    towers = {
        ClipText(name="stand-in-clip"): "f2de68f267d7e6342cd43a81",
        ClipText(name="stand-in-clip", tokens=True): "eda0f59faed900dcd6e0224d",
        ClipVision(name="stand-in-clip"): "264cb0eaed5259970f918862",
        Clap(name="stand-in-clap"): "6deba69a6b6e686544cd0069",
        ClapText(name="stand-in-clap"): "7fd655c052ac8afbff7f0e4c",
    }
    assert {tower: tower.build().fingerprint for tower in towers} == towers


def test_trunks_of_sight_and_sound_are_compiled_and_texts_are_not(tiny_model, monkeypatch):
    asked = []
    for name, tower in tiny_model.encoders().items():
        monkeypatch.setattr(
            tower.trunk, "compile", lambda name=name, **options: asked.append((name, options))
        )
    tiny_model.compile_trunks()
    assert asked == [("vision", {"dynamic": False}), ("audio", {"dynamic": False})]
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"--compile needs a C.. compiler, .* 'no-such-compiler'"):
        tiny_model.compile_trunks()


def test_two_text_encoders_mean_two_spaces_unless_the_config_says_one(tiny_trimodal, tiny_towers):
    """CLIP and CLAP have two; PE-AV has text heads by partner in one space."""
    two = replace(tiny_trimodal, sound_text=ClapText(name=str(tiny_towers / "clap")))
    one = replace(two, one_space=True)
    models = {config: config.build() for config in (tiny_trimodal, two, one)}
    compared = {config: model.compares("vision", "audio") for config, model in models.items()}
    assert compared == {tiny_trimodal: True, two: False, one: True}
    assert [model.texts_differ for model in models.values()] == [False, True, True]
    for model in models.values():
        assert model.compares("text", "vision")
        assert model.compares("audio", "text")
    # A collection is calibrated for the pairs of its model.
    assert models[one].fingerprint != models[two].fingerprint


def test_one_space_needs_vectors_of_one_size(tiny_trimodal, tiny_towers, tmp_path):
    from trichord_world.small import SmallClip, build_clip

    sizes = SmallClip(side=32, width=32, inner=64, layers=1, text_inner=64, dim=16)
    build_clip(sizes, ["a bell"], tmp_path, seed=0).save_pretrained(tmp_path)
    model = TriModal(
        text=ClipText(name=str(tmp_path)),
        vision=ClipVision(name=str(tmp_path)),
        audio=tiny_trimodal.audio,
        sound_text=ClapText(name=str(tiny_towers / "clap")),
    )
    model.build()
    with pytest.raises(UserError, match=r"--model.one-space: vision has 16 dimensions, audio 24"):
        replace(model, one_space=True).build()


def test_one_space_is_said_only_where_there_are_two_text_encoders(tiny_trimodal):
    with pytest.raises(UserError, match=r"--model.one-space is for a model with sound_text"):
        check(replace(tiny_trimodal, one_space=True), "--model")


def memory(trunk):
    return [value.data_ptr() for value in (*trunk.parameters(), *trunk.buffers())]


def test_a_tower_that_two_encoders_share_stays_one_where_the_model_moves(
    tiny_trimodal, tiny_towers
):
    text = ClapText(name=str(tiny_towers / "clap"))
    config = replace(tiny_trimodal, text=text, sound_text=text)
    model = config.build()
    assert memory(model.text.trunk) == memory(model.sound_text.trunk)
    before = memory(model.text.trunk)
    model.to(torch.float64)
    assert memory(model.text.trunk) == memory(model.sound_text.trunk) != before
    assert not set(memory(model.text.head)) & set(memory(model.sound_text.head))
    model.text.unfreeze()
    assert not set(memory(model.text.trunk)) & set(memory(model.sound_text.trunk))


def test_of_a_shared_tower_only_the_one_that_trains_changes_and_is_saved(
    tiny_trimodal, tiny_towers
):
    text = ClapText(name=str(tiny_towers / "clap"))
    config = replace(tiny_trimodal, text=text, sound_text=text)
    model = config.build()
    frozen = model.text.fingerprint
    assert model.sound_text.fingerprint == frozen
    model.text.unfreeze()
    with torch.no_grad():
        for value in model.text.trunk.parameters():
            value.add_(1)
    model.text.freeze_trunk()
    assert model.sound_text.fingerprint == frozen != model.text.fingerprint
    owned = owned_state(model, None)
    assert {name.split(".")[1] for name in owned if ".trunk." in name} == {"text"}
    again = config.build()
    load_owned(again, None, owned)
    assert again.fingerprint == model.fingerprint
    assert again.sound_text.fingerprint == frozen
