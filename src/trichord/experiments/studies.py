"""Studies as values: rows that are trained and measured alike, for one table.

A study of ours is a value here; anybody else's is a value in a Python file, or comes with a package by
the entry point `trichord.studies`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from trichord.config import CRITERIA, WORDS, ClipAudio, Cross, Experiment, GlobalToGlobal, Stage
from trichord.experiments.clip4vla import one_modality, pretraining, retrieval
from trichord.experiments.crossed import with_audio
from trichord.types import CAPTION_KINDS, CaptionKind, UserError

TASKS = tuple(name for name in CRITERIA if not name.startswith(WORDS))
FILE_NAME = r"[A-Za-z0-9][\w.-]*"
"""Studies and rows name files and folders."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a study's table.

    Attributes:
        name: What the table calls it.
        experiment: What is trained; None: the run of `--start` is measured as it is.
        pretraining: What is trained first, on the clips of `--pretraining`; the experiment starts from it.
        tasks: What is measured, such as `audio<-audio`; all that the clips allow if empty.
        audio_type: Audio type token to measure with, from verbal (0) to nonverbal (1); None: the run's own.
    """

    name: str
    experiment: Experiment | None = None
    pretraining: Experiment | None = None
    tasks: tuple[str, ...] = ()
    audio_type: float | None = None

    @property
    def folder(self) -> str:
        """Where its runs lie in the study's directory."""
        return re.sub(r"[^\w.-]", "", self.name)

    def flaws(self) -> Iterator[str]:
        """What is wrong with it, in words."""
        if not re.fullmatch(FILE_NAME, self.folder):
            yield "its name is that of a folder too: begin with a letter or a digit"
        if self.pretraining and not self.experiment:
            yield "it has a pretraining and no experiment that starts from it: give it one"
        if unknown := [task for task in self.tasks if task not in TASKS]:
            yield f"there is no task {unknown[0]}: choose from {', '.join(TASKS)}"
        if self.experiment and self.experiment.model.captioner:
            yield "it writes captions, and a study measures retrieval: use 'trichord compare' on such runs"
        if self.audio_type is not None and not 0 <= self.audio_type <= 1:
            yield f"audio_type {self.audio_type:g}: give a number from 0 (verbal) to 1 (nonverbal)"


@dataclass(frozen=True, kw_only=True)
class Study:
    """Rows of experiments, each on several seeds, for one table.

    Attributes:
        name: What its files are called.
        title: What its table and figure are headed with.
        rows: From above to below.
    """

    name: str
    title: str
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        """Refuse a study that cannot be run.

        Raises:
            UserError: Names the study and the row.
        """
        folders = [row.folder for row in self.rows]
        for row in self.rows:
            flaws = list(row.flaws())
            if folders.count(row.folder) > 1:
                flaws.append(f"two rows would share the folder {row.folder}: rename one of them")
            if flaws:
                raise UserError(f"The study '{self.name}', row '{row.name}': {flaws[0]}.")
        if not re.fullmatch(FILE_NAME, self.name):
            raise UserError(
                f"The study '{self.name}': its files are called so: use letters, digits, '.', '-' and '_'."
            )
        if not self.rows:
            raise UserError(f"The study '{self.name}' has no rows: give it some.")

    @property
    def trains(self) -> bool:
        """Whether it trains anything."""
        return any(row.experiment for row in self.rows)

    @property
    def pretrains(self) -> bool:
        """Whether rows have pretrainings of their own."""
        return any(row.pretraining for row in self.rows)

    @property
    def is_curve(self) -> bool:
        """Whether rows are the points of a curve over the audio type that they are named by."""
        return all(
            row.audio_type is not None and row.name == f"{row.audio_type:g}" for row in self.rows
        )

    def on(self, captions: tuple[CaptionKind, ...]) -> "Study":
        """The same, trained and measured on some kinds of captions only.

        Raises:
            UserError: A row has no task or no draw of these kinds.
        """
        return replace(self, rows=tuple(_narrowed(row, captions) for row in self.rows))


