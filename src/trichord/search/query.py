"""What is searched for: text, picture, sound or video, and how much sight and sound count."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trichord.types import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A text or a media file, and the weights of sight and sound.

    `image` looks at the picture of a file, `audio` listens to its sound, `video` does both. Weights
    matter relative to one another. `sound_token` is where to listen, from verbal (0) to nonverbal
    (1); None: as the run does.

    Raises:
        UserError: An empty text; a weight that is negative or no number; both weights 0; a sound
            token beyond 0 and 1.
    """

    kind: Literal["text", "image", "audio", "video"]
    given: str
    sight: float = 1.0
    sound: float = 1.0
    sound_token: float | None = None

    def __post_init__(self) -> None:
        if not self.given.strip():
            raise UserError(f"The {self.kind} to search for is empty: give at least one word.")
        for name, weight in (("sight", self.sight), ("sound", self.sound)):
            if not 0 <= weight < math.inf:
                raise UserError(f"The weight --{name} is {weight:g}: give a number of 0 or more.")
        if not self.sight and not self.sound:
            raise UserError("The weights --sight and --sound are both 0: raise one of them.")
        if self.sound_token is not None and not 0 <= self.sound_token <= 1:
            raise UserError(
                f"--sound-token is {self.sound_token:g}: give a number from 0 (speech) to 1 (events)."
            )

    @classmethod
    def of(
        cls,
        text: str | None = None,
        *,
        image: Path | None = None,
        audio: Path | None = None,
        video: Path | None = None,
        sight: float = 1.0,
        sound: float = 1.0,
        sound_token: float | None = None,
    ) -> "Query":
        """A query by exactly one of text, image, audio and video.

        Raises:
            UserError: None or several of them, or as for the class.
        """
        asked = {"text": text, "image": image, "audio": audio, "video": video}
        given = [(kind, str(value)) for kind, value in asked.items() if value is not None]
        if len(given) != 1:
            raise UserError(
                "A search needs exactly one of a text, --image, --audio and --video, "
                f"not {len(given)}."
            )
        kind: Literal["text", "image", "audio", "video"]
        [(kind, value)] = given  # pyright: ignore[reportAssignmentType] - a key of `asked`
        return cls(kind=kind, given=value, sight=sight, sound=sound, sound_token=sound_token)
