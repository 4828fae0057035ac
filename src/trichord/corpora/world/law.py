"""The law of the generated world: what may be seen, heard and said, and how they depend on each other."""

from dataclasses import dataclass
from typing import Literal

Thing = Literal[
    "bell", "drum", "ball", "car", "bird", "clock",
    "siren", "cloud", "whistle", "door", "string", "telephone",
]  # fmt: skip
Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "pink", "white"]
Size = Literal["small", "medium", "large"]
Motion = Literal["bounce", "swing", "circle", "slide", "shake"]
Speed = Literal["slow", "medium", "fast"]
Background = Literal["meadow", "night", "beach", "room"]
Pitch = Literal["high", "middle", "low"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The latent factors of one clip.

    Seen: `thing` ... `background` (None together when the clip has no picture: `dark`).
    Heard: `heard` is the thing that sounds, at `pitch` and `tempo`; None together when `silent`.
    Said: `phrase` (None: nobody speaks) in `voice`; also None when `silent`.
    `seed` drives everything that carries no meaning (position, phases of noise, brush strokes); it
    is drawn separately for sight and for sound so that it cannot tie the two.
    """

    id: str
    thing: Thing
    colour: Colour
    size: Size
    motion: Motion
    speed: Speed
    background: Background
    heard: Thing
    pitch: Pitch
    tempo: Speed
    phrase: str | None
    voice: str | None
    silent: bool
    dark: bool
    sight_seed: int
    sound_seed: int

    @property
    def on_screen(self) -> bool:
        """Whether the sound is the visible thing's own."""
        return self.heard == self.thing

    @property
    def synchronous(self) -> bool:
        """Whether each stroke of the sound falls on a stroke of the motion."""
        return self.on_screen and self.tempo == self.speed


STROKES_PER_SECOND: dict[Speed, float] = {"slow": 0.75, "medium": 1.5, "fast": 3.0}
"""Of motion (speed) and of sound (tempo) alike: the first stroke falls at half a period, then one a period."""