def _narrowed(row: Row, captions: tuple[CaptionKind, ...]) -> Row:
    """A row on some kinds of captions only; its pretraining has captions of its own."""
    tasks = _of_kinds(row.tasks or TASKS, captions)
    stages = tuple(
        _narrowed_stage(stage, captions)
        for stage in (row.experiment.stages if row.experiment else ())
    )
    if not tasks or not all(stage.draws and stage.criterion for stage in stages):
        raise UserError(
            f"--captions {' '.join(captions)}: the row '{row.name}' has nothing to train or measure on "
            "these: name other kinds."
        )
    return replace(
        row, experiment=row.experiment and replace(row.experiment, stages=stages), tasks=tasks
    )


def _narrowed_stage(stage: Stage, captions: tuple[CaptionKind, ...]) -> Stage:
    """A stage on some kinds of captions only."""
    draws = tuple(
        replace(draw, captions=tuple(kind for kind in captions if kind in draw.captions))
        for draw in stage.draws
        # A draw without captions compares audio and vision alone.
        if not draw.captions or set(draw.captions) & set(captions)
    )
    return replace(stage, draws=draws, criterion=_of_kinds(stage.criterion, captions))


def _of_kinds(tasks: tuple[str, ...], captions: tuple[CaptionKind, ...]) -> tuple[str, ...]:
    """Those of some tasks that ask by captions of some kinds, or by no captions at all."""
    return tuple(task for task in tasks if task.split("<-")[-1] in (*captions, "sound"))


AUDIO_TASKS = tuple(f"audio<-{kind}" for kind in CAPTION_KINDS)
VISUAL_TASKS = tuple(f"visual<-{kind}" for kind in CAPTION_KINDS)
CLIP_TASKS = tuple(f"clip<-{kind}" for kind in CAPTION_KINDS)


def _component(name: str, *terms: str, scratch: bool = False, token: bool = False) -> Row:
    """A row of Table 5: each has what the rows above it have."""
    second = one_modality("retrieval", "at")
    audio = second.model.audio
    assert isinstance(audio, ClipAudio)
    first = None
    if terms:
        by_clip = replace(audio, token="clip" if token else "none")
        pretrained = f"pretraining {name}"
        first = with_audio(pretraining(pretrained, *terms), pretrained, by_clip)
    tuned = replace(audio, scratch=scratch, token=0.5 if token else "none")
    tuned_experiment = with_audio(second, f"retrieval {name}", tuned)
    return Row(name=name, pretraining=first, experiment=tuned_experiment, tasks=AUDIO_TASKS)


COMPONENTS = Study(
    name="components",
    title="Components of pretraining (Table 5)",
    rows=(
        _component("scratch", scratch=True),
        _component("+ initial"),
        _component("+ inter-modal", "at", "av"),
        _component("+ intra-modal", "at", "av", "aa"),
        _component("+ audio type token", "at", "av", "aa", token=True),
    ),
)


def _alone(name: str, term: str, tasks: tuple[str, ...]) -> Row:
    """A row of one modality."""
    return Row(name=name, experiment=one_modality(f"retrieval {name}", term), tasks=tasks)


def _fused(name: str, fusion: GlobalToGlobal | Cross) -> Row:
    """A row of both modalities, fused."""
    return Row(name=name, experiment=retrieval(f"retrieval {name}", fusion), tasks=CLIP_TASKS)


FUSION = Study(
    name="fusion",
    title="Fusion of visual and audio",
    rows=(
        _fused("global-to-global", GlobalToGlobal()),
        _fused("global-to-local", Cross()),
        _fused("tight", Cross(level="tight")),
        _fused("local-to-local", Cross(level="local_to_local")),
    ),
)

MODALITY = Study(
    name="modality",
    title="Visual, audio, and both",
    rows=(
        _alone("vision", "vt", VISUAL_TASKS),
        _alone("audio", "at", AUDIO_TASKS),
        _fused("both", GlobalToGlobal()),
    ),
)
"""V, A and AV, each with the tasks that ask it by the same captions."""

AUDIO_TYPE = Study(
    name="audio-type",
    title="Audio type token, from verbal to nonverbal (Figure 4)",
    rows=tuple(Row(name=f"{i / 10:g}", audio_type=i / 10, tasks=AUDIO_TASKS) for i in range(11)),
)
"""Trains nothing: its rows are mixing ratios with which a trained run listens."""
