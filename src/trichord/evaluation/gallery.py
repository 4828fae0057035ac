"""Clips and captions in the shared space, and what captions score against clips."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
from numpy import ndarray

from trichord.evaluation.scores import Products, Scores, UnrankableError, unit
from trichord.types import CaptionKind, Modality, UserError
from trichord.types.arrays import Bool, Float, Int
from trichord.types.comparable import ALL_PAIRS, Pair, compares
from trichord.types.rules import Range, require_legal

Gallery = Literal["vision", "audio", "clip"]
"""What is searched: pictures, sounds, or clips, picture and sound fused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much picture and sound count where they are fused, relative to one another.

    Raises:
        UserError: A weight is negative or no number, or both are 0.
    """

    visual_weight: Annotated[float, Range(0)] = 1.0
    audio_weight: Annotated[float, Range(0)] = 1.0

    def __post_init__(self) -> None:
        require_legal(self)
        if not self.visual_weight and not self.audio_weight:
            raise UserError("--visual-weight and --audio-weight are both 0: raise one of them.")


@runtime_checkable
class Fused(Protocol):
    """How picture and sound of a clip become one score."""

    @property
    def weights(self) -> Weights:
        """Visual and audio."""
        ...

    def scores(
        self,
        vectors: "ClipVectors",
        kind: CaptionKind,
        captions: Int[ndarray, " caption"],
        clips: Int[ndarray, " clip"],
    ) -> Scores:
        """Captions of a kind, by row among those, against clips by row."""
        ...


@dataclass(frozen=True, slots=True)
class CaptionVectors:
    """Captions of one kind, as asked of pictures and as asked of sounds.

    The two differ in an untrained CLIP + CLAP pair, whose text towers live in two spaces. `owner`
    is the row of the clip each caption belongs to.
    """

    texts: tuple[str, ...]
    owner: Int[ndarray, " caption"]
    toward_vision: Float[ndarray, "caption dim"]
    toward_audio: Float[ndarray, "caption other"]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.owner):
            raise ValueError(f"{len(self.texts)} caption texts, but {len(self.owner)} owners.")


@dataclass(frozen=True, slots=True)
class ClipVectors:
    """Clips in the shared space; a row without the modality may hold anything: it is never read.

    `comparable` are the pairs that the model compares: an untrained CLIP + CLAP pair compares no audio
    with vision. `mingled` is True where a fusion has let the two attend to one another before they
    became vectors. In both cases `visual<-sound` has nothing to ask: the two cannot be compared, or the
    sound knows its picture. `fused` is None where nothing says how picture and sound become one.

    Raises:
        ValueError: Rows differ in number, an id repeats, a caption belongs to no clip, or a vector
            that should be there is zero or not finite (`UnrankableError`); the clips or captions are
            named.
    """

    ids: tuple[str, ...]
    vision: Float[ndarray, "clip dim"]
    has_vision: Bool[ndarray, " clip"]
    audio: Float[ndarray, "clip other"]
    has_audio: Bool[ndarray, " clip"]
    captions: dict[CaptionKind, CaptionVectors]
    comparable: frozenset[Pair] = ALL_PAIRS
    mingled: bool = False
    fused: Fused | None = None

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.has_vision):
            raise ValueError(f"{len(self.ids)} clip ids, but {len(self.has_vision)} rows.")
        if len(set(self.ids)) < len(self.ids):
            raise ValueError("Clip ids repeat; each clip is evaluated once.")
        _require_directions("vision", self.vision, self.has_vision, self.ids)
        _require_directions("audio", self.audio, self.has_audio, self.ids)
        for kind, captions in self.captions.items():
            if ((captions.owner < 0) | (captions.owner >= len(self.ids))).any():
                raise ValueError(f"A caption of kind {kind} belongs to no clip.")
            every = np.ones(len(captions.texts), dtype=np.bool_)
            _require_directions(f"{kind} caption", captions.toward_vision, every, captions.texts)
            _require_directions(f"{kind} caption", captions.toward_audio, every, captions.texts)

    def compares(self, one: Modality, other: Modality) -> bool:
        """Whether the vectors of two modalities may be compared."""
        return compares(self.comparable, one, other)

    def present(self, gallery: Gallery) -> Bool[ndarray, " clip"]:
        """Which clips stand in a gallery; among fused ones, those that have picture or sound."""
        if gallery == "clip":
            return self.has_vision | self.has_audio
        return self.has_vision if gallery == "vision" else self.has_audio

    def scores(
        self,
        gallery: Gallery,
        kind: CaptionKind,
        captions: Int[ndarray, " caption"],
        clips: Int[ndarray, " clip"],
    ) -> Scores:
        """Captions of a kind, by row among those, against clips by row.

        Raises:
            ValueError: Fused clips are asked for, and `fused` is None.
        """
        asked = self.captions[kind]
        if gallery == "vision":
            return Products.cosines(asked.toward_vision[captions], self.vision[clips])
        if gallery == "audio":
            return Products.cosines(asked.toward_audio[captions], self.audio[clips])
        if self.fused is None:
            raise ValueError("Nothing says how picture and sound become one.")
        return self.fused.scores(self, kind, captions, clips)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """The text against the weighted mean of picture and sound, which is not normalised again.

    `absent` is what a missing modality does: it is left out of the mean, or, as published, stays in it
    as a zero vector.

    Source: CLIP4VLA, "Global to Global", and what follows the transformer of "Global to Local".
    """

    weights: Weights = field(default_factory=Weights)
    absent: Literal["masked", "zeros"] = "masked"

    def scores(
        self,
        vectors: ClipVectors,
        kind: CaptionKind,
        captions: Int[ndarray, " caption"],
        clips: Int[ndarray, " clip"],
    ) -> Products:
        """See `Fused`; 0 where a clip has nothing of what has the weight."""
        asked = vectors.captions[kind].toward_vision[captions]
        return Products(unit(asked, "query"), self.vectors(vectors)[clips])

    def vectors(self, held: ClipVectors) -> Float[ndarray, "clip dim"]:
        """One vector a clip, no longer than 1."""
        parts = ((held.vision, held.has_vision), (held.audio, held.has_audio))
        total = np.zeros(held.vision.shape)
        given = np.zeros((len(total), 1))
        pairs = zip(parts, (self.weights.visual_weight, self.weights.audio_weight), strict=True)
        for (vectors, present), weight in pairs:
            total[present] += weight * unit(vectors[present], "gallery")
            given[present] += weight
        if self.absent == "zeros":
            given[:] = self.weights.visual_weight + self.weights.audio_weight
        return total / np.where(given == 0, 1.0, given)


def _require_directions(
    name: str,
    vectors: Float[ndarray, "row dim"],
    present: Bool[ndarray, " row"],
    called: tuple[str, ...],
) -> None:
    """Refuse vectors without a direction: zeros and NaN would be ranked as if they meant it.

    Raises:
        UnrankableError: Says how many there are, and names some.
    """
    length = np.linalg.norm(vectors, axis=1)
    broken = np.flatnonzero(present & ~(np.isfinite(length) & (length > 0))).tolist()
    if broken:
        shown = ", ".join(repr(called[row]) for row in broken[:3])
        raise UnrankableError(
            f"{len(broken)} {name} vectors are zero or not finite, such as {shown}."
        )
