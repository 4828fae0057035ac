import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from trichord.config import (
    Adafactor,
    AdamW,
    BertAdam,
    Cross,
    Draw,
    InfoNCE,
    Lora,
    Muon,
    Stage,
)
from trichord.models.bert_adam import BertAdamOptimizer
from trichord.training.loop import choose_what_trains
from trichord.training.optimizers import build_optimizer, set_rate
from trichord.types import UserError

ALL = ("text", "vision", "audio")


def stage(optimizer, trains=ALL, towers=ALL):
    return Stage(
        name="s",
        trains=trains,
        towers=towers,
        draws=(Draw(terms=("ct",)),),
        criterion=(),
        optimizer=optimizer,
    )


@pytest.fixture
def model(tiny_clip4vla):
    return replace(tiny_clip4vla, fusion=Cross(layers=1, heads=2, from_text=False)).build()


@pytest.fixture
def groups(model):
    """What a stage's optimizer does with each parameter that trains: rate and decay by name."""

    def built(of, objective=None):
        choose_what_trains(model, of)
        objective = objective or InfoNCE().build(("ct",))
        optimizer = build_optimizer(of, model, objective)
        names = {id(p): f"model.{name}" for name, p in model.named_parameters()}
        names |= {id(p): f"objective.{name}" for name, p in objective.named_parameters()}
        told = [
            (names[id(p)], (group["peak"], group["weight_decay"]))
            for group in optimizer.param_groups
            for p in group["params"]
        ]
        assert len(dict(told)) == len(told)  # none twice
        trainable = {n for n, p in model.named_parameters() if p.requires_grad}
        scales = {n for n, p in objective.named_parameters() if p.requires_grad}
        assert set(dict(told)) == {
            *(f"model.{name}" for name in trainable),
            *(f"objective.{name}" for name in scales),
        }
        return dict(told)

    return built


# What trains at which rate


def test_adamw_decays_matrices_and_slows_trunks(groups, model):
    of = AdamW(lr=1e-3, weight_decay=0.05, trunk_share=0.002)
    found = groups(stage(of))
    shapes = {f"model.{name}": p.ndim for name, p in model.named_parameters()}
    for name, (peak, decay) in found.items():
        assert decay == (0.05 if shapes.get(name, 0) >= 2 else 0.0)
        assert peak == pytest.approx(2e-6 if ".trunk." in name else 1e-3)
    assert found["objective.log_scale.ct"] == (1e-3, 0.0)
    assert found["model.audio.trunk.tokens"] == (pytest.approx(2e-6), 0.05)
    assert found["model.fusion.cross.blocks.0.attention_norm.weight"] == (1e-3, 0.0)


def test_muon_takes_matrices_and_leaves_the_rest_to_adamw(groups, model):
    of = Muon(lr=1e-3, weight_decay=0.05, trunk_share=0.1)
    found = groups(stage(of))
    assert found["model.audio.trunk.tokens"] == (pytest.approx(1e-4), 0.05)
    built = build_optimizer(stage(of), model, InfoNCE().build(("ct",)))
    muon, adamw = built.parts
    names = {id(p): name for name, p in model.named_parameters()}
    by_muon = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    by_adamw = {names.get(id(p)) for group in adamw.param_groups for p in group["params"]}
    assert "audio.head.weight" in by_muon
    assert {"audio.trunk.tokens", "audio.trunk.positions"} <= by_adamw
    assert all(model.get_parameter(name).ndim == 2 for name in by_muon)
    assert not any("token_embedding" in name for name in by_muon)
    assert any(name and "token_embedding" in name for name in by_adamw)
    assert any(name and "q_proj.weight" in name for name in by_muon)


