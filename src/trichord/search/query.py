"""What is searched for: weighted texts, files and moments, and how much picture and sound count."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, TypedDict, Unpack

from trichord.search.filters import Filter
from trichord.search.wording import parted
from trichord.types import Moment, UserError
from trichord.types.rules import Range, Share, Weight, require_legal

PartKind = Literal["text", "image", "audio", "video", "moment"]
By = Literal["visual", "audio", "both"]
Weights = tuple[float, float]
"""Visual and audio."""
AWAY = -1.0
"""The weight of what a minus stands before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One thing that a query asks for, or with a negative weight, asks to stay away from.

    `image` looks at the picture of a file, `audio` listens to its sound, `video` does both. A `moment`
    is one of the collection, named by its file and `start` (seconds): `visual` asks for moments that look
    like it, `audio` for those that sound like it; its own vectors are compared.

    Raises:
        UserError: An empty text, or a weight that is no number.
    """

    kind: PartKind
    given: str
    start: float = 0.0
    by: By = "both"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.given.strip():
            raise UserError(f"The {self.kind} to search for is empty: give at least one word.")
        if not math.isfinite(self.weight):
            raise UserError(f"A part of the search has the weight {self.weight:g}: give a number.")

    @property
    def title(self) -> str:
        """What is asked for, in a few words."""
        words = self.given if self.kind == "text" else Path(self.given).name
        if self.kind == "moment":
            words = f"like {words} at {self.start:g} s"
        return f"−{words}" if self.weight < 0 else words


class How(TypedDict, total=False):
    """What a query says beside what it asks for; see `Query`."""

    visual_weight: float | None
    audio_weight: float | None
    audio_type: float | None
    where: Filter
    caption_weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Parts that a moment should be like, and how it is searched for.

    Attributes:
        parts: Weights matter relative to one another.
        visual_weight: How much the picture counts beside the sound; None: as the collection has
            learnt for texts, else 1.
        audio_weight: The same of the sound.
        audio_type: The audio type token, from verbal (0) to nonverbal (1); None: that of the run.
        where: Which moments may be found.
        caption_weight: How much the captions' words count beside the vectors, whose order counts 1; 0 does
            not look at them. Without a text to look for, there are no words.

    Raises:
        UserError: Nothing is asked for; a weight that is negative or no number; visual and audio weight
            both 0; an audio type beyond 0 and 1.
    """

    parts: tuple[Part, ...]
    visual_weight: Weight = None
    audio_weight: Weight = None
    audio_type: Share = None
    where: Filter = field(default_factory=Filter)
    caption_weight: Annotated[float, Range(0)] = 0.0

    def __post_init__(self) -> None:
        if not any(part.weight > 0 for part in self.parts):
            raise UserError(
                "The search only says what to stay away from: say what to look for too."
            )
        require_legal(self)
        if self.visual_weight == 0 and self.audio_weight == 0:
            raise UserError("--visual-weight and --audio-weight are both 0: raise one of them.")

    @property
    def words(self) -> str:
        """All texts that are looked for; "" without any."""
        wanted = (part for part in self.parts if part.kind == "text" and part.weight > 0)
        return " ".join(part.given for part in wanted)

    @property
    def given(self) -> str:
        """What is asked for, in a line."""
        return " ".join(part.title for part in self.parts)

    @classmethod
    def of(
        cls,
        text: str | None = None,
        *,
        image: str | Path | None = None,
        audio: str | Path | None = None,
        video: str | Path | None = None,
        like: Moment | None = None,
        by: By = "both",
        **how: Unpack[How],
    ) -> "Query":
        """A query by one or several of a text, files and a moment, each with the weight 1.

        Args:
            text: What to look and listen for; `dog -leash` and `dog -"red car"` stay away from what
                stands behind the minus.
            image: A picture to look like.
            audio: A sound to sound like.
            video: A clip to look and sound like.
            like: A moment of the collection to be like.
            by: What of that moment counts.
            how: See the class.

        Raises:
            UserError: None of them is given, or as for the class and `Part`.
        """
        files: tuple[tuple[PartKind, str | Path | None], ...] = (
            ("image", image), ("audio", audio), ("video", video),
        )  # fmt: skip
        parts = [] if text is None else _texts(text)
        parts += [Part(kind=kind, given=str(file)) for kind, file in files if file is not None]
        if like is not None:
            parts.append(Part(kind="moment", given=like.file, start=like.start, by=by))
        if not parts:
            raise UserError(
                "A search needs at least one of a text, --image, --audio and --video, not 0."
            )
        return cls(parts=tuple(parts), **how)


def _texts(text: str) -> list[Part]:
    """What a typed text looks for and stays away from."""
    wanted, avoided = parted(text)
    found = [Part(kind="text", given=wanted)] if wanted.strip() or not avoided else []
    return found + [Part(kind="text", given=one, weight=AWAY) for one in avoided]
