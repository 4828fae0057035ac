"""The law of the generated world: what may be seen, heard and said, and what depends on what."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, TypeVar, get_args

import numpy as np

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
Gender = Literal["male", "female"]
WorldSplit = Literal["train", "val", "test", "pretrain", "narrated", "labelled"]
"""AVCaps' splits, and parts of their own: `pretrain` for the stand-in towers, `narrated` clips told by
what is said in them (as in HowTo100M), `labelled` ones by what sounds (as in AudioSet)."""
WORLD_SPLITS: tuple[WorldSplit, ...] = get_args(WorldSplit)

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The latent factors of one clip.

    Seen: `thing` ... `background`, drawn for every clip but not shown when `dark`.
    Heard: `heard` is the thing that sounds, at `pitch` and `tempo`; not played when `silent`.
    Said: `phrase` (None: nobody speaks) in `voice`; both None when `silent`.
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
"""Of motion (speed) and of sound (tempo) alike; the first stroke falls after half a period."""


PHRASES: tuple[str, ...] = (
    "good morning", "thank you very much", "see you later", "watch your step",
    "dinner is ready", "happy birthday", "come over here", "wait a minute",
    "turn left", "nice to meet you", "try it again", "all is well",
)  # fmt: skip
"""What may be said: everyday words, none of which names anything seen or heard in the world."""

PHRASES_MANY: tuple[str, ...] = tuple(
    f"{opening} {ending}"
    for opening, ending in product(
        (
            "my sister bought", "your uncle forgot", "nobody wanted", "please bring us",
            "they already finished", "someone else ordered",
        ),
        (
            "fresh bread for breakfast", "another cup of coffee", "two chocolate cookies",
            "her favourite sandwich", "sweet apple juice", "this tomato soup",
            "those fried potatoes", "one lemon cheesecake",
        ),
    )
)  # fmt: skip
"""Forty-eight sentences of two halves that know nothing of each other and share no word: who has
recognised some of them can recognise the others, but has to listen to both halves."""


VOICES: tuple[str, ...] = ("en-us+m3", "en-us+f2", "en+m7", "en-gb-scotland+f5")
"""Who may say it: the voices of `speech`, as eSpeak names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """How likely what is, and what depends on what.

    Everything is uniform and independent but for the following. The sound is the visible thing's
    `own` with that probability, else another thing's, from off screen. Of an own sound, pitch fits
    size (`pitches[i]` fits `sizes[i]`) and tempo equals speed with probability `tie` each, else
    they are uniform over the other values; of an off-screen sound they are uniform. Nobody speaks
    with probability `speechless`, whatever is seen. A clip is `silent` or `dark`, never both.
    Fewer values make a smaller world. Probabilities that are none, or a dependent factor with
    fewer than two values, raise ValueError.
    """

    own: float = 0.8
    tie: float = 0.9
    speechless: float = 0.4
    silent: float = 0.1
    dark: float = 0.05
    things: tuple[Thing, ...] = get_args(Thing)
    colours: tuple[Colour, ...] = get_args(Colour)
    sizes: tuple[Size, ...] = get_args(Size)
    motions: tuple[Motion, ...] = get_args(Motion)
    speeds: tuple[Speed, ...] = get_args(Speed)
    backgrounds: tuple[Background, ...] = get_args(Background)
    pitches: tuple[Pitch, ...] = get_args(Pitch)
    phrases: tuple[str, ...] = PHRASES
    voices: tuple[str, ...] = VOICES

    def within(self, split: WorldSplit) -> "Law":
        """This law as it holds in a split: narrated clips always speak, labelled ones always sound."""
        return replace(self, **_SURE.get(split, {}))

    def __post_init__(self) -> None:
        """Refuse what is no law."""
        shares = (self.own, self.tie, self.speechless, self.silent, self.dark)
        if not all(0 <= share <= 1 for share in shares) or self.silent + self.dark > 1:
            raise ValueError(f"A law's probabilities lie between 0 and 1: {shares}.")
        if min(len(self.things), len(self.sizes), len(self.speeds)) < 2:
            raise ValueError("A law needs at least two things, two sizes and two speeds.")
        if len(self.pitches) != len(self.sizes):
            raise ValueError("A law needs as many pitches as sizes: each fits one.")


_SURE: Mapping[WorldSplit, Mapping[str, float]] = {
    "narrated": {"silent": 0.0, "dark": 0.0, "speechless": 0.0},
    "labelled": {"silent": 0.0, "dark": 0.0},
}

LAW = Law()
"""The law of every published number."""


def gender_of(voice: str) -> Gender:
    """Of a voice as eSpeak names it: its variant begins with m or f."""
    return "female" if "+f" in voice else "male"


def stream(seed: int, split: WorldSplit, index: int, purpose: str) -> np.random.Generator:
    """The random numbers of one clip for one purpose, independent of all others."""
    names = (int.from_bytes(name.encode(), "big") for name in (split, purpose))
    return np.random.default_rng([seed, index, *names])


def scenes(split: WorldSplit, count: int, seed: int, law: Law = LAW) -> list[Scene]:
    """The first `count` scenes of a split; scene i is the same whatever the count."""
    return [_scene(split, index, seed, law.within(split)) for index in range(count)]


def _scene(split: WorldSplit, index: int, seed: int, law: Law) -> Scene:
    generator = stream(seed, split, index, "scene")
    thing: Thing = _any(law.things, generator)
    size: Size = _any(law.sizes, generator)
    speed: Speed = _any(law.speeds, generator)
    heard: Thing = _like(thing, law.things, law.own, generator)
    fitting: Pitch = law.pitches[law.sizes.index(size)]
    tie = law.tie if heard == thing else None
    tempo: Speed = _like(speed, law.speeds, tie, generator)
    fate = generator.random()
    silent = bool(fate < law.silent)
    spoken = generator.random() >= law.speechless and not silent
    phrase = _any(law.phrases, generator)
    voice = _any(law.voices, generator)
    return Scene(
        id=f"{split}_{index:05d}",
        thing=thing,
        colour=_any(law.colours, generator),
        size=size,
        motion=_any(law.motions, generator),
        speed=speed,
        background=_any(law.backgrounds, generator),
        heard=heard,
        pitch=_like(fitting, law.pitches, tie, generator),
        tempo=tempo,
        phrase=phrase if spoken else None,
        voice=voice if spoken else None,
        silent=silent,
        dark=bool(law.silent <= fate < law.silent + law.dark),
        sight_seed=int(generator.integers(2**31)),
        sound_seed=int(generator.integers(2**31)),
    )


def _any(values: tuple[_Value, ...], generator: np.random.Generator) -> _Value:
    return values[int(generator.integers(len(values)))]


def _like(
    value: _Value, values: tuple[_Value, ...], share: float | None, generator: np.random.Generator
) -> _Value:
    """`value` with probability `share`, else any other one; with `share` None any at all."""
    if share is None:
        return _any(values, generator)
    if generator.random() < share:
        return value
    return _any(tuple(other for other in values if other != value), generator)
