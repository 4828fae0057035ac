"""Inputs of several modalities at once, by a model that reads them as one."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from trichord.types import Modality, UserError
from trichord.types.arrays import Float
from trichord.types.rules import require

if TYPE_CHECKING:  # importing `trichord` must stay quick
    from trichord.encoders.embedding_gemma import Mixed
    from trichord.media import Decoded
    from trichord.models.embedder import Embedder

KEYS: Mapping[str, Modality] = {"text": "text", "image": "vision", "audio": "audio"}
"""What a mixture may have, as sentence-transformers calls it, and its modality."""


def read_mixture(item: Mapping[str, Any], place: str) -> list[tuple[Modality, Any]]:
    """The parts of a mixture, in their order.

    Raises:
        UserError: It is empty, or has another key.
    """
    for key in item:
        require(key in KEYS, f"{place} has the key {key!r}: give some of {', '.join(KEYS)}.")
    parts: list[tuple[Modality, Any]] = [(KEYS[key], value) for key, value in item.items()]
    blank = any(one == "text" and not str(value).strip() for one, value in parts)
    require(parts and not blank, f"{place} is empty: give a text, an image or audio.")
    return parts


def embed_mixture(
    embedder: "Embedder",
    parts: "Sequence[tuple[Modality, str | Decoded]]",
    task: Literal["query", "document"] | None,
) -> Float[np.ndarray, " dim"]:
    """The unit vector of texts and decoded media that are one input.

    Raises:
        UserError: The model reads one modality at a time; or a file lacks the modality.
    """
    import torch
    from torch.nn.functional import normalize

    from trichord.encoders.embedding_gemma import mixture_features

    mixed = _mixing(embedder)
    inputs: list[tuple[Modality, Any]] = []
    for modality, part in parts:
        if modality == "text":
            inputs.append((modality, part))
            continue
        decoded = cast("Decoded", part)
        if modality == "vision":
            steps = embedder.vision_inputs(decoded)
        else:
            steps = embedder.audio_steps(embedder.spectrogram(decoded))
        require(len(steps), f"The {modality} of a mixture is missing: leave its key out.")
        inputs.append((modality, steps.to(embedder.device)))
    with torch.inference_mode():
        features = mixture_features(mixed, inputs, task)
        return normalize(embedder.text.head(features), dim=-1).cpu().numpy()


def _mixing(embedder: "Embedder") -> "Mixed":
    """The encoders, if they are of one model that reads mixtures.

    Raises:
        UserError: They are not, or were trained apart.
    """
    from trichord.encoders.embedding_gemma import (
        EmbeddingGemmaAudioEncoder,
        EmbeddingGemmaTextEncoder,
        EmbeddingGemmaVisionEncoder,
    )

    text, vision, audio = embedder.text, embedder.vision, embedder.audio
    if not (
        isinstance(text, EmbeddingGemmaTextEncoder)
        and isinstance(vision, EmbeddingGemmaVisionEncoder)
        and isinstance(audio, EmbeddingGemmaAudioEncoder)
    ):
        raise UserError(
            "This model reads one modality at a time: encode each part alone, or choose embeddinggemma2."
        )
    weights: list[Any] = [one.head.weight for one in (text, vision, audio)]
    same = all(weights[0].equal(one) for one in weights)
    trained = any(one.trunk_changed for one in (text, vision, audio))
    require(
        same and not trained,
        "The encoders of this run were trained apart and read no mixtures: encode each part alone.",
    )
    return text, vision, audio
