"""Weights of the stand-in towers: folders in the `transformers` format, by the names that configs use."""

from pathlib import Path

CLIP_STAND_IN, CLAP_STAND_IN = "stand-in-clip", "stand-in-clap"
FOLDER = Path(__file__).parent / "towers"
CLIP, CLAP = FOLDER / CLIP_STAND_IN, FOLDER / CLAP_STAND_IN
STAND_INS = {CLIP_STAND_IN: CLIP, CLAP_STAND_IN: CLAP}
