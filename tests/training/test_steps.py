from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from trichord.config import Cross, Draw, GlobalToGlobal, InfoNCE, Stage
from trichord.features.source import MediaSource
from trichord.training.learner import Learner
from trichord.training.loop import choose_what_trains
from trichord.training.sampler import epoch_samples
from trichord.training.steps import backward, cached_step, data_parallel, read_batch
from trichord.types import Caption, Clip
from trichord.types.tensors import Embeddings, Features

SIDES = ("text", "audio", "vision", "masked")


def plain(learner, stage):
    """A step of all clips at once, as `run_stage` takes it."""
    module = data_parallel(learner)

    def step(source, sample):
        loss = module(*read_batch(learner, source, sample))
        backward(learner, loss)
        return loss

    return step


def cached(learner, stage):
    """A step of some clips at a time."""
    return partial(cached_step, learner, stage)


def filmed(i):
    name = {0: "silent", 1: "dark"}.get(i % 5, "whole")
    said = (f"sound {i}", "a low bell", "someone says good morning")[i % 3]
    return Clip(
        id=f"c{i}",
        path=f"/made/up/{name}-{i}.mp4",
        captions=(Caption(text=said, about="audio"),),
        audio_type="verbal" if i % 2 else "nonverbal",
    )


CLIPS = [filmed(i) for i in range(10)]
STAGE = Stage(
    name="s",
    trains=("text", "vision", "audio"),
    towers=("vision", "audio"),
    draws=(Draw(captions=("audio",), terms=("at", "vt", "av", "aa", "mt")),),
    criterion=(),
    batch_size=10,
)
FUSED = replace(STAGE, draws=(Draw(captions=("audio",), terms=("at", "ct"), weights=(0.5, 2.0)),))


@pytest.fixture
def taught(tiny_clip4vla, made_up):
    """A learner of ten clips read from media, its source and its one mini-batch."""

    def make(stage, *, fusion=None, dropout=0.0, clips=CLIPS):
        torch.manual_seed(0)
        audio = replace(tiny_clip4vla.audio, token="clip")
        model = replace(tiny_clip4vla, audio=audio, fusion=fusion).build()
        choose_what_trains(model, stage)
        for tower in (model.vision, model.audio):
            for part in tower.trunk.modules():
                if hasattr(part, "k_proj"):
                    part.dropout = dropout
        terms = tuple({term for draw in stage.draws for term in draw.terms})
        learner = Learner(model, InfoNCE().build(terms), stage).train()
        source = MediaSource(clips, model, made_up)
        samples = epoch_samples(stage, source.captions, clips, seed=3, place=(0, 1))
        return learner, source, next(samples)

    return make


def gradients(learner):
    return {k: v.grad.clone() for k, v in learner.named_parameters() if v.grad is not None}


def taken(way, taught, stage, **how):
    learner, source, sample = taught(stage, **how)
    loss = way(learner, stage)(source, sample)
    return loss.item(), gradients(learner)


def same(one, other):
    """Within 1e-5 of the length of the whole gradient, and each value within 1e-5."""
    assert one.keys() == other.keys()
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
    a, b = (torch.cat([held[name].double().flatten() for name in one]) for held in (one, other))
    assert (a - b).norm() < 1e-5 * a.norm()


CROSS = Cross(layers=1, heads=2, from_text=False, dropout=0.0)
FUSIONS = {
    "none": (STAGE, None),
    "global_to_global": (FUSED, GlobalToGlobal()),
    "global_to_local": (FUSED, CROSS),
    "tight": (FUSED, replace(CROSS, level="tight")),
}


@pytest.mark.parametrize(
    ("fusion", "chunk"),
    [("none", 1), ("none", 3), ("none", 10), ("none", 99)]
    + [(name, 3) for name in FUSIONS if name != "none"],
)
def test_gradients_through_chunks_are_those_of_the_whole_batch(fusion, chunk, taught):
    stage, made = FUSIONS[fusion]
    loss, whole = taken(plain, taught, stage, fusion=made)
    again, parts = taken(cached, taught, replace(stage, chunk=chunk), fusion=made)
    assert again == pytest.approx(loss, abs=1e-5)
    same(whole, parts)
    assert any(name.startswith("model.audio.trunk.") for name in parts)
    assert any(name.startswith("objective.log_scale.") for name in parts)
    crossed = any(name.startswith("model.fusion.") for name in parts)
    assert crossed == (fusion in ("global_to_local", "tight"))


def test_several_captions_and_newer_losses_go_through_chunks_too(taught):
    clips = [
        replace(one, captions=(*one.captions, Caption(text=f"other {one.id}", about="audio")))
        for one in CLIPS
    ]
    terms = ("av", "at", "aa", "at-sigmoid", "tva-volume", "tva-area")
    draws = (Draw(captions=("audio",), terms=terms),)
    stage = replace(STAGE, draws=draws, captions_per_clip=2)
    sample = taught(stage, clips=clips)[2]
    assert len(sample.clips) == 20
    loss, whole = taken(plain, taught, stage, clips=clips)
    again, parts = taken(cached, taught, replace(stage, chunk=3), clips=clips)
    assert again == pytest.approx(loss, abs=1e-5)
    same(whole, parts)
    assert "objective.weights.at-sigmoid:bias" in whole


