"""A model's vectors for all clips and captions of a source, as evaluation wants them."""

import numpy as np
import torch

from trichord.evaluation.retrieval import CaptionVectors, ClipVectors
from trichord.features.source import Source, portions
from trichord.models.embedder import Embedder, Toward
from trichord.types.tensors import Features

CLIPS_AT_ONCE = 256
CAPTIONS_AT_ONCE = 2048


def embed_source(model: Embedder, source: Source) -> ClipVectors:
    """Embed every clip and every caption once, in the source's order, without any sampling."""
    was_training = model.training
    model.eval()
    vision, audio = _media(model, source)
    toward_vision = _texts(model, source, "vision")
    toward_audio = toward_vision if model.aligned else _texts(model, source, "audio")
    model.train(was_training)
    captions = source.captions
    return ClipVectors(
        ids=tuple(clip.id for clip in source.clips),
        vision=vision[0],
        has_vision=vision[1],
        audio=audio[0],
        has_audio=audio[1],
        aligned=model.aligned,
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


def _media(
    model: Embedder, source: Source
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Vectors and presence of all clips, for vision and for audio."""
    pictures: list[Features] = []
    sounds: list[Features] = []
    for rows in portions(len(source.clips), CLIPS_AT_ONCE):
        with torch.inference_mode():
            embedded = model(source.batch(rows, None).to(model.device))
        pictures.append(embedded.vision)
        sounds.append(embedded.audio)
    return _joined(pictures), _joined(sounds)


def _texts(model: Embedder, source: Source, toward: Toward) -> np.ndarray:
    tower = model.text_toward(toward)
    found = [np.zeros((0, tower.dim), np.float32)]
    for rows in portions(len(source.captions.texts), CAPTIONS_AT_ONCE):
        inputs = source.texts(rows, toward).to(model.device)
        with torch.inference_mode():
            read = inputs if source.read else tower.read(inputs)
            found.append(tower(read).pooled.cpu().numpy())
    return np.concatenate(found)


def _joined(parts: list[Features]) -> tuple[np.ndarray, np.ndarray]:
    pooled = [part.pooled.cpu().numpy() for part in parts]
    present = [part.present.cpu().numpy() for part in parts]
    return np.concatenate(pooled), np.concatenate(present)
