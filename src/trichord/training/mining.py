"""Hard negatives: the clips whose captions the present model takes for those of another clip."""

from collections import defaultdict

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trichord.config import Stage
from trichord.evaluation.gallery import ClipVectors
from trichord.evaluation.vectors import embed_source
from trichord.features.source import Captions, Source
from trichord.models.embedder import Embedder

SPARE = 8
"""Neighbours that are kept for each that a clip needs: some will be in a batch already."""
SCORES = 2**25
"""Scores that are in memory at once."""


def mine(model: Embedder, source: Source, stage: Stage) -> dict[str, Tensor]:
    """The hardest negatives of each clip by the present model.

    A clip scores a caption by the mean cosine over the modalities that the stage compares with text.
    Another clip is as near as its nearest caption. It is no negative if one of its captions scores more
    than a share of the clip's own best one (near duplicates), if the same is true the other way round,
    or if the two have a caption in common.

    Args:
        model: Is left in its mode.
        source: The training clips.
        stage: Its terms, captions and options.

    Returns:
        `neighbours`: clips by number, nearest first, (clip, neighbour), -1 for none. `near`: how many of
        each clip's nearest, as many as it needs negatives, were left out as near duplicates; the sum.

    Raises:
        UnrankableError: A vector is zero or not finite.

    Source: NV-Retriever (Moreira et al., 2024), TopK-PercPos, by the model that trains.
    """
    kinds = {kind for draw in stage.draws for kind in draw.captions}
    numbers = np.flatnonzero([kind in kinds for kind in source.captions.kinds])
    clips, captions = _vectors(
        embed_source(model, source), source.captions, stage, texts_differ=model.texts_differ
    )
    clips, captions = clips.to(model.device), captions[numbers].to(model.device)
    owners = torch.from_numpy(source.captions.owners[numbers]).to(model.device)
    positives = _best((clips[owners] * captions).sum(dim=1, keepdim=True), owners, len(clips))
    count = min(SPARE * stage.negatives, max(1, len(clips) - 1))
    sharing = _sharing(source.captions, numbers, len(clips))
    usable = clips.any(dim=1) & positives.isfinite()[:, 0]
    neighbours, near = [torch.zeros(0, count, dtype=torch.int32)], 0
    size = max(1, SCORES // max(len(captions), len(clips)))
    for start in range(0, len(clips), size):
        rows = torch.arange(start, min(start + size, len(clips)), device=model.device)
        scores = _best(captions @ clips[rows].T, owners, len(clips)).T
        ours = torch.isin(owners, rows)
        back = _best(captions[ours] @ clips.T, owners[ours] - start, len(rows))
        limits = stage.negatives_share * positives[:, 0]
        duplicates = (scores > limits[rows, None]) | (back > limits)
        others = usable[rows, None] & usable & ~_same(sharing, rows)
        scores = scores.masked_fill(~others, float("-inf"))
        nearest = scores.topk(min(stage.negatives, count), dim=1)
        dropped = duplicates.gather(1, nearest.indices) & nearest.values.isfinite()
        near += int(dropped.sum())
        found = scores.masked_fill(duplicates, float("-inf")).topk(count, dim=1)
        neighbours.append(found.indices.where(found.values.isfinite(), -1).int().cpu())
    return {"neighbours": torch.cat(neighbours), "near": torch.tensor(near)}


def _vectors(
    found: ClipVectors, captions: Captions, stage: Stage, *, texts_differ: bool
) -> tuple[Float[Tensor, "clip dim"], Float[Tensor, "caption dim"]]:
    """Clips and captions whose product is the mean cosine over a clip's modalities."""
    of_captions = {"vision": "toward_vision", "audio": "toward_audio"}
    ours: list[np.ndarray] = []
    texts: list[np.ndarray] = []
    counts = np.zeros((len(found.ids), 1), np.float32)
    for side in stage.compared_with_text:
        has = getattr(found, f"has_{side}")[:, None]
        counts += has
        ours.append(np.where(has, getattr(found, side), 0))
        rows = np.zeros((len(captions.texts), ours[-1].shape[1]), np.float32)
        for kind, numbers in captions.numbers.items():
            rows[numbers] = getattr(found.captions[kind], of_captions[side])
        texts.append(rows)
    if not texts_differ:  # the mean of products with one text is that with the mean
        ours, texts = [np.sum(ours, axis=0)], texts[:1]
    clips = np.concatenate(ours, axis=1) / np.maximum(counts, 1)
    return torch.from_numpy(clips), torch.from_numpy(np.concatenate(texts, axis=1))


def _best(
    scores: Float[Tensor, "caption column"], owners: Int[Tensor, " caption"], count: int
) -> Float[Tensor, "owner column"]:
    """The best score among the captions of each owner; -inf without any."""
    best = scores.new_full((count, scores.shape[1]), float("-inf"))
    return best.scatter_reduce_(0, owners[:, None].expand_as(scores), scores, "amax")


def _sharing(captions: Captions, numbers: Int[np.ndarray, " some"], clips: int) -> list[set[int]]:
    """For each clip, the clips that have a caption in common with it, itself included."""
    owners_of: dict[int, set[int]] = defaultdict(set)
    for number in numbers.tolist():
        owners_of[int(captions.wordings[number])].add(int(captions.owners[number]))
    sharing = [{clip} for clip in range(clips)]
    for owners in owners_of.values():
        for clip in owners:
            sharing[clip] |= owners
    return sharing


def _same(sharing: list[set[int]], rows: Int[Tensor, " row"]) -> Bool[Tensor, "row clip"]:
    same = torch.zeros(len(rows), len(sharing), dtype=torch.bool)
    for row, clip in enumerate(rows.tolist()):
        same[row, list(sharing[clip])] = True
    return same.to(rows.device)