def below(parts):
    """Features of chunks as those of one batch, with their graph."""
    longest = max(part.mask.shape[1] for part in parts)
    pad = torch.nn.functional.pad
    return Features(
        torch.cat([part.pooled for part in parts]),
        torch.cat([pad(p.steps, (0, 0, 0, longest - p.mask.shape[1])) for p in parts]),
        torch.cat([pad(part.mask, (0, longest - part.mask.shape[1])) for part in parts]),
    )


@pytest.mark.parametrize("fusion", ["none", "global_to_local"])
def test_dropout_comes_again_in_the_second_pass(fusion, taught):
    stage, made = FUSIONS[fusion]
    stage = replace(stage, chunk=4)
    made = made and replace(made, dropout=0.3)
    loss, parts = taken(cached, taught, stage, fusion=made, dropout=0.4)

    learner, source, sample = taught(stage, fusion=made, dropout=0.4)
    encoded = []
    for rows in (slice(0, 3), slice(3, 6), slice(6, 10)):
        torch.manual_seed(hash((3, 0, 1, 0, rows.start) if rows.start else (3, 0, 1, 0)))
        batch = source.batch(sample.clips[rows], sample.captions[rows], sample.masking)
        encoded.append(learner.model.encode(batch))
    sides = [[part.of(side) for part in encoded] for side in SIDES]
    whole = Embeddings(*(None if None in side else below(side) for side in sides))
    expected = learner.loss(whole, sample)
    expected.backward()
    assert loss == pytest.approx(expected.item(), abs=1e-5)
    same(gradients(learner), parts)

    other, _ = taken(cached, taught, stage, fusion=made, dropout=0.0)
    assert abs(loss - other) > 1e-3  # it was there


def test_a_batch_without_anything_asked_has_no_loss_and_no_gradient(taught):
    alone = replace(STAGE, draws=(Draw(terms=("av",)),))
    dark = [replace(clip, path=f"/made/up/dark-{clip.id}.mp4") for clip in CLIPS]
    for way, stage in ((plain, alone), (cached, replace(alone, chunk=4))):
        learner, source, sample = taught(stage, clips=dark)
        assert way(learner, stage)(source, sample) is None
        assert gradients(learner) == {}


class CrossCache:
    """Bytes that autograd keeps for the backward, at most at a time."""

    def __init__(self):
        self.now = self.most = 0

    def pack(self, value):
        return _Held(self, value)

    def count(self, by):
        self.now += by
        self.most = max(self.most, self.now)


class _Held:
    def __init__(self, kept, value):
        self.kept, self.value = kept, value
        kept.count(value.nbytes)

    def __del__(self):
        self.kept.count(-self.value.nbytes)


def memory(way, taught, stage, clips):
    learner, source, sample = taught(replace(stage, batch_size=clips), clips=MANY[:clips])
    step, kept = way(learner, stage), CrossCache()
    with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda held: held.value):
        step(source, sample)
    return kept.most


MANY = [replace(filmed(2), id=f"c{i}", path=f"/made/up/c{i}.mp4") for i in range(32)]


def test_what_is_kept_for_the_backward_does_not_grow_with_the_batch(taught):
    stage = replace(STAGE, draws=(Draw(captions=("audio",), terms=("at", "vt")),))
    chunked = replace(stage, chunk=4)
    small, large = (memory(cached, taught, chunked, clips) for clips in (8, 32))
    assert large < 1.25 * small
    assert memory(plain, taught, stage, 32) > 6 * large
    assert memory(plain, taught, stage, 8) == pytest.approx(2 * small, rel=0.2)


def test_running_means_of_batches_move_once(tiny_trimodal, made_up):
    stage = replace(
        STAGE, towers=("audio",), draws=(Draw(captions=("audio",), terms=("at",)),), chunk=99
    )
    moved = []
    for way in (plain, cached):
        model = tiny_trimodal.build()
        choose_what_trains(model, stage)
        learner = Learner(model, InfoNCE().build(("at",)), stage).train()
        source = MediaSource(CLIPS, model, made_up)
        (sample,) = epoch_samples(stage, source.captions, CLIPS, seed=3, place=(0, 1))
        before = {k: v.clone() for k, v in model.audio.trunk.named_buffers()}
        way(learner, stage)(source, sample)
        now = dict(model.audio.trunk.named_buffers())
        moved.append({k: v.clone() for k, v in now.items() if not torch.equal(v, before[k])})
    assert any(name.endswith("running_mean") for name in moved[0])
    assert moved[0].keys() == moved[1].keys()
    assert all(torch.allclose(v, moved[1][k]) for k, v in moved[0].items())


def test_equal_captions_reach_the_objective_as_equal_numbers(taught, monkeypatch):
    learner, source, sample = taught(STAGE)
    told = []
    forward = learner.objective.forward
    monkeypatch.setattr(
        learner.objective, "forward", lambda *given: told.append(given) or forward(*given)
    )
    plain(learner, STAGE)(source, sample)
    ((_, _, numbers, _),) = told
    texts = np.array(source.captions.texts)[sample.captions]
    assert (numbers[:, None] == numbers).tolist() == (texts[:, None] == texts).tolist()