def test_a_torch_without_muon_is_named(model, monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(UserError, match=r"--stages\.N\.optimizer muon: torch 2\..*: install 2\.9"):
        build_optimizer(stage(Muon()), model, InfoNCE().build(("ct",)))


@pytest.mark.parametrize("config", [AdamW(lr=1e-2), Muon(lr=1e-2), Adafactor(lr=1e-2)])
def test_each_optimizer_goes_down(config, model):
    of = stage(config, trains=("audio",), towers=())
    choose_what_trains(model, of)
    optimizer = build_optimizer(of, model, InfoNCE().build(("ct",)))
    torch.manual_seed(0)
    features, goal = torch.randn(32, model.audio.width), torch.randn(32, model.audio.dim)
    losses = []
    for taken in range(30):
        set_rate(optimizer, config, taken, 30)
        loss = (model.audio.head(features) - goal).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.95 * losses[0]


def test_adapters_have_the_rate_of_heads(groups):
    found = groups(replace(stage(AdamW(lr=1e-3, trunk_share=0.1)), lora=Lora(rank=2)))
    adapters = {name: rate for name, (rate, _) in found.items() if ".lora_" in name}
    assert adapters
    assert set(adapters.values()) == {1e-3}
    assert not [name for name in found if ".trunk." in name and name not in adapters]


def test_only_what_a_stage_trains_is_given_to_its_optimizer(groups):
    of = replace(stage(AdamW(), trains=("audio",), towers=()), draws=(Draw(terms=("at",)),))
    fixed = InfoNCE(learned=False).build(("at",))
    assert set(groups(of, fixed)) == {"model.audio.head.weight"}


def test_as_published_clips_towers_are_slow_and_decay_but_for_their_biases(groups):
    found = groups(stage(BertAdam(lr=1e-4, slow_share=0.01)))
    assert found["model.text.head.weight"] == (pytest.approx(1e-6), 0.2)
    for name, (peak, decay) in found.items():
        slow = name.startswith(("model.text.", "model.vision."))
        assert peak == pytest.approx(1e-6 if slow else 1e-4)
        assert decay == (0.2 if slow and not name.endswith("bias") else 0.0)
    norms = [name for name in found if "layer_norm1.weight" in name and ".text." in name]
    assert found[norms[0]][1] == 0.2  # only LayerNorm.weight is spared, and CLIP has none so called


def test_as_published_a_run_with_a_transformer_is_slow_in_sound_too(groups):
    found = groups(stage(BertAdam(lr=5e-4, slow=ALL, slow_share=2e-4)))
    assert found["model.audio.trunk.tokens"] == (pytest.approx(1e-7), 0.2)
    fast = {name for name, (peak, _) in found.items() if peak == 5e-4}
    assert all(name.startswith(("model.fusion.", "objective.")) for name in fast)
    assert any(name.startswith("model.fusion.") for name in fast)
    assert all(found[name][1] == 0.0 for name in fast)


# How the rate moves


class Two(torch.optim.SGD):
    """Two groups with peaks, as `build_optimizer` leaves them."""

    def __init__(self, *peaks):
        parameters = [{"params": [nn.Parameter(torch.zeros(1))], "peak": peak} for peak in peaks]
        super().__init__(parameters, lr=1.0)


def rates(of, taken, steps, *peaks):
    optimizer = Two(*peaks)
    set_rate(optimizer, of, taken, steps)
    return [group["lr"] for group in optimizer.param_groups]


@pytest.mark.parametrize(
    ("taken", "transformer", "towers"), [(100, 3.5562e-5, 7.1e-9), (1500, 4.86089e-4, 9.7e-8)]
)
def test_rates_are_those_of_the_authors_log(taken, transformer, towers):
    of = BertAdam(lr=5e-4, slow_share=2e-4)
    fast, slow = rates(of, taken, 14_060, 5e-4, 1e-7)
    assert fast == pytest.approx(transformer, rel=1.5e-5)
    assert slow == pytest.approx(towers, rel=6e-3)  # two digits are logged


def test_the_published_cosine_begins_with_the_stage_not_with_the_end_of_the_warm_up():
    of = BertAdam(lr=1.0, warmup=0.1)
    assert rates(of, 0, 1000, 1.0) == [0.0]
    assert rates(of, 99, 1000, 1.0) == [pytest.approx(0.99)]
    assert rates(of, 100, 1000, 1.0) == [pytest.approx(0.97553, rel=1e-5)]
    assert rates(of, 500, 1000, 1.0) == [pytest.approx(0.5)]
    assert rates(of, 1000, 1000, 1.0) == [pytest.approx(0.0, abs=1e-12)]
    assert rates(of, 1100, 1000, 1.0) == [pytest.approx(0.0, abs=1e-12)]


def test_adamw_warms_up_and_stays():
    of = AdamW(lr=1.0, warmup_steps=4)
    found = [rates(of, taken, 100, 2.0, 0.5) for taken in (0, 1, 3, 4, 99)]
    assert found == [[0.5, 0.125], [1.0, 0.25], [2.0, 0.5], [2.0, 0.5], [2.0, 0.5]]


def test_adamw_falls_along_a_cosine_to_zero_at_the_end_of_the_stage():
    of = AdamW(lr=1.0, warmup_steps=4, schedule="cosine")
    for taken in range(4, 24):
        expected = 0.5 * (1 + math.cos(math.pi * (taken - 4) / 20))
        assert rates(of, taken, 24, 1.0) == [pytest.approx(expected)]
    assert rates(of, 24, 24, 1.0) == rates(of, 30, 24, 1.0) == [pytest.approx(0.0, abs=1e-12)]
    assert rates(of, 1, 24, 1.0) == [0.5]


def test_a_stage_shorter_than_its_warm_up_only_warms_up():
    of = AdamW(lr=1.0, warmup_steps=10, schedule="cosine")
    assert rates(of, 3, 4, 1.0) == [0.4]


# Published steps


def adam_by_hand(start, gradients, rates, *, beta1, beta2, epsilon, decay):
    """BERT's Adam in double precision: no bias correction, its own clipping, decay in the step."""
    value = np.asarray(start, np.float64).copy()
    mean, square = np.zeros_like(value), np.zeros_like(value)
    for gradient, rate in zip(gradients, rates, strict=True):
        clipped = gradient * min(1.0, 1.0 / np.sqrt((gradient**2).sum()))
        mean = beta1 * mean + (1 - beta1) * clipped
        square = beta2 * square + (1 - beta2) * clipped**2
        value -= rate * (mean / (np.sqrt(square) + epsilon) + decay * value)
    return value


@pytest.mark.parametrize("decay", [0.0, 0.2])
@pytest.mark.parametrize("size", [0.01, 30.0])  # below and above the norm at which it clips
def test_bert_adam_takes_the_published_steps(decay, size):
    random = np.random.default_rng(0)
    starts = [random.normal(size=(4, 3)), random.normal(size=5)]
    gradients = [[random.normal(size=one.shape) * size for _ in range(7)] for one in starts]
    used = [0.0, 1e-3, 5e-3, 1e-2, 1e-2, 3e-3, 1e-4]
    parameters = [nn.Parameter(torch.tensor(one, dtype=torch.float32)) for one in starts]
    settings = {"beta1": 0.9, "beta2": 0.98, "epsilon": 1e-6}
    groups = [{"params": parameters, "weight_decay": decay, "peak": 1.0}]
    optimizer = BertAdamOptimizer(groups, **settings)
    for number, rate in enumerate(used):
        optimizer.param_groups[0]["lr"] = rate
        for parameter, given in zip(parameters, gradients, strict=True):
            parameter.grad = torch.tensor(given[number], dtype=torch.float32)
        optimizer.step()
    for parameter, start, given in zip(parameters, starts, gradients, strict=True):
        expected = adam_by_hand(start, given, used, decay=decay, **settings)
        assert np.abs(expected - start).max() > 1e-2
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_what_has_no_gradient_stays_as_it_is():
    still, moved = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    groups = [{"params": [still, moved], "weight_decay": 0.2, "lr": 0.1}]
    optimizer = BertAdamOptimizer(groups, beta1=0.9, beta2=0.98, epsilon=1e-6)
    moved.grad = torch.ones(2)
    optimizer.step()
    assert still.tolist() == [1.0, 1.0]
    assert (moved < 1).all()
    assert set(optimizer.state) == {moved}


def test_the_optimizer_has_the_settings_of_its_stage(model):
    of = stage(BertAdam(lr=1e-3, beta1=0.8, beta2=0.7, epsilon=1e-4))
    choose_what_trains(model, of)
    built = build_optimizer(of, model, InfoNCE().build(("ct",)))
    assert isinstance(built, BertAdamOptimizer)
    assert all((g["betas"], g["eps"]) == ((0.8, 0.7), 1e-4) for g in built.param_groups)
    of = stage(AdamW(lr=1e-3, beta1=0.8, beta2=0.7))
    built = build_optimizer(of, model, InfoNCE().build(("ct",)))
    assert isinstance(built, torch.optim.AdamW)
    assert all(g["betas"] == (0.8, 0.7) for g in built.param_groups)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # Four steps of warm-up, then 16 of the schedule, of which wsd decays in the last five.
        ("linear", {0: 0.25, 3: 1.0, 4: 1.0, 12: 0.5, 20: 0.0}),
        ("cosine", {0: 0.25, 3: 1.0, 4: 1.0, 12: 0.5, 20: 0.0}),
        ("wsd", {0: 0.25, 3: 1.0, 14: 1.0, 15: 1.0, 16: 0.8, 19: 0.2, 20: 0.0}),
        ("constant", {0: 0.25, 3: 1.0, 19: 1.0}),
    ],
)
@pytest.mark.parametrize("config", [AdamW, Muon, Adafactor])
def test_schedules(config, schedule, expected):
    of = config(lr=1.0, warmup_steps=4, schedule=schedule, decay_share=0.25)
    found = {taken: rates(of, taken, 20, 1.0)[0] for taken in expected}
    assert found == {taken: pytest.approx(share, abs=1e-12) for taken, share in expected.items()}
