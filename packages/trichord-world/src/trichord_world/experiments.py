"""The papers' systems with the stand-in towers, and with rates chosen on the world's validation split."""

from dataclasses import replace

from trichord.config import (
    AdamW,
    Clap,
    ClapText,
    ClipAudio,
    ClipText,
    ClipVision,
    Cross,
    Draw,
    Experiment,
    InfoNCE,
    LogMel,
    Stage,
    TriModal,
)
from trichord.config.towers import CLAP, CLIP
from trichord.experiments import clip4vla, crossed, ours, slava
from trichord.experiments.crossed import CLAP_IN_CLIP4VLA, CLIP4VLA_IN_SLAVA, with_audio
from trichord.types import CaptionKind
from trichord_world.weights import CLAP_STAND_IN, CLIP_STAND_IN

WORLD_FRAMES_PER_SECOND = 1.0
WORLD_DIM = 128
"""Of the vectors of the world's towers."""
WORLD_OPTIMIZER = AdamW(lr=3e-4)
"""Of 1e-3, 5e-4 and 3e-4 the best on the validation split, one seed, four systems together."""


def slava_on_world(experiment: Experiment) -> Experiment:
    """The same system with the stand-in towers and the rate chosen on the world's validation split."""
    model = TriModal(
        text=ClipText(name=CLIP_STAND_IN),
        vision=ClipVision(name=CLIP_STAND_IN, frames_per_second=WORLD_FRAMES_PER_SECOND),
        audio=Clap(name=CLAP_STAND_IN),
        sound_text=experiment.model.sound_text and ClapText(name=CLAP_STAND_IN),
    )
    stages = tuple(replace(stage, optimizer=WORLD_OPTIMIZER) for stage in experiment.stages)
    return replace(experiment, model=model, stages=stages)


SMALL_SOUND = ClipAudio(
    name=CLIP_STAND_IN,
    log_mel=LogMel(mels=112, window=1024, hop=256),
    frames=128,
    padding="as_paper",
    longest=8,
    channels="mono",
    head="linear",
)
"""The audio tower made of the stand-in CLIP's vision tower: 112 bands, segments of 2.048 s, so that
the world's four seconds are two of them."""
SMALL_RATES = AdamW(lr=1e-3, weight_decay=0.05, warmup_steps=20, schedule="cosine")
"""Of 2e-4, 5e-4 and 1e-3 the best on the world's validation split, one seed, audio alone."""


def clip4vla_on_world(experiment: Experiment) -> Experiment:
    """The same system with the stand-in CLIP, as small batches and rates as the world needs.

    CLIP's own towers stay frozen: the stand-in knows the world's words and pictures already.
    """
    known = experiment.model
    sound = known.audio
    if isinstance(sound, ClipAudio):
        sound = replace(SMALL_SOUND, token=sound.token, scratch=sound.scratch)
    fusion = known.fusion
    if isinstance(fusion, Cross):
        fusion = replace(fusion, layers=2, text_slots=77)
    model = TriModal(
        # The small vocabulary takes more tokens for a caption.
        text=replace(known.text, name=CLIP_STAND_IN, longest=77),
        vision=ClipVision(name=CLIP_STAND_IN, max_frames=12, pooling="mean_of_unit"),
        audio=sound,
        fusion=fusion,
        # After 30 epochs a validation word was 0.34 likely; with the stand-in's two layers to begin
        # with, and dropout, 0.16 (one seed).
        captioner=known.captioner
        and replace(known.captioner, from_text=False, dropout=0.0, text_slots=77),
    )
    if known.captioner:
        return replace(experiment, model=model, stages=(_captions_on_world(experiment),))
    trains = experiment.stages[0].trains
    stage = replace(
        experiment.stages[0],
        towers=("audio",) if "audio" in trains else (),
        # Small batches: a few hundred clips make few steps an epoch.
        batch_size=64 if experiment.hand_over == "last" else 32,
        epochs=20,
        patience=20,
        optimizer=SMALL_RATES,
    )
    return replace(experiment, model=model, stages=(stage,), objective=InfoNCE(temperature=0.05))


def _captions_on_world(experiment: Experiment) -> Stage:
    """A captioner learns alone, from captions of what it perceives: no others can be kept to.

    Its towers stay as they are: start it from a run that taught the audio tower to hear.
    """
    writer = experiment.model.captioner
    assert writer is not None
    kinds: dict[tuple[str, ...], tuple[CaptionKind, ...]] = {
        ("vision", "audio"): ("audio_visual", "composed"),
        ("vision",): ("visual",),
        ("audio",): ("audio",),
    }
    drawn = kinds[writer.reads]
    return replace(
        experiment.stages[0],
        trains=(),
        towers=(),
        draws=(Draw(captions=drawn, terms=("lm",)),),
        criterion=tuple(f"words<-{kind}" for kind in drawn),
        batch_size=32,
        epochs=40,
        patience=10,
        optimizer=replace(SMALL_RATES, lr=4e-3),
    )


CLIP4VLA = (
    "clip4vla-pretrain",
    *(f"clip4vla-retrieval-{name}" for name in ("g2g", "g2l", "tight", "l2l", "audio", "vision")),
    "clip4vla-caption",
    "clip4vla-caption-vision",
    "clip4vla-caption-audio",
)
"""Its systems that have a variant for the world."""


def ours_on_world(experiment: Experiment) -> Experiment:
    """The same system with the stand-in towers, one of whose frames a second is enough."""
    model = experiment.model.renamed({CLIP: CLIP_STAND_IN, CLAP: CLAP_STAND_IN})
    assert isinstance(model.vision, ClipVision)
    vision = replace(model.vision, frames_per_second=WORLD_FRAMES_PER_SECOND)
    text = replace(model.text, dim=WORLD_DIM)
    return replace(experiment, model=replace(model, vision=vision, text=text))


EXPERIMENTS: dict[str, Experiment] = {
    **{f"world-{name}": slava_on_world(it) for name, (_, it) in slava.SYSTEMS.items()},
    **{f"world-{name}": ours_on_world(it) for name, (_, it) in ours.SYSTEMS.items()},
    **{f"world-{name}": clip4vla_on_world(clip4vla.SYSTEMS[name][1]) for name in CLIP4VLA},
    f"world-{CLIP4VLA_IN_SLAVA}": with_audio(
        slava_on_world(slava.SYSTEMS["slava-a-and-v"][1]), CLIP4VLA_IN_SLAVA, SMALL_SOUND
    ),
    f"world-{CLAP_IN_CLIP4VLA}": with_audio(
        clip4vla_on_world(clip4vla.SYSTEMS["clip4vla-retrieval-g2g"][1]),
        CLAP_IN_CLIP4VLA,
        Clap(name=CLAP_STAND_IN),
    ),
}
"""By name on the command line; entry points lead here."""


def __getattr__(name: str) -> tuple[str, Experiment]:
    """An experiment with its description as an attribute without hyphens: what an entry point can name."""
    experiments = {key.replace("-", "_"): key for key in EXPERIMENTS}
    if name not in experiments:
        raise AttributeError(f"{__name__} has no {name}")
    key = experiments[name]
    known = {**slava.SYSTEMS, **clip4vla.SYSTEMS, **crossed.SYSTEMS, **ours.SYSTEMS}
    about, _ = known[key.removeprefix("world-")]
    return f"On the generated world: {about}", EXPERIMENTS[key]
