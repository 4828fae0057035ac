"""An experiment as a typed value: which model, trained in which stages, how long and on what."""

from trichord.config.experiment import (
    FORMAT,
    Experiment,
    origins_of,
    read_experiment,
    read_origins,
    resolve_towers,
    settings_of,
    write_experiment,
)
from trichord.config.features import AudioFeatures, TextFeatures, VisionFeatures
from trichord.config.limits import check
from trichord.config.model import (
    CAPTIONERS,
    FUSIONS,
    TOWERS,
    CaptionGenerator,
    Cross,
    GlobalToGlobal,
    TriModal,
)
from trichord.config.parts import CaptionerConfig, EncoderConfig, FusionConfig, OneOf
from trichord.config.provenance import Provenance
from trichord.config.towers import (
    CLAP,
    CLIP,
    ENCODERS,
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
    OptimizerConfig,
    Stage,
)
from trichord.types.terms import LOSSES, TERMS, Term

__all__ = [
    "CAPTIONERS",
    "CLAP",
    "CLIP",
    "CRITERIA",
    "ENCODERS",
    "FORMAT",
    "FUSIONS",
    "LOSSES",
    "TERMS",
    "TOWERS",
    "WORDS",
    "AdamW",
    "AudioFeatures",
    "BertAdam",
    "CaptionGenerator",
    "CaptionerConfig",
    "Clap",
    "ClapText",
    "ClipAudio",
    "ClipText",
    "ClipVision",
    "Cross",
    "Draw",
    "EncoderConfig",
    "Experiment",
    "FusionConfig",
    "GlobalToGlobal",
    "InfoNCE",
    "LogMel",
    "OneOf",
    "OptimizerConfig",
    "Provenance",
    "Stage",
    "Term",
    "TextFeatures",
    "TriModal",
    "VisionFeatures",
    "check",
    "origins_of",
    "read_experiment",
    "read_origins",
    "resolve_towers",
    "settings_of",
    "write_experiment",
]
