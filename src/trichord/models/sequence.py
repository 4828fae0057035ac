"""Text, frames and audio segments as one sequence for the cross transformer."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trichord.models.cross import CrossCache, CrossTransformer
from trichord.types.tensors import Features

TEXT, VISION, AUDIO = range(3)
"""Types of the cross transformer's steps."""

TEXT_SLOTS, FRAME_SLOTS = 32, 12
"""Positions of text and vision as published; those of audio follow."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One modality's part of a sequence: its steps, their type, and the position of the first."""

    steps: Float[Tensor, "batch step dim"]
    mask: Bool[Tensor, "batch step"]
    type: int
    start: int

    def rows(self, indices: Int[Tensor, " row"]) -> "Segment":
        """The rows of some indices, in their order."""
        return replace(self, steps=self.steps[indices], mask=self.mask[indices])


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionLayout:
    """Positions of each modality.

    As published, unused positions are padded, so that the first audio segment always has the same
    position. Here they are only skipped: the result is the same, it does not depend on the other clips,
    and no padding goes through the transformer.
    """

    text: int
    frames: int
    positions: int

    def __post_init__(self) -> None:
        if self.text + self.frames > self.positions:
            raise ValueError(
                f"{self.text} text slots and {self.frames} frame slots need more than the "
                f"{self.positions} positions of the cross transformer: raise its 'positions'."
            )

    def text_segment(
        self, steps: Float[Tensor, "batch step dim"], mask: Bool[Tensor, "batch step"]
    ) -> Segment:
        """A text, from position 0.

        Raises:
            ValueError: It has more tokens than positions.
        """
        return Segment(*_fit(steps, mask, self.text, "text tokens", "text_slots"), TEXT, 0)

    def media_segments(self, vision: Features | None, audio: Features | None) -> list[Segment]:
        """Frames and audio segments, without those that are None."""
        segments: list[Segment] = []
        if vision is not None:
            fitted = _fit(vision.steps, vision.mask, self.frames, "frames", "frame_slots")
            segments.append(Segment(*fitted, VISION, self.text))
        if audio is not None:
            start = self.text + self.frames
            left = self.positions - start
            fitted = _fit(
                audio.steps, audio.mask, left, "audio segments", "the cross transformer's positions"
            )
            segments.append(Segment(*fitted, AUDIO, start))
        return segments


def _fit(
    steps: Float[Tensor, "batch step dim"],
    mask: Bool[Tensor, "batch step"],
    slots: int,
    name: str,
    option: str,
) -> tuple[Float[Tensor, "batch fitted dim"], Bool[Tensor, "batch fitted"]]:
    """Cut off the padding beyond the positions; refuse real steps there."""
    if mask.shape[1] > slots and mask[:, slots:].any():
        most = int(mask.sum(dim=1).max())
        raise ValueError(
            f"A row has {most} {name}, the fusion room for {slots}: raise {option} or give it fewer."
        )
    return steps[:, :slots], mask[:, :slots]


def attend(
    cross: CrossTransformer,
    segments: list[Segment],
    *,
    causal_steps: int = 0,
    cache: CrossCache | None = None,
) -> Float[Tensor, "batch step dim"]:
    """Apply the transformer to the concatenated segments; other arguments as there."""
    device = segments[0].mask.device
    sizes = [segment.mask.shape[1] for segment in segments]
    positions = [
        torch.arange(segment.start, segment.start + size, device=device)
        for segment, size in zip(segments, sizes, strict=True)
    ]
    types = torch.tensor([segment.type for segment in segments], device=device)
    return cross(
        torch.cat([segment.steps for segment in segments], dim=1),
        types.repeat_interleave(torch.tensor(sizes, device=device), output_size=sum(sizes)),
        torch.cat([segment.mask for segment in segments], dim=1),
        torch.cat(positions),
        causal_steps=causal_steps,
        cache=cache,
    )
