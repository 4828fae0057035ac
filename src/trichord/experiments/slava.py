"""SLAVA's systems (2025, Table I) as experiments."""

from trichord.config import ClapText, Draw, Experiment, Stage, TriModal
from trichord.types import CaptionKind, Modality

ALL: tuple[Modality, ...] = ("text", "vision", "audio")

# What each system is meant for decides which validation tasks pick its best epoch (the paper names
# no criterion).
VISUAL_TASKS = ("visual<-visual",)
AUDIO_TASKS = ("audio<-audio",)
SOUND_TASK = ("visual<-sound",)
ALL_TASKS = (
    "visual<-visual", "visual<-audio", "visual<-audio_visual",
    "audio<-audio", "audio<-visual", "audio<-audio_visual", "visual<-sound",
)  # fmt: skip


def _pairs(kind: CaptionKind, *terms: str) -> Draw:
    return Draw(captions=(kind,), terms=terms)


def _two_stages(system: str, second_trains: tuple[Modality, ...]) -> Experiment:
    """Wav2CLIP-style: vision meets text first, then audio meets text (section III-C1)."""
    first = Stage(
        name="vision-text",
        trains=("vision", "text"),
        draws=(_pairs("visual", "vt"),),
        criterion=VISUAL_TASKS,
    )
    second = Stage(
        name="audio-text",
        trains=second_trains,
        draws=(_pairs("audio", "at"),),
        criterion=AUDIO_TASKS,
    )
    return Experiment(system=system, stages=(first, second))


def _one_stage(system: str, *draws: Draw, criterion: tuple[str, ...] = ALL_TASKS) -> Experiment:
    stage = Stage(name="all", trains=ALL, draws=draws, criterion=criterion)
    return Experiment(system=system, stages=(stage,))


SYSTEMS: dict[str, tuple[str, Experiment]] = {
    "wav2clip-frozen-text": (
        "Two stages: vision-text, then audio alone towards the frozen text head.",
        _two_stages("wav2clip-frozen-text", ("audio",)),
    ),
    "wav2clip-trainable-text": (
        "Two stages: vision-text, then audio and text together.",
        _two_stages("wav2clip-trainable-text", ("audio", "text")),
    ),
    "audioclip": (
        "One stage, all three pairs, with captions of the sound only.",
        _one_stage("audioclip", _pairs("audio", "av", "at", "vt")),
    ),
    "slava-a-and-v": (
        "SLAVA_A&V (eq. 1): per mini-batch audio captions (av + at) or visual ones (av + vt).",
        _one_stage("slava-a-and-v", _pairs("audio", "av", "at"), _pairs("visual", "av", "vt")),
    ),
    "slava-av-indirect": (
        "SLAVA_AV without L_av (eq. 2): composed captions, at + vt.",
        _one_stage("slava-av-indirect", _pairs("composed", "at", "vt")),
    ),
    "slava-av": (
        "SLAVA_AV (eq. 3): composed captions, av + at + vt.",
        _one_stage("slava-av", _pairs("composed", "av", "at", "vt")),
    ),
    "audio-visual": (
        "Audio and vision alone (L_av); text stays as published.",
        Experiment(
            system="audio-visual",
            stages=(
                Stage(
                    name="audio-vision",
                    trains=("audio", "vision"),
                    draws=(Draw(terms=("av",)),),
                    criterion=SOUND_TASK,
                ),
            ),
        ),
    ),
    "clip-clap": (
        "CLIP and CLAP as published: each modality searched by its own text tower.",
        Experiment(system="zero-shot", model=TriModal(sound_text=ClapText())),
    ),
}
