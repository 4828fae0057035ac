"""A model's vectors for all clips and captions of a source, as evaluation wants them."""

import numpy as np

from trichord.evaluation.gallery import CaptionVectors, ClipVectors, Fused, Mean, Weights
from trichord.evaluation.pairs import After, Pairs, Shelf, measuring, on_cpu
from trichord.features.source import Source, portions
from trichord.models.embedder import Embedder, Toward
from trichord.models.fusion import GlobalToGlobalFusion, GlobalToLocalFusion
from trichord.types.arrays import Float
from trichord.types.comparable import not_comparable

CLIPS_AT_ONCE = 256
MEDIA_AT_ONCE = 32
"""Of clips whose frames or sounds the towers have yet to read: at CLIP4VLA's sizes 540 MB."""
CAPTIONS_AT_ONCE = 2048

_Vectors = tuple[np.ndarray, np.ndarray]
"""(clip, dim) vectors, and which clips have one."""


def embed_source(
    model: Embedder,
    source: Source,
    weights: Weights | None = None,
    after_pairs: After | None = None,
    after_clips: After | None = None,
) -> ClipVectors:
    """Embed every clip and every caption once, in the source's order, without any sampling.

    Where the model has a fusion, clips are as its `media` leaves them: with global-to-local, vision and
    audio have attended to one another. A fusion that re-ranks keeps the clips' steps on the CPU and
    scores pairs when a task asks for them.

    Args:
        model: In whatever mode; it is left in it.
        source: Clips, each of which may lack a modality, and all of which may.
        weights: Of picture and sound where they are fused; given, they fuse a model without a fusion too,
            by the mean.
        after_pairs: Told how many pairs have been scored, after every portion.
        after_clips: Told how many clips have been read, after every portion.

    Raises:
        ValueError: Weights for a model that does not compare audio with vision.
    """
    if weights and not model.compares("audio", "vision"):
        raise ValueError(f"No fusion: {not_comparable('audio', 'vision')}.")
    with measuring(model):
        vision, audio, shelves = _media(model, source, after_clips)
        toward_vision = _texts(model, source, "vision")
        toward_audio = _texts(model, source, "audio") if model.texts_differ else toward_vision
    fused: Fused | None = _mean(model, weights)
    if model.reranks:
        fused = Pairs(model, source, shelves, weights or Weights(), after_pairs)
    captions = source.captions
    return ClipVectors(
        ids=tuple(clip.id for clip in source.clips),
        vision=vision[0],
        has_vision=vision[1],
        audio=audio[0],
        has_audio=audio[1],
        comparable=model.comparable,
        mingled=isinstance(model.fusion, GlobalToLocalFusion),
        fused=fused,
        captions={
            kind: CaptionVectors(
                texts=tuple(captions.texts[i] for i in numbers),
                owner=captions.owners[numbers],
                toward_vision=toward_vision[numbers],
                toward_audio=toward_audio[numbers],
            )
            for kind, numbers in captions.numbers.items()
        },
    )


def _mean(model: Embedder, weights: Weights | None) -> Mean | None:
    """What scores clips that have vectors of their own; None where nothing fuses them."""
    if model.fusion is None and weights is None:
        return None
    absent = model.fusion.absent if isinstance(model.fusion, GlobalToGlobalFusion) else "masked"
    return Mean(weights=weights or Weights(), absent=absent)


def _media(
    model: Embedder, source: Source, after_clips: After | None
) -> tuple[_Vectors, _Vectors, list[Shelf]]:
    """Vectors and presence of all clips for vision and for audio, and steps if they are needed."""
    count = len(source.clips)
    vision, seen = np.zeros((count, model.vision.dim), np.float32), np.zeros(count, np.bool_)
    audio, heard = np.zeros((count, model.audio.dim), np.float32), np.zeros(count, np.bool_)
    kept: list[Shelf] = []
    size = CLIPS_AT_ONCE if {"vision", "audio"} <= {*source.precomputed} else MEDIA_AT_ONCE
    for rows in portions(count, size):
        embedded = model(source.batch(rows, None).to(model.device))
        parts = embedded.vision, embedded.audio
        if model.fusion is not None:
            parts = model.fusion.media(*parts)
        pictures, sounds = map(on_cpu, parts)
        # Of a modality that the source does not give, nothing is present.
        if pictures is not None:
            vision[rows], seen[rows] = pictures.pooled.numpy(), pictures.present.numpy()
        if sounds is not None:
            audio[rows], heard[rows] = sounds.pooled.numpy(), sounds.present.numpy()
        if model.reranks:
            shelf = Shelf(start=int(rows[0]), count=len(rows), vision=pictures, audio=sounds)
            kept.append(shelf)
        if after_clips:
            after_clips(len(rows))
    return (vision, seen), (audio, heard), kept


def _texts(model: Embedder, source: Source, toward: Toward) -> Float[np.ndarray, "caption dim"]:
    tower = model.text_toward(toward)
    found = [np.zeros((0, tower.dim), np.float32)]
    for rows in portions(len(source.captions.texts), CAPTIONS_AT_ONCE):
        inputs = source.texts(rows, toward).to(model.device)
        read = inputs if "text" in source.precomputed else tower.trunk_features(inputs)
        found.append(tower(read).pooled.cpu().numpy())
    return np.concatenate(found)
