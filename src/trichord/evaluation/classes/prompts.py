"""Zero-shot classification: class names put into sentences, and clips compared with these."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy import ndarray

from trichord.evaluation.gallery import ClipVectors
from trichord.evaluation.scores import unit
from trichord.types import UserError
from trichord.types.arrays import Float
from trichord.types.comparable import not_comparable

if TYPE_CHECKING:  # options are looked at before torch is loaded
    from trichord.models.embedder import Embedder

Toward = Literal["vision", "audio"]
PROMPTS: dict[str, tuple[str, ...]] = {
    "plain": ("{}",),
    "picture": ("a photo of {}", "a video of {}", "this shows {}", "somebody films {}"),
    "sound": ("The sound of {}", "a recording of {}", "one hears {}", "{} can be heard"),
}
"""Sets by name. "The sound of" is what CLIP4VLA's audio tower met labels in."""
NAMED_FOR: dict[Toward, str] = {"vision": "picture", "audio": "sound"}
"""The set that asks a modality if nothing else is said."""


def templates(given: Sequence[str], toward: Toward) -> tuple[str, ...]:
    """Templates as given: the name of a set, sentences with `{}` for the class, or nothing.

    Raises:
        UserError: A sentence has no `{}`.
    """
    if not given:
        return PROMPTS[NAMED_FOR[toward]]
    if len(given) == 1 and given[0] in PROMPTS:
        return PROMPTS[given[0]]
    for one in given:
        if one.count("{}") != 1:
            raise UserError(
                f"--prompts {one}: write {{}} once where the class stands, or name one of the sets "
                f"{', '.join(PROMPTS)}, alone."
            )
    return tuple(given)


def words(name: str) -> str:
    """A class name as words: `chirping_birds` and `ApplyEyeMakeup` as they are said."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("_", " ")).lower().strip()


def class_vectors(
    model: "Embedder", classes: Sequence[str], asked: Sequence[str], toward: Toward
) -> Float[ndarray, "class dim"]:
    """A unit vector for each class: the mean of its sentences' unit vectors, normalised again."""
    sentences = [one.replace("{}", words(name)) for name in classes for one in asked]
    vectors = model.embed_text(sentences, toward).astype(np.float64)
    return unit(vectors.reshape(len(classes), len(asked), -1).mean(axis=1), "class")


def zero_shot(
    vectors: ClipVectors, classes: Mapping[Toward, Float[ndarray, "class _"]]
) -> Float[ndarray, "clip class"]:
    """Cosines of clips and classes; of both picture and sound, the mean over those that a clip has.

    Args:
        vectors: Of clips.
        classes: Unit vectors toward what is compared: picture, sound or both.

    Returns:
        NaN in the rows of clips that lack what is asked for.

    Raises:
        ValueError: Vision and audio are to be fused, and the model does not compare them.
    """
    if len(classes) > 1 and not vectors.compares("audio", "vision"):
        raise ValueError(f"No fusion: {not_comparable('audio', 'vision')}.")
    held = {
        "vision": (vectors.vision, vectors.has_vision),
        "audio": (vectors.audio, vectors.has_audio),
    }
    total = np.zeros((len(vectors.ids), len(next(iter(classes.values())))))
    given = np.zeros((len(vectors.ids), 1))
    for toward, asked in classes.items():
        clips, present = held[toward]
        total[present] += unit(clips[present], "clip") @ asked.T
        given[present] += 1
    return np.where(given > 0, total / np.maximum(given, 1), np.nan)
