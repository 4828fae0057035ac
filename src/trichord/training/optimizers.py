"""Optimizers of a stage: what trains, parameter groups, learning rate schedules."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from transformers.optimization import Adafactor as AdafactorOptimizer

from trichord.config import AdamW, BertAdam, Stage
from trichord.config.training import Adafactor, Muon, OptimizerConfig, ScheduledConfig
from trichord.encoders.adapters import is_adapter
from trichord.losses.objective import Objective
from trichord.models.bert_adam import BertAdamOptimizer
from trichord.models.embedder import Embedder
from trichord.types import UserError
from trichord.types.terms import term_of


def choose_what_trains(model: Embedder, stage: Stage, seed: int = 0) -> None:
    """Freeze and unfreeze heads, trunks, fusion and captioner for a stage; the seed draws new adapters."""
    for name, encoder in model.encoders().items():
        encoder.head.requires_grad_(name in stage.trains)
        if name in stage.towers and stage.lora.rank:
            encoder.adapt(stage.lora, seed)
        elif name in stage.towers:
            encoder.unfreeze()
        else:
            encoder.freeze_trunk()
    losses = {term_of(name).loss for name in stage.terms}
    if model.fusion is not None:
        model.fusion.set_trainable("fused" in losses)
    if model.captioner is not None:
        model.captioner.set_trainable("words" in losses)


def build_optimizer(stage: Stage, model: Embedder, objective: Objective) -> Optimizer:
    """The stage's optimizer of all trainable parameters; each group has its full rate as `peak`.

    Raises:
        UserError: The installed torch does not have it.
    """
    config = stage.optimizer
    if isinstance(config, BertAdam):
        return _bert_adam(config, model, objective)
    assert isinstance(config, ScheduledConfig)
    groups = list(_groups(config, model, objective))
    if isinstance(config, Muon):
        return _muon(config, groups, model)
    if isinstance(config, Adafactor):
        # The rate as it is given, as for the others: not relative to the size of the weights.
        return AdafactorOptimizer(groups, lr=config.lr, scale_parameter=False, relative_step=False)
    assert isinstance(config, AdamW)
    return _adamw(config, groups)


def set_rate(optimizer: Optimizer, config: OptimizerConfig, taken: int, steps: int) -> None:
    """Set the learning rate of the next step.

    Args:
        optimizer: From `build_optimizer`.
        config: Its settings.
        taken: Steps of the stage so far.
        steps: Steps of all epochs of the stage.
    """
    share = _published_share(config, taken, steps) if isinstance(config, BertAdam) else 1.0
    if isinstance(config, ScheduledConfig):
        share = _share(config, taken, steps)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def _share(config: ScheduledConfig, taken: int, steps: int) -> float:
    """The learning rate of a step as a share of its peak."""
    if taken < config.warmup_steps:
        return (taken + 1) / config.warmup_steps
    remaining = max(1, steps - config.warmup_steps)
    done = min(1.0, (taken - config.warmup_steps) / remaining)
    match config.schedule:
        case "constant":
            return 1.0
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return 1 - done
        case "wsd":
            # Of all steps, not of those after the warm-up, as its authors count.
            decaying = max(1.0, config.decay_share * steps)
            return min(1.0, (steps - taken) / decaying)


def _published_share(config: BertAdam, taken: int, steps: int) -> float:
    """The published schedule: the cosine runs over the whole stage, so it begins below 1."""
    done = taken / max(1, steps)
    if done < config.warmup:
        return done / config.warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _groups(
    config: ScheduledConfig, model: Embedder, objective: Objective
) -> Iterator[dict[str, Any]]:
    """Parameter groups: matrices decay, and trunks have a rate of their own."""
    kinds = {
        id(parameter): "adapter" if is_adapter(name) else "trunk"
        for tower in model.encoders().values()
        for name, parameter in tower.trunk.named_parameters()
    }
    trainable = _trainable(model, objective)
    # Adapters are new, as heads are. They are apart, because those of a sharded trunk are DTensors, which
    # a group cannot have beside plain tensors.
    for kind, share in (("head", 1.0), ("adapter", 1.0), ("trunk", config.trunk_share)):
        for matrix, decay in ((True, config.weight_decay), (False, 0.0)):
            chosen = [
                p for p in trainable if (kinds.get(id(p), "head"), p.ndim >= 2) == (kind, matrix)
            ]
            if chosen:
                yield {"params": chosen, "weight_decay": decay, "peak": config.lr * share}


def _adamw(config: AdamW | Muon, groups: list[dict[str, Any]]) -> Optimizer:
    # The fused kernel is three to six times faster than the loop, on a CPU too.
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)


def _muon(config: Muon, groups: list[dict[str, Any]], model: Embedder) -> Optimizer:
    """Muon for the matrices of linear layers, AdamW for everything else."""
    if not hasattr(torch.optim, "Muon"):
        raise UserError(
            f"--stages.N.optimizer muon: torch {torch.__version__} does not have it: install 2.9 or later."
        )
    # Not every parameter of two dimensions: tables of positions and of audio type tokens have rows that
    # are looked up, not multiplied.
    linear = {id(part.weight) for part in model.modules() if isinstance(part, nn.Linear)}
    by_muon, by_adamw = (
        [
            group | {"params": chosen}
            for group in groups
            if (chosen := [p for p in group["params"] if (id(p) in linear) == wanted])
        ]
        for wanted in (True, False)
    )
    parts: list[Optimizer] = []
    if by_muon:
        # `match_rms_adamw` gives updates the size of AdamW's: one learning rate fits both.
        parts.append(
            torch.optim.Muon(
                by_muon, lr=config.lr, momentum=config.momentum, adjust_lr_fn="match_rms_adamw"
            )
        )
    if by_adamw:
        parts.append(_adamw(config, by_adamw))
    return CombinedOptimizer(parts)


class CombinedOptimizer(Optimizer):
    """Optimizers of different parameters as one, with one state."""

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        """Combine optimizers.

        Args:
            parts: They share their groups and their state with this one.
        """
        self.parts = tuple(parts)
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        groups = iter(self.param_groups)
        for part in self.parts:
            part.param_groups = [next(groups) for _ in part.param_groups]
            part.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's, which replaces the groups and the state."""
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step with each."""
        for part in self.parts:
            part.step()


def _trainable(model: Embedder, objective: Objective) -> list[nn.Parameter]:
    return [p for p in (*model.parameters(), *objective.parameters()) if p.requires_grad]


def _bert_adam(config: BertAdam, model: Embedder, objective: Objective) -> Optimizer:
    towers = model.encoders()
    slow = {id(p) for name in config.slow if name in towers for p in towers[name].parameters()}
    biases = {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    groups: list[dict[str, Any]] = []
    for is_slow, rate in ((True, config.lr * config.slow_share), (False, config.lr)):
        for bias in (False, True):
            chosen = [
                p
                for p in _trainable(model, objective)
                if (id(p) in slow, id(p) in biases) == (is_slow, bias)
            ]
            decay = config.weight_decay if is_slow and not bias else 0.0
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "peak": rate})
    return BertAdamOptimizer(groups, beta1=config.beta1, beta2=config.beta2, epsilon=config.epsilon)
