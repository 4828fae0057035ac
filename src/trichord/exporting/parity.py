"""Comparison of an exported model with the run: cosines of their vectors of the same texts and clips."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from trichord.media import Decoded, FramePlan
from trichord.models.embedder import Embedder

QUERIES = (
    "a dog barks",
    "rain on a tin roof",
    "someone plays the piano in an empty hall",
    "a red car drives past",
    "children laugh in a playground",
    "a man speaks into a microphone",
    "waves break on rocks at sunset",
    "a siren comes nearer and fades",
    "two people cook in a small kitchen",
    "birds sing while wind moves the leaves",
    "a close-up of hands typing on a keyboard",
    "thunder",
    "an aeroplane takes off",
    "a crowd cheers as the ball goes in",
    "church bells ring at noon over the roofs of an old town",
    "a cat sleeps on a chair beside the window",
)
"""Default texts to compare."""


@dataclass
class Parity:
    """Cosines of one modality, each between the run's vector and the exported model's.

    Attributes:
        names: Of the texts or clips.
        cosines: One for each name.
    """

    names: list[str] = field(default_factory=list[str])
    cosines: list[float] = field(default_factory=list[float])

    def add(
        self,
        names: Sequence[str],
        ours: Float[np.ndarray, "row dim"],
        theirs: Float[np.ndarray, "row dim"],
        present: Bool[np.ndarray, " row"] | None = None,
    ) -> None:
        """Compare unit vectors row by row.

        Args:
            names: Of the rows.
            ours: The run's.
            theirs: The exported model's.
            present: Which rows have the modality; all if not given.
        """
        cosines = (ours.astype(np.float64) * theirs).sum(axis=1)
        for i, name in enumerate(names):
            if present is None or present[i]:
                self.names.append(name)
                self.cosines.append(float(cosines[i]))

    @property
    def lowest(self) -> float:
        """The lowest cosine."""
        return min(self.cosines)

    @property
    def mean(self) -> float:
        """The mean cosine."""
        return float(np.mean(self.cosines))

    @property
    def worst(self) -> str:
        """The name with the lowest cosine."""
        return self.names[int(np.argmin(self.cosines))]


def compare(
    run: Embedder,
    other: Embedder,
    texts: Sequence[str],
    clips: Iterable[tuple[str, Decoded]],
) -> dict[str, Parity]:
    """Compare two models' vectors of the same texts and clips.

    Args:
        run: The reference.
        other: The exported model.
        texts: Compared toward vision, and toward audio if that has its own text encoder.
        clips: Decoded by the run's plan, each with a name.

    Returns:
        By encoder; encoders without texts or clips are left out.
    """
    parities = {name: Parity() for name in run.encoders()}
    parities["text"].add(texts, run.embed_text(texts), other.embed_text(texts))
    if run.sound_text is not None:
        toward = (model.embed_text(texts, "audio") for model in (run, other))
        parities["sound_text"].add(texts, *toward)
    for name, decoded in clips:
        ours, theirs = run.embed_media([decoded]), other.embed_media([decoded])
        parities["vision"].add([name], ours.vision, theirs.vision, ours.has_vision)
        parities["audio"].add([name], ours.audio[:, 0], theirs.audio[:, 0], ours.has_audio)
    return {name: one for name, one in parities.items() if one.cosines}


def noise(model: Embedder, count: int = 4) -> Iterator[tuple[str, Decoded]]:
    """Clips of noise, three frames and three seconds each, for users without clips."""
    width, height = (model.plan.frames or FramePlan()).target_size(224, 224)
    channels = (2,) if model.plan.stereo else ()
    for number in range(count):
        random = np.random.default_rng(number)
        frames = random.integers(0, 256, (3, height, width, 3), dtype=np.uint8)
        sound = random.normal(0, 0.1, (*channels, 3 * model.audio.rate)).astype(np.float32)
        audio = {model.audio.rate: sound}
        yield f"noise {number + 1}", Decoded(status="ok", frames=frames, audio=audio)
