"""The words of the generated world: how each value of each attribute may be put."""

from collections.abc import Mapping
from typing import Literal, get_args

Seen = Literal["thing", "colour", "size", "motion", "speed", "background"]
Heard = Literal["heard", "pitch", "tempo", "phrase", "gender"]
Attribute = Literal[
    "thing", "colour", "size", "motion", "speed", "background",
    "heard", "pitch", "tempo", "phrase", "gender",
]  # fmt: skip

SEEN: tuple[Seen, ...] = get_args(Seen)
HEARD: tuple[Heard, ...] = get_args(Heard)

WORDINGS: Mapping[Attribute, Mapping[str, tuple[str, ...]]] = {
    "thing": {
        "bell": ("bell", "handbell"),
        "drum": ("drum", "tom-tom"),
        "ball": ("ball", "rubber ball"),
        "car": ("car", "automobile"),
        "bird": ("bird", "songbird"),
        "clock": ("clock", "timepiece"),
        "siren": ("siren lamp", "emergency light"),
        "cloud": ("rain cloud", "storm cloud"),
        "whistle": ("whistle", "tin whistle"),
        "door": ("door", "front door"),
        "string": ("string", "guitar string"),
        "telephone": ("telephone", "phone"),
    },
    "colour": {
        "red": ("red", "scarlet"),
        "orange": ("orange", "tangerine"),
        "yellow": ("yellow", "golden"),
        "green": ("green", "emerald"),
        "blue": ("blue", "azure"),
        "purple": ("purple", "violet"),
        "pink": ("pink", "rosy"),
        "white": ("white", "ivory"),
    },
    "size": {
        "small": ("small", "tiny", "little"),
        "medium": ("medium-sized", "mid-sized"),
        "large": ("large", "big", "huge"),
    },
    "motion": {
        "bounce": ("bouncing", "hopping"),
        "swing": ("swinging", "swaying"),
        "circle": ("circling", "going round and round"),
        "slide": ("sliding", "gliding"),
        "shake": ("shaking", "trembling"),
    },
    "speed": {
        "slow": ("slowly", "sluggishly"),
        "medium": ("at a moderate speed", "at a walking pace"),
        "fast": ("fast", "swiftly"),
    },
    "background": {
        "meadow": ("in a meadow", "on a grassy field"),
        "night": ("at night", "under a starry sky"),
        "beach": ("on a beach", "at the seaside"),
        "room": ("in a room", "indoors"),
    },
    # Half of these name the sounding thing, half say only what it sounds like.
    "heard": {
        "bell": ("bell ringing", "bell tolling", "metallic ringing", "resonant clanging"),
        "drum": ("drum beating", "drum playing", "hollow thumping", "booming percussion"),
        "ball": ("ball dribbling", "ball thudding", "rubbery slapping", "springy plopping"),
        "car": ("car revving", "car honking", "engine humming", "motor purring"),
        "bird": ("bird singing", "bird chirping", "melodic twittering", "cheerful tweeting"),
        "clock": ("clock ticking", "clock striking", "mechanical clicking", "dry tapping"),
        "siren": ("siren wailing", "siren blaring", "alarm howling", "urgent whooping"),
        "cloud": ("rain falling", "rain pouring", "water pattering", "wet drizzling"),
        "whistle": ("whistle blowing", "whistle tooting", "airy piping", "breathy fluting"),
        "door": ("door knocking", "door slamming", "wooden rapping", "hard banging"),
        "string": ("string plucking", "guitar playing", "nasal twanging", "soft strumming"),
        "telephone": (
            "telephone ringing",
            "phone buzzing",
            "electronic trilling",
            "digital chirruping",
        ),
    },
    "pitch": {
        "high": ("high-pitched", "shrill", "piercing"),
        "middle": ("mid-pitched", "medium-pitched"),
        "low": ("low-pitched", "deep", "bassy"),
    },
    "tempo": {
        "slow": ("at long intervals", "every now and then"),
        "medium": ("at even intervals", "to a regular beat"),
        "fast": ("in rapid succession", "in quick bursts"),
    },
    "gender": {"male": ("man", "gentleman"), "female": ("woman", "lady")},
}
"""Attribute → value → its wordings. No wording serves two values; a phrase is its own wording."""
