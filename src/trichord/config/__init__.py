"""An experiment as a typed value: which model, trained in which stages, how long and on what."""

from trichord.config.experiment import (
    FORMAT,
    Experiment,
    read_experiment,
    settings_of,
    write_experiment,
)
from trichord.config.limits import check
from trichord.config.model import (
    TOWERS,
    CaptionGenerator,
    Cross,
    GlobalToGlobal,
    TriModal,
)
from trichord.config.provenance import Provenance
from trichord.config.towers import (
    CLAP,
    CLIP,
    Clap,
    ClapText,
    ClipAudio,
    ClipText,
    ClipVision,
    LogMel,
)
from trichord.config.training import (
    CRITERIA,
    WORDS,
    AdamW,
    BertAdam,
    Draw,
    InfoNCE,
    Stage,
)

__all__ = [
    "CLAP",
    "CLIP",
    "CRITERIA",
    "FORMAT",
    "TOWERS",
    "WORDS",
    "AdamW",
    "BertAdam",
    "CaptionGenerator",
    "Clap",
    "ClapText",
    "ClipAudio",
    "ClipText",
    "ClipVision",
    "Cross",
    "Draw",
    "Experiment",
    "GlobalToGlobal",
    "InfoNCE",
    "LogMel",
    "Provenance",
    "Stage",
    "TriModal",
    "check",
    "read_experiment",
    "settings_of",
    "write_experiment",
]
