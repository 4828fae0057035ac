"""CLIP4VLA's ablations as values: what is trained for each row of a table."""

from dataclasses import dataclass, replace

from trichord.config import ClipAudio, Cross, Experiment, GlobalToGlobal
from trichord.experiments.clip4vla import one_modality, pretraining, retrieval


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of an ablation.

    `pretraining` comes first, if there is one, on a manifest of its own; `retrieval` starts from it.
    `task` and its weights are what the row reports.
    """

    name: str
    pretraining: Experiment | None = None
    retrieval: Experiment
    tasks: tuple[str, ...]


KINDS = ("audio_visual", "audio", "visual", "composed")
AUDIO_TASKS = tuple(f"audio<-{kind}" for kind in KINDS)
VISUAL_TASKS = tuple(f"visual<-{kind}" for kind in KINDS)
CLIP_TASKS = tuple(f"clip<-{kind}" for kind in KINDS)


def _component(name: str, *terms: str, scratch: bool = False, token: bool = False) -> Row:
    """A row of Table 5: each has what the rows above it have."""

    def heard(experiment: Experiment, sound_token: ClipAudio) -> Experiment:
        return replace(
            experiment,
            system=f"{experiment.system} {name}",
            model=replace(experiment.model, audio=sound_token),
        )

    asked = one_modality("retrieval", "at")
    sound = asked.model.audio
    assert isinstance(sound, ClipAudio)
    first = None
    if terms:
        wanted = pretraining("pretraining", *terms)
        first = heard(wanted, replace(sound, token="clip" if token else "none"))
    second = heard(asked, replace(sound, scratch=scratch, token=0.5 if token else "none"))
    return Row(name=name, pretraining=first, retrieval=second, tasks=AUDIO_TASKS)


COMPONENTS: tuple[Row, ...] = (
    _component("scratch", scratch=True),
    _component("+ initial"),
    _component("+ inter-modal", "at", "av"),
    _component("+ intra-modal", "at", "av", "aa"),
    _component("+ sound token", "at", "av", "aa", token=True),
)
"""Table 5, from above to below."""


def _alone(name: str, term: str, tasks: tuple[str, ...]) -> Row:
    """A row of one modality."""
    return Row(name=name, retrieval=one_modality(f"retrieval {name}", term), tasks=tasks)


def _fused(name: str, fusion: GlobalToGlobal | Cross) -> Row:
    """A row of sight and sound together."""
    return Row(name=name, retrieval=retrieval(f"retrieval {name}", fusion), tasks=CLIP_TASKS)


FUSIONS: tuple[Row, ...] = (
    _fused("global-to-global", GlobalToGlobal()),
    _fused("global-to-local", Cross()),
    _fused("tight", Cross(level="tight")),
    _fused("local-to-local", Cross(level="local_to_local")),
)

MODALITIES: tuple[Row, ...] = (
    _alone("vision", "vt", VISUAL_TASKS),
    _alone("audio", "at", AUDIO_TASKS),
    _fused("both", GlobalToGlobal()),
)
"""V, A and AV, each with the tasks that ask it by the same captions."""

TOKENS: tuple[float, ...] = tuple(i / 10 for i in range(11))
"""Mixing ratios of Figure 4, from verbal to nonverbal."""
