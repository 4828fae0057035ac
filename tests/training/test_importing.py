"""Imported checkpoints give the numbers of an independent model on the published names."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from published_model import (
    DIM,
    END,
    FRAMES,
    HEARD,
    SEGMENTS,
    SHOWN,
    SIDE,
    TEXTS,
    VOCABULARY,
    batch_for,
    checkpoint,
    clip_shapes,
    cross,
    draw,
    error,
    linear,
    mean,
    padded,
    picture_features,
    scores,
    sound_features,
    text_features,
    token_ids,
    towers_of,
)
from safetensors.torch import save_file
from transformers import CLIPModel

from trichord.checkpoint import Run, fresh_model
from trichord.config import Cross, Experiment, GlobalToGlobal, resolve_towers
from trichord.training.clip4vla_checkpoint import CheckpointOptions
from trichord.training.importing import import_clip, import_clip4vla

# The same numbers


@torch.no_grad()
def test_text_features_of_every_token_and_of_the_end_are_the_published_ones(take):
    w = checkpoint("clip")
    model = take("clip", fusion="local_to_local").load()
    ids, real = token_ids(model)
    expected = text_features(w, ids)
    found = model(batch_for(model)).text
    assert found.mask.tolist() == real[:, : found.mask.shape[1]].tolist()
    for i, count in enumerate(real.sum(1).tolist()):
        assert error(found.steps[i, :count], expected[i, :count]) < 1e-5
        assert ids[i, count - 1] == END
        assert error(found.pooled[i], F.normalize(expected[i, count - 1], dim=-1)) < 1e-5


@torch.no_grad()
def test_a_caption_of_one_step_is_the_feature_of_its_end(take):
    model = take("pretrained").load()
    ids, real = token_ids(model)
    features = text_features(checkpoint(None), ids)
    ends = features[torch.arange(len(ids)), real.sum(1) - 1]
    assert error(model(batch_for(model)).text.steps[:, 0], ends) < 1e-5


@torch.no_grad()
def test_frame_features_are_the_published_ones(take):
    model = take("pretrained").load()
    inputs = padded(SHOWN, FRAMES)
    expected = picture_features(checkpoint(None), "clip.visual", inputs.values[inputs.mask])
    found = model.vision(model.vision.trunk_features(inputs))
    assert error(found.steps[inputs.mask], expected) < 1e-5
    whole = picture_features(checkpoint(None), "clip.visual", inputs.values.flatten(0, 1))
    whole = mean(whole.unflatten(0, inputs.mask.shape), inputs.mask)
    assert error(found.pooled, whole) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize(
    "token",
    [0.0, 0.3, "both", "clip", *(pytest.param(one, marks=pytest.mark.slow) for one in (0.5, 1.0))],
)
def test_sound_features_are_the_published_ones_in_every_token_mode(take, token):
    model = take("pretrained", token=token).load()
    assert model.audio.audio_type == token
    inputs, kinds = padded(HEARD, SEGMENTS), torch.tensor([0, 1, 1, 0])
    each = kinds[:, None].expand(inputs.mask.shape)[inputs.mask]
    expected = sound_features(checkpoint(None), inputs.values[inputs.mask], token, each)
    found = model.audio(model.audio.trunk_features(inputs, kinds.float()))
    assert error(found.steps[inputs.mask], expected) < 1e-5


@torch.no_grad()
def test_the_tokens_make_a_difference(take):
    model, inputs = take("pretrained").load(), padded([1], 1)
    found = []
    for token in (0.0, 0.5, 1.0, "both", "none"):
        model.choose_audio_type(token)
        found.append(model.audio(model.audio.trunk_features(inputs)).steps[0, 0])
    gaps = [error(a, b) for i, a in enumerate(found) for b in found[:i]]
    assert min(gaps) > 0.01


@torch.no_grad()
def test_a_tower_that_was_trained_without_tokens_listens_without(take):
    w = checkpoint(None, tokens=False)
    model = take(w).load()
    assert model.audio.audio_type == "none"
    inputs = padded(HEARD, SEGMENTS)
    expected = sound_features(w, inputs.values[inputs.mask], "none")
    assert (
        error(model.audio(model.audio.trunk_features(inputs)).steps[inputs.mask], expected) < 1e-5
    )


@torch.no_grad()
@pytest.mark.parametrize("form", ["clip", "bert"])
def test_the_cross_transformer_is_the_published_one(take, form):
    w, model = checkpoint(form), take(form).load()
    made = torch.Generator().manual_seed(5)
    shown = (torch.randn(3, 4, DIM, generator=made), torch.tensor([[1, 1, 0, 0]] * 3) > 0)
    heard = (torch.randn(3, 5, DIM, generator=made), torch.tensor([[1, 1, 1, 1, 0]] * 3) > 0)
    expected, whole = cross(w, [(*shown, 1), (*heard, 2)])
    ours = model.fusion.cross
    mask = torch.cat([shown[1], heard[1]], dim=1)
    kinds = torch.tensor([1] * 4 + [2] * 5)
    found = ours(torch.cat([shown[0], heard[0]], dim=1), kinds, mask)
    assert error(found[mask], expected[mask]) < 1e-5
    assert error(ours.pool(found), whole) < 1e-5
    assert error(ours.similarity(ours.pool(found)), linear(w, "similarity_dense", whole)) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize(
    ("form", "level"),
    [
        ("clip", "global_to_global"),
        ("bert", "global_to_local"),
        ("clip", "tight"),
        ("bert", "local_to_local"),
        pytest.param("bert", "global_to_global", marks=pytest.mark.slow),
        pytest.param("clip", "global_to_local", marks=pytest.mark.slow),
        pytest.param("bert", "tight", marks=pytest.mark.slow),
        pytest.param("clip", "local_to_local", marks=pytest.mark.slow),
    ],
)
def test_similarities_of_texts_and_clips_are_the_published_ones(take, form, level):
    w, run = checkpoint(form), take(form, fusion=level)
    model = run.load()
    expected = scores(w, level, *towers_of(w, model))
    scale = run.experiment().objective.build().scale("ct")
    found = scale * model(batch_for(model)).similarity
    assert scale.item() == pytest.approx(100)
    assert found.shape == (len(TEXTS), len(SHOWN))
    assert error(found, expected) < 1e-4
    assert error(found.std(dim=1), expected.std(dim=1)) < 1e-4
    assert expected.std() > 0.1


@torch.no_grad()
def test_half_precision_weights_give_what_they_are_worth_in_single_precision(take):
    halved = {
        name: value.half() if value.ndim > 1 else value
        for name, value in checkpoint("clip").items()
    }
    whole = {name: value.float() for name, value in halved.items()}
    run = take(halved)
    model = run.load()
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    found = 100 * model(batch_for(model)).similarity
    assert error(found, scores(whole, "global_to_local", *towers_of(whole, model))) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize(("form", "below"), [("clip", "embeddings."), ("bert", "")])
def test_embeddings_of_the_cross_transformer_may_be_spelled_either_way(take, form, below):
    w = checkpoint(form, below=below)
    model = take(w).load()
    expected = scores(w, "global_to_local", *towers_of(w, model))
    assert error(100 * model(batch_for(model)).similarity, expected) < 1e-4


# The run


def test_a_run_says_how_the_authors_test_and_can_be_moved(take, tmp_path):
    run = take("clip", fusion="local_to_local", segments=6)
    model = Run(run.path).experiment().model
    assert (model.text.tokens, model.text.longest) == (True, 32)
    assert (model.vision.max_frames, model.vision.frames_per_second) == (12, 1.0)
    assert model.vision.pooling == model.audio.pooling == "mean_of_unit"
    assert (model.audio.token, model.audio.longest, model.audio.frames) == (0.5, 6, SIDE)
    assert (model.fusion.level, model.fusion.form, model.fusion.absent) == (
        "local_to_local",
        "clip",
        "zeros",
    )
    before = run.load().fingerprint
    moved = run.path.rename(tmp_path / "elsewhere")
    assert Run(moved).load().fingerprint == before
    assert str(tmp_path) not in (moved / "experiment.json").read_text()


def test_training_can_start_from_an_imported_run(take):
    run = take("bert")
    started = fresh_model(replace(run.experiment(), start=run.path, seed=7))
    assert started.fingerprint == run.load().fingerprint


def test_a_name_that_the_run_does_not_hold_stays_relative_to_the_command(take):
    run = take("pretrained")
    held = run.experiment().model
    other = replace(held, vision=replace(held.vision, name="./models/clip"))
    found = resolve_towers(Experiment(system="x", model=other), run.path).model
    assert found.vision.name == "./models/clip"
    assert found.text.name == str(run.path / "clip")


def test_the_fusion_follows_from_the_checkpoint(take):
    assert take("clip", name="a").experiment().model.fusion.level == "global_to_local"
    assert take("bert", name="b").experiment().model.fusion.form == "bert"
    assert take("pretrained", name="c").experiment().model.fusion == GlobalToGlobal(absent="zeros")
    chosen = take("clip", name="d", fusion="tight", absent="masked").experiment().model.fusion
    assert isinstance(chosen, Cross)
    assert (chosen.level, chosen.absent) == ("tight", "masked")


def test_safetensors_and_pickle_give_the_same_run(take, published, tmp_path):
    save_file(checkpoint("clip"), tmp_path / "model.safetensors")
    words = str(published / "merges.txt")
    other = import_clip4vla(
        tmp_path / "model.safetensors",
        tmp_path / "other",
        tokenizer=words,
        options=CheckpointOptions(),
    )
    assert other.load().fingerprint == take("clip").load().fingerprint


# CLIP alone


@torch.no_grad()
def test_an_openai_clip_becomes_a_run(published, tmp_path):
    state = draw(clip_shapes())
    sizes = {"input_resolution": SIDE, "context_length": 77, "vocab_size": VOCABULARY - 3}
    torch.save(state | {k: torch.tensor(v) for k, v in sizes.items()}, tmp_path / "clip.pt")
    words = str(published / "merges.txt")
    run = import_clip(
        str(tmp_path / "clip.pt"), tmp_path / "run", tokenizer=words, activation="quick_gelu"
    )
    model = run.load()
    assert run.experiment().system == "clip"
    w = {f"clip.{name}": value for name, value in state.items()}
    ids = model.text.prepare(TEXTS)
    ends = (ids == END).int().argmax(dim=1)
    expected = text_features(w, ids)[torch.arange(len(ids)), ends]
    assert error(torch.from_numpy(model.embed_text(TEXTS)), F.normalize(expected, dim=-1)) < 1e-5
    inputs = padded([2, 3], 3)
    frames = picture_features(w, "clip.visual", inputs.values[inputs.mask])
    assert (
        error(model.vision(model.vision.trunk_features(inputs)).steps[inputs.mask], frames) < 1e-5
    )
    assert Run(run.path).load().fingerprint == model.fingerprint  # fresh tokens come from the seed


def test_a_folder_is_copied_and_nothing_else_of_it(tiny_towers, tmp_path):
    run = import_clip(str(tiny_towers / "clip"), tmp_path / "run")
    model = run.load()
    held = CLIPModel.from_pretrained(run.path / "clip").state_dict()
    given = CLIPModel.from_pretrained(tiny_towers / "clip").state_dict()
    assert all(torch.equal(held[name], value) for name, value in given.items())
    assert model.text.tokenizer("a bell")["input_ids"]
    assert model.embed_text(["a bell"]).shape == (1, 24)


def test_a_hub_name_stays_a_name(tmp_path):
    run = import_clip("stand-in-clip", tmp_path / "run")
    assert run.experiment().model.text.name == "stand-in-clip"
    assert not (run.path / "clip").exists()
    assert run.load().dim == 128
