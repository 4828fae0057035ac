"""Weights of the world's pretrained towers: folders in the `transformers` format, by name."""

from pathlib import Path

CLIP_STAND_IN, CLAP_STAND_IN = "stand-in-clip", "stand-in-clap"
FOLDER = Path(__file__).parent / "towers"
CLIP, CLAP = FOLDER / CLIP_STAND_IN, FOLDER / CLAP_STAND_IN
STAND_INS = {CLIP_STAND_IN: CLIP, CLAP_STAND_IN: CLAP}

PAIRS = 3
TAG_CLIPS = tuple(f"tag-clip-{i}" for i in range(PAIRS))
TAG_CLAPS = tuple(f"tag-clap-{i}" for i in range(PAIRS))
"""Pairs that were pretrained on tags of other pictures and sounds, for studies of alignment."""


def __getattr__(name: str) -> Path:
    """A tower's folder as an attribute without hyphens: what an entry point can name."""
    folder = FOLDER / name.replace("_", "-")
    if folder.name not in (*TAG_CLIPS, *TAG_CLAPS):
        raise AttributeError(f"{__name__} has no {name}")
    return folder
