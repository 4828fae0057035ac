"""Low-rank adapters (LoRA) in a trunk: `peft` adds them for training; afterwards they are merged.

Source: Hu et al. (2022), "LoRA: Low-Rank Adaptation of Large Language Models".
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from trichord.config.training import Lora
from trichord.types import UserError
from trichord.types.extras import extras_named
from trichord.types.rules import require

FIRST, SECOND = ".lora_A.", ".lora_B."
"""What peft calls the two matrices of an adapter; the first one reads the layer's input."""
ALL_LINEAR = "all-linear"


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name belongs to an adapter."""
    return FIRST in name or SECOND in name


def add_adapters(trunk: nn.Module, lora: Lora, what: str) -> None:
    """Put adapters beside linear layers of a trunk, in place; only they need gradients then.

    The second matrix of each starts at zero: features stay as they are.

    Args:
        trunk: Any; parameters keep their memory.
        lora: Its first matrices are drawn from torch's random state.
        what: The trunk in error messages.

    Raises:
        UserError: As for `layers_to_adapt`.
    """
    layers = layers_to_adapt(trunk, lora, what)
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=layers
    )
    inject_adapter_in_model(config, trunk)


def layers_to_adapt(trunk: nn.Module, lora: Lora, what: str) -> list[str]:
    """Names of the linear layers of a trunk that adapters are for.

    Raises:
        UserError: There are none, or peft is missing.
    """
    with extras_named():
        import_module("peft")
    if layers := list(_layers(trunk, lora)):
        parts: dict[str, Any] = dict(trunk.named_modules())
        least = min(min(parts[one].weight.shape) for one in layers)
        require(
            lora.rank <= least,
            f"--stages.N.lora.rank {lora.rank}: {what[0].lower()}{what[1:]} has a layer of {least} numbers "
            "a side: give at most that.",
        )
        return layers
    missing = " or ".join(lora.targets) or "inside an attention"
    ends = {
        name.rpartition(".")[2] for name, one in trunk.named_modules() if isinstance(one, nn.Linear)
    }
    known = ", ".join(sorted(ends)) or "none at all"
    raise UserError(
        f"{what} has no linear layer {missing}: choose --stages.N.lora.targets of {known}, or {ALL_LINEAR}."
    )


def _layers(trunk: nn.Module, lora: Lora) -> Iterator[str]:
    """Names of the linear layers that get adapters."""
    # torch's own attention multiplies by its layers' weights and never calls the layers.
    uncalled = {
        f"{name}.{part}"
        for name, module in trunk.named_modules()
        if isinstance(module, nn.MultiheadAttention)
        for part, _ in module.named_modules()
    }
    attentions = [
        f"{name}." for name, part in trunk.named_modules() if "Attention" in type(part).__name__
    ]
    for name, part in trunk.named_modules():
        if name in uncalled or not isinstance(part, nn.Linear):
            continue
        if lora.targets:
            chosen = ALL_LINEAR in lora.targets or name.rpartition(".")[2] in lora.targets
        else:
            chosen = name.startswith(tuple(attentions))
        if chosen:
            yield name


def remove_adapters(trunk: nn.Module) -> dict[str, Tensor]:
    """Take the adapters out of a trunk, in place; gives their weights by name."""
    adapters = {name: value for name, value in trunk.state_dict().items() if is_adapter(name)}
    for name in dict.fromkeys(one.partition(FIRST)[0] for one in adapters if FIRST in one):
        layer: Any = trunk.get_submodule(name)
        trunk.set_submodule(name, layer.base_layer)
    vars(trunk).pop("peft_config", None)
    return adapters


@torch.no_grad()
def merge(trunk: nn.Module, adapters: Mapping[str, Tensor], lora: Lora) -> str | None:
    """Add the products of adapters to the weights of a trunk without adapters; peft is not needed.

    Args:
        trunk: With weights of its own.
        adapters: From `remove_adapters`.
        lora: For the scale.

    Returns:
        The first name that does not fit the trunk, which is unchanged then; None if all fit.
    """
    changes: list[tuple[Tensor, Tensor]] = []
    modules = dict(trunk.named_modules())
    for name, first in adapters.items():
        if FIRST not in name:
            continue
        layer, second = (
            modules.get(name.partition(FIRST)[0]),
            adapters.get(name.replace(FIRST, SECOND)),
        )
        if not isinstance(layer, nn.Linear) or second is None:
            return name
        if (len(second), first.shape[1]) != layer.weight.shape or len(first) != second.shape[1]:
            return name
        product = second.to(layer.weight) @ first.to(layer.weight)
        changes.append((layer.weight, product * (lora.alpha / len(first))))
    for weight, change in changes:
        weight.add_(change)
    return None
