"""Sharding of encoders: each process has a part of weights, gradients and optimizer state."""

import copy
from collections.abc import Iterable
from typing import TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from trichord.distributed import world_size
from trichord.encoders.encoder import Encoder
from trichord.models.embedder import Embedder

Part = TypeVar("Part", bound=nn.Module)


def shard_model(model: Embedder) -> Embedder:
    """A copy of a model with sharded training trunks; everything else is shared with the model.

    The model itself stays unsharded, for saving and evaluation after `gather_weights`.
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
    """A copy of a module with the same submodules."""
    other = copy.copy(module)
    # `copy.copy` shares the dict of submodules: setting one in the copy would set the model's.
    other.__dict__["_modules"] = dict(other.__dict__["_modules"])
    return other


def _shard(trunk: nn.Module, device: torch.device) -> nn.Module:
    """Shard each layer separately, and everything outside of layers together."""
    mesh = _mesh(device)
    stacks = [part for part in trunk.modules() if isinstance(part, nn.ModuleList)]
    # `modules()` returns outer stacks first; torch
    # needs inner modules to be sharded first.
    for layer in [layer for stack in reversed(stacks) for layer in stack]:
        # Some layers, such as Identity, have no parameters.
        if any(True for _ in layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(trunk, mesh=mesh)
    return trunk


def _mesh(device: torch.device) -> DeviceMesh:
    """A mesh of all processes that does not keep the process group alive.

    DTensor's caches never release a mesh, nor does a mesh its process group, whose threads would then
    outlive the interpreter; one that frees a tensor at its end aborts the process
    (pytorch/pytorch#190489). A mesh finds its group by name too.
    """
    mesh = init_device_mesh(device.type, (world_size(),))
    # A private attribute: versions of torch without it need nothing.
    getattr(mesh, "_pg_registry", {}).clear()
    return mesh


def _read_at_once(encoder: Encoder) -> None:
    """Call the trunk once per batch, even if no clip has the modality: processes wait for each other.

    The usual smaller batches could differ in number between processes.
    """

    def run_trunk(
        steps: Shaped[Tensor, "step ..."], audio_type: Float[Tensor, " step"] | None = None
    ) -> Float[Tensor, "step *token width"]:
        # Without steps, a step of zeros is read and dropped:
        # the layers' exchanges need every process.
        shown = steps if len(steps) else steps.new_zeros(1, *steps.shape[1:])
        if audio_type is None or not encoder.takes_audio_type:
            return encoder.trunk(shown)[: len(steps)]
        place = audio_type if len(audio_type) else audio_type.new_zeros(1)
        return encoder.trunk(shown, place)[: len(steps)]

    # Only in the instance: the model's own encoder is of the same class and stays as it is.
    encoder.__dict__["run_trunk"] = run_trunk


@torch.no_grad()
def gather_weights(sharded_model: Embedder, model: Embedder) -> None:
    """Copy the weights of a sharded copy into the model; a collective call."""
    if sharded_model is model:
        return
    for name, encoder in model.encoders().items():
        sharded = sharded_model.encoders()[name]
        if sharded is not encoder:
            # Buffers are not sharded: each process has the running means of its own clips.
            for ours, theirs in zip(_tensors(encoder), _tensors(sharded), strict=True):
                ours.copy_(full_tensor(theirs))


def _tensors(encoder: Encoder) -> list[Tensor]:
    return [*encoder.trunk.parameters(), *encoder.trunk.buffers()]


def full_tensor(value: Tensor) -> Tensor:
    """A tensor gathered from all processes; a collective call."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def shard_like(value: Tensor, parameter: Tensor) -> Tensor:
    """A full tensor, sharded as a parameter of the same shape."""
    # An optimizer's state also has numbers, such as
    # its step, without the parameter's shape.
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    moved = value.to(parameter.device, parameter.dtype)
    return distribute_tensor(moved, parameter.device_mesh, parameter.placements)


def synchronise(module: nn.Module, *, now: bool) -> None:
    """Set whether the next backward pass reduces the gradients of sharded trunks."""
    for part in module.modules():
        if isinstance(part, FSDPModule):
            # `modules()` includes the inner modules.
            part.set_requires_gradient_sync(now, recurse=False)


def replicated_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The unsharded trainable parameters."""
    # FSDP averages the gradients of the others itself.
    return [p for p in module.parameters() if p.requires_grad and not isinstance(p, DTensor)]


def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> None:
    """Clip the gradient to a norm of `most`, over unsharded and sharded parameters together."""
    with_gradient = [one for one in parameters if one.grad is not None]
    gradients = [one.grad for one in with_gradient if one.grad is not None]
    sharded = [one for one in gradients if isinstance(one, DTensor)]
    if not sharded:
        # Only plain tensors: torch's own function works.
        nn.utils.clip_grad_norm_(with_gradient, most)
        return
    local = [one for one in gradients if not isinstance(one, DTensor)]
    # torch has no norm over sharded and plain tensors together. The norm of the two
    # norms is that of all, and equal in every process, and so is the factor.
    norms = [full_tensor(nn.utils.get_total_norm(group)) for group in (sharded, local) if group]
    factor = most / (float(torch.stack(norms).norm()) + 1e-6)  # as torch does
    if factor < 1:
        for one in gradients:
            one.mul_(factor)
