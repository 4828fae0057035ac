"""Towers too large for one device: each process keeps a part of their weights, gradients and moments."""

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from trichord.distributed import ranks
from trichord.encoders.encoder import Encoder
from trichord.models.embedder import Embedder

Part = TypeVar("Part", bound=nn.Module)


def shard_model(model: Embedder) -> Embedder:
    """A model whose trunks that train are spread over the processes; all else is the model's own.

    The model itself stays whole: it is saved and measured, after `gather_weights`.
    """
    sharded_model = _shallow(model)
    for name, encoder in model.encoders().items():
        if encoder.trunk_trains:
            sharded = _shallow(encoder)
            # `fully_shard` changes a module in place, so it gets a copy of the trunk.
            sharded.trunk = _shard(copy.deepcopy(encoder.trunk), model.device)
            _read_at_once(sharded)
            setattr(sharded_model, name, sharded)
    return sharded_model


def _shallow(module: Part) -> Part:
    """The same parts under another roof."""
    other = copy.copy(module)
    # `copy.copy` shares the dict of parts: to set one in the copy would set the model's own.
    other.__dict__["_modules"] = dict(other.__dict__["_modules"])
    return other


def _shard(trunk: nn.Module, device: torch.device) -> nn.Module:
    """Each layer is gathered when its turn comes, and what is in none of them with the first."""
    mesh = _mesh(device)
    stacks = [part for part in trunk.modules() if isinstance(part, nn.ModuleList)]
    # `modules()` gives outer stacks first; torch wants
    # inner modules sharded before those that hold them.
    for layer in [layer for stack in reversed(stacks) for layer in stack]:
        # Some layers, such as Identity, have nothing to spread.
        if any(True for _ in layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(trunk, mesh=mesh)
    return trunk


def _mesh(device: torch.device) -> DeviceMesh:
    """All processes in one row, which does not keep them together.

    DTensor's caches never let go of a mesh, nor does a mesh of its process group, whose threads would
    then outlive the interpreter: one that lays a tensor down as it ends aborts the process
    (pytorch/pytorch#190489). A mesh finds its group by name just as well.
    """
    mesh = init_device_mesh(device.type, (ranks(),))
    # Private to torch: a version without it has nothing to clear.
    getattr(mesh, "_pg_registry", {}).clear()
    return mesh


def _read_at_once(encoder: Encoder) -> None:
    """Call the trunk once a batch, also where no clip has the modality: processes wait for each other.

    Portions, which an encoder takes otherwise, would be more here than there.
    """

    def run_trunk(
        steps: Shaped[Tensor, "step ..."], audio_type: Float[Tensor, " step"] | None = None
    ) -> Float[Tensor, "step *token width"]:
        # Without steps a step of zeros is read and cut off
        # again: the layers' exchanges need every process.
        shown = steps if len(steps) else steps.new_zeros(1, *steps.shape[1:])
        if audio_type is None or not encoder.takes_audio_type:
            return encoder.trunk(shown)[: len(steps)]
        place = audio_type if len(audio_type) else audio_type.new_zeros(1)
        return encoder.trunk(shown, place)[: len(steps)]

    # In the instance alone: the model's own encoder is of the same class and keeps its portions.
    encoder.__dict__["run_trunk"] = run_trunk


@torch.no_grad()
def gather_weights(sharded_model: Embedder, model: Embedder) -> None:
    """Give the whole model the weights of its twin; all processes together."""
    if sharded_model is model:
        return
    for name, encoder in model.encoders().items():
        sharded = sharded_model.encoders()[name]
        if sharded is not encoder:
            # Buffers are not spread: each process keeps the running means of its own clips.
            for ours, theirs in zip(_tensors(encoder), _tensors(sharded), strict=True):
                ours.copy_(full_tensor(theirs))


def _tensors(encoder: Encoder) -> list[Tensor]:
    return [*encoder.trunk.parameters(), *encoder.trunk.buffers()]


def full_tensor(value: Tensor) -> Tensor:
    """A tensor with the parts that other processes hold; all of them together."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shard_like(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor, spread as a parameter of its shape is."""
    # An optimizer's state also has numbers, such as
    # its step, that are not of the parameter's shape.
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    moved = value.to(parameter.device, parameter.dtype)
    return distribute_tensor(moved, parameter.device_mesh, parameter.placements)


def synchronise(module: nn.Module, *, now: bool) -> None:
    """Whether the next backward sums up what sharded towers have gathered so far."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            # `modules()` comes to the inner parts by itself.
            part.set_requires_gradient_sync(now, recurse=False)


def replicated_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that train and that every process has whole."""
    # FSDP averages the gradients of the others itself.
    return [p for p in module.parameters() if p.requires_grad and not isinstance(p, DTensor)]


def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Shrink the gradient to a norm of `most` at most, over whole and sharded parameters together."""
    with_gradient = [one for one in parameters if one.grad is not None]
    gradients = [one.grad for one in with_gradient if one.grad is not None]
    sharded = [one for one in gradients if isinstance(one, DTensor)]
    if not sharded:
        # Plain tensors alone: torch's own function will do.
        nn.utils.clip_grad_norm_(with_gradient, most)
        return
    local = [one for one in gradients if not isinstance(one, DTensor)]
    # torch takes no norm over sharded and plain tensors together. The norm of the
    # two norms is that of all, and the same in every process: so is the factor.
    norms = [full_tensor(nn.utils.get_total_norm(group)) for group in (sharded, local) if group]
    factor = most / (float(torch.stack(norms).norm()) + 1e-6)  # as torch does
    if factor < 1:
        for one in gradients:
            one.mul_(factor)
