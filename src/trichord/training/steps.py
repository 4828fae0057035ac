"""Gradients of a mini-batch, of all clips at once or in chunks."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trichord.config import Stage
from trichord.distributed import average_gradients, on_all_ranks, rank, world_size
from trichord.features.source import Source
from trichord.training.learner import Learner
from trichord.training.sampler import Sample
from trichord.training.sharding import replicated_parameters, synchronise
from trichord.training.soundness import Buffers
from trichord.types import Side
from trichord.types.tensors import Batch, Embeddings, Features

SIDES: tuple[Side, ...] = ("text", "audio", "vision", "masked")


def data_parallel(learner: Learner) -> nn.Module:
    """The learner, in distributed training wrapped by torch's DDP."""
    if world_size() == 1 or learner.sharded:
        return learner
    # Draws may leave heads unused, and the clips of a process may lack a modality.
    return DistributedDataParallel(learner, find_unused_parameters=True)


def read_batch(learner: Learner, training: Source, sample: Sample) -> tuple[Batch, Sample]:
    """This process's part of a mini-batch on the model's device, and its sample."""
    ours = sample.parts(world_size())[rank()]
    (batch,) = _read(training, [ours])
    return batch.to(learner.model.device), ours


def backward(learner: Learner, loss: Float[Tensor, ""] | None) -> None:
    """Backward pass of a loss, if any; gradients are equal in all processes."""
    if loss is None:
        return
    loss.backward()
    if learner.sharded:
        average_gradients(replicated_parameters(learner))


def cached_step(
    learner: Learner, stage: Stage, training: Source, sample: Sample
) -> Float[Tensor, ""] | None:
    """The loss of a mini-batch and its gradient, with `stage.chunk` clips in the encoders at once.

    First every chunk is encoded, and only its features are kept; the loss gives their gradient. Then
    every chunk is encoded again, with the same dropout, to backpropagate that gradient.

    Source: Gao et al. (2021), "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup".
    """
    ours = sample.parts(world_size())[rank()]
    assert stage.chunk is not None
    # Equally many in all processes, because sharded trunks wait for each other.
    most, fewest = -(-len(sample.clips) // world_size()), len(sample.clips) // world_size()
    chunks = ours.parts(min(-(-most // stage.chunk), fewest))
    batches = _read(training, chunks)
    embeddings = _first_pass(learner, batches, chunks)
    loss = learner.loss(embeddings, ours)
    if loss is None:
        return None
    loss.backward()
    for batch, chunk in zip(batches, chunks, strict=True):
        synchronise(learner, now=chunk is chunks[-1])
        encoded = learner.encode(batch.to(learner.model.device), chunk)
        start = chunk.first - ours.first
        _hand_down(encoded, embeddings, slice(start, start + len(chunk.clips)))
    average_gradients(replicated_parameters(learner))
    return loss


def _read(training: Source, samples: Sequence[Sample]) -> list[Batch]:
    """Mini-batches, or parts of one, from their source."""
    return on_all_ranks(
        lambda: [training.batch(one.clips, one.captions, one.masking) for one in samples]
    )


def _first_pass(learner: Learner, batches: Sequence[Batch], chunks: Sequence[Sample]) -> Embeddings:
    """Embeddings of the clips as leaf tensors, for the gradient of the loss."""
    buffers = Buffers(learner)
    copies = buffers.copies()
    with torch.no_grad():
        parts = [
            learner.encode(batch.to(learner.model.device), chunk)
            for batch, chunk in zip(batches, chunks, strict=True)
        ]
    buffers.restore(copies)  # because the clips are encoded again
    text, audio, vision, masked = (_leaf([part.of(side) for part in parts]) for side in SIDES)
    return Embeddings(text, audio, vision, masked)


def _leaf(parts: Sequence[Features | None]) -> Features | None:
    """The concatenated features of chunks."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    longest = max(part.mask.shape[1] for part in present)
    mask = torch.cat([F.pad(part.mask, (0, longest - part.mask.shape[1])) for part in present])
    pooled = torch.cat([part.pooled for part in present]).requires_grad_()
    steps = [F.pad(part.steps, (0, 0, 0, longest - part.steps.shape[1])) for part in present]
    return Features(pooled, torch.cat(steps).requires_grad_(), mask)


def _hand_down(encoded: Embeddings, embeddings: Embeddings, rows: slice) -> None:
    """Backpropagate the gradient of the features of some rows."""
    outputs: list[Tensor] = []
    gradients: list[Tensor] = []
    for side in SIDES:
        features, leaf = encoded.of(side), embeddings.of(side)
        if features is None or leaf is None:
            continue
        for one, of_all in ((features.pooled, leaf.pooled), (features.steps, leaf.steps)):
            if one.requires_grad and of_all.grad is not None:
                outputs.append(one)
                gradients.append(of_all.grad[rows, : one.shape[1]])
    if outputs:
        torch.autograd.backward(outputs, gradients)
