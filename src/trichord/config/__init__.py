"""An experiment as a typed value: which model, trained in which stages, how long and on what."""

from trichord.config.experiment import (
    Experiment,
    read_experiment,
    resolve_towers,
    write_experiment,
)
from trichord.config.features import AudioFeatures, TextFeatures, VisionFeatures
from trichord.config.limits import check
from trichord.config.model import (
    TOWERS,
    CaptionGenerator,
    Cross,
    GlobalToGlobal,
    TriModal,
)
from trichord.config.parts import CaptionerConfig, EncoderConfig, FusionConfig
from trichord.config.provenance import Provenance
from trichord.config.towers import (
    CLAP,
    CLIP,
    ENCODERS,
    SIGLIP2,
    AudioTrunk,
    Clap,
    ClapText,
    ClipAudio,
    ClipText,
    ClipVision,
    LogMel,
    SiglipText,
    SiglipVision,
    VisionTrunk,
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
from trichord.types.terms import Term

__all__ = [
    "CLAP",
    "CLIP",
    "CRITERIA",
    "ENCODERS",
    "SIGLIP2",
    "TOWERS",
    "WORDS",
    "AdamW",
    "AudioFeatures",
    "AudioTrunk",
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
    "Provenance",
    "SiglipText",
    "SiglipVision",
    "Stage",
    "Term",
    "TextFeatures",
    "TriModal",
    "VisionFeatures",
    "VisionTrunk",
    "check",
    "read_experiment",
    "resolve_towers",
    "write_experiment",
]
