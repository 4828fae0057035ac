"""How hard the generated world is to see and to hear, and how much its captions leave out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Difficulty:
    """The dials that make a world easier or harder without changing its law.

    `picture_noise`: standard deviation of each pixel's noise, in grey levels of 255.
    `sound_noise`: root mean square of the pink background noise, relative to full scale.
    `thing_scale`: factor on the size of the thing; below 1 all things get smaller.
    `loudness`: factor on everything that sounds except the background noise; at most 1.
    `omission`: probability that a caption leaves out an attribute that it could have named.

    The defaults leave the thing plain to a person, yet cost a small network some of its certainty:
    about 20 dB between sound and noise, film grain on the picture.
    """

    picture_noise: float = 6.0
    sound_noise: float = 0.008
    thing_scale: float = 1.0
    loudness: float = 0.8
    omission: float = 0.5

    def __post_init__(self) -> None:
        if self.picture_noise < 0 or self.sound_noise < 0:
            raise ValueError("Noise levels are standard deviations: they cannot be negative.")
        if not 0.1 <= self.thing_scale <= 1.2 or not 0 < self.loudness <= 1:
            raise ValueError("thing_scale lies within [0.1, 1.2] and loudness within (0, 1].")
        if not 0 <= self.omission <= 1:
            raise ValueError("omission is a probability.")


DEFAULT = Difficulty()
