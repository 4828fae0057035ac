"""An experiment as a value, and its JSON file in a run."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from os.path import normpath, relpath
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from trichord.config.limits import check
from trichord.config.model import TriModal
from trichord.config.parts import parts_of
from trichord.config.training import InfoNCE, Lora, Stage
from trichord.types import MODALITIES, Modality, Split, UserError
from trichord.types.files import write_atomically
from trichord.types.rules import InputFolder, Range
from trichord.types.terms import LOSSES, term_of

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT = 3
"""Version of run directories. Format 2, with some other names, is read too (`_of_format_2`); all others
are refused."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A whole run as a value; `experiment.json` of a run contains it."""

    system: str
    """Its column in a comparison."""
    model: TriModal = field(default_factory=TriModal)
    objective: InfoNCE = field(default_factory=InfoNCE)
    stages: tuple[Stage, ...] = ()
    """In order; each starts from the best epoch of the previous one, with a new optimizer."""
    hand_over: Literal["best", "last"] = "best"
    """Weights that a stage passes to the next one, and the last stage to the run."""
    fresh_objective: bool = True
    """Each stage starts with new temperatures."""
    start: Annotated[Path | None, InputFolder()] = None
    """A run to take the initial weights from, such as a pretraining."""
    teacher: Annotated[Path | None, InputFolder()] = None
    """A finished run from whose vectors of the training clips the `distil` terms learn."""
    select_on_test: bool = False
    """Choose the best epoch on the test split, as published: only to show how much that inflates."""
    seed: Annotated[int, Range(0)] = 0

    @property
    def chooses(self) -> Split:
        """The split that chooses the best epoch."""
        return "test" if self.select_on_test else "val"

    @property
    def terms(self) -> tuple[str, ...]:
        """All terms of its stages, each once."""
        return tuple(dict.fromkeys(term for stage in self.stages for term in stage.terms))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities that its stages train on or choose an epoch by; all if nothing is trained."""
        terms = [term_of(name) for name in self.terms]
        losses = {term.loss for term in terms}
        if not self.stages or "fused" in losses:
            return MODALITIES
        galleries = {task.split("<-")[0] for stage in self.stages for task in stage.criterion}
        compared = {side for term in terms for side in term.sides}
        writes = "words" in losses or "words" in galleries
        sources = self.model.captioner.reads if self.model.captioner and writes else ()
        needed: dict[Modality, bool] = {
            "text": True,
            "audio": bool(compared & {"audio", "masked"}) or bool(galleries & {"audio", "clip"}),
            "vision": "vision" in compared or bool(galleries & {"visual", "clip"}),
        }
        needed |= dict.fromkeys(sources, True)
        return tuple(name for name, used in needed.items() if used)

    def flaws(self) -> Iterator[tuple[str, str]]:
        """See `Ruled`: a stage needs parts that the model lacks."""
        fuses, writes = self.model.fusion is not None, self.model.captioner is not None
        needs = "which needs a {}: choose an experiment that has one."
        yield from self._flaws_of_losses()
        yield from self._flaws_of_adapters()
        for number, stage in enumerate(self.stages):
            draws, criterion = f"stages.{number}.draws", f"stages.{number}.criterion"
            losses = {term_of(name, f"--{draws}.terms").loss for name in stage.terms}
            galleries = {name.split("<-")[0] for name in stage.criterion}
            if "fused" in losses and not fuses:
                yield draws, f"ask for 'ct', {needs.format('fusion')}"
            if "clip" in galleries and not fuses:
                yield criterion, f"searches clips, {needs.format('fusion')}"
            if "words" in losses and not writes:
                yield draws, f"ask for 'lm', {needs.format('captioner')}"
            if "words" in galleries and not writes:
                yield criterion, f"is of words, {needs.format('captioner')}"
            if not stage.criterion and self.hand_over == "best":
                yield (
                    criterion,
                    "is empty: name what chooses the best epoch, or give --hand-over last.",
                )

    def adapters(self) -> dict[Modality, Lora]:
        """The encoders whose trunks get low-rank adapters, and these."""
        return {name: one.lora for one in self.stages if one.lora.rank for name in one.towers}

    def _flaws_of_adapters(self) -> Iterator[tuple[str, str]]:
        """A trunk has adapters of one form in all stages that train it, or none."""
        for number, stage in enumerate(self.stages):
            for name in stage.towers:
                lora = self.adapters().get(name, stage.lora)
                if stage.lora != lora:
                    yield (
                        f"stages.{number}.lora.rank",
                        f"{stage.lora.rank}: another stage trains the trunk of {name} by other adapters "
                        "or whole: give all of them the same --stages.N.lora.",
                    )

    def _flaws_of_losses(self) -> Iterator[tuple[str, str]]:
        """Settings that do not go with a term, or with one another."""
        for option, wrong in self.objective.conflicts(tuple(term_of(name) for name in self.terms)):
            yield f"objective.{option}", wrong
        taught = [name for name in self.terms if term_of(name).distils]
        if taught and self.teacher is None:
            yield (
                "teacher",
                f"is missing: '{taught[0]}' learns from a teacher: name a finished run.",
            )
        if self.teacher is not None and not taught:
            yield (
                "teacher",
                f"{self.teacher}: no term learns from it: add one such as vt-distil, or leave it out.",
            )
        for number, stage in enumerate(self.stages):
            option, count = f"stages.{number}.captions-per-clip", stage.captions_per_clip
            if count > 1 and not any(draw.captions for draw in stage.draws):
                yield option, f"{count}: the stage draws no captions: leave the option out."
            if count > 1 and self.objective.same_text == "positives":
                yield (
                    option,
                    f"{count}: positives are captions of one clip or equal captions, not both: leave out "
                    "--objective.same-text positives.",
                )


def origins_of(experiment: Experiment) -> dict[str, str]:
    """Origins of plug-in parts: a package and its version, or a file and its digest."""
    parts = (*parts_of(experiment), *((LOSSES, name) for name in experiment.terms))
    origins = {f"{group.name}.{kind}": group.origin(kind) for group, kind in parts}
    return {name: origin for name, origin in origins.items() if origin is not None}


def read_origins(path: Path) -> dict[str, str]:
    """Origins of plug-in parts, as the file of an experiment has them."""
    return dict(json.loads(path.read_text()).get("parts", {}))


def write_experiment(path: Path, experiment: Experiment) -> None:
    """Write an experiment as JSON, with the format version and the origins of plug-in parts."""
    body = _form().dump_json(experiment, indent=2).decode()
    origins = origins_of(experiment)
    parts = f'"parts": {json.dumps(origins)}, ' if origins else ""
    write_atomically(path, f'{{"format": {FORMAT}, {parts}"experiment":\n{body}\n}}\n')


def read_experiment(path: Path) -> Experiment:
    """Read an experiment back.

    Raises:
        UserError: Missing, of another format version, with an unknown or ill-typed field, or with a
            model that cannot be built.
    """
    from pydantic import ValidationError

    if not path.is_file():
        raise UserError(f"{path} is missing: '{path.parent}' is not a run of Trichord.")
    try:
        document = json.loads(path.read_text())
        version = document["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged: restore it, or delete '{path.parent}' and train again."
        ) from error
    if version == 2:
        document = _of_format_2(document)
    elif version != FORMAT:
        raise UserError(
            f"{path} has format {version}, this version of Trichord reads {FORMAT}: "
            "train the run again or install the version that wrote it."
        )
    try:
        experiment = _form().validate_json(json.dumps(document["experiment"]))
    except UserError as error:
        # This machine may lack plug-in parts.
        parts = document.get("parts", {}).items()
        named = ", ".join(f"{name.partition('.')[2]} of {origin}" for name, origin in parts)
        made_with = f" It was made with {named}." if named else ""
        raise UserError(f"{path}: {error}{made_with}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {place}: {first['msg']}.") from error
    # Only the model is checked, because it will be built. Training checks the rest. So a run trained
    # with values that are refused today can still be used.
    try:
        check(experiment.model, "--model")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return experiment


def _of_format_2(value: Any) -> Any:
    """The same document with the present names of kinds and directions."""
    if isinstance(value, list):
        return [_of_format_2(one) for one in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    spelling = {"directions": {"to_second": "a_to_b", "to_first": "b_to_a"}}
    renamed: dict[str, Any] = {}
    for name, one in cast("dict[str, Any]", value).items():
        new = spelling.get(name, {}).get(one, one) if isinstance(one, str) else _of_format_2(one)
        renamed[name] = new.replace("_", "-") if name == "kind" else new
    return renamed


def resolve_towers(experiment: Experiment, folder: Path) -> Experiment:
    """The same experiment with towers that are named relative to a run by their place.

    Args:
        experiment: Of the run.
        folder: The run's; a name without such a folder stays relative to the working directory.
    """
    names = experiment.model.weights
    found = {name: place for name in names if (place := _tower_of(name, folder)) is not None}
    return replace(experiment, model=experiment.model.renamed(found))


def _tower_of(name: str, folder: Path) -> str | None:
    """The place of a tower that a run names by a relative folder; None: it stays as it is."""
    if name.startswith("../"):
        place = Path(normpath(folder.resolve() / name))
        return str(place) if place.is_dir() else None
    if name.startswith("./"):
        return str(folder / name) if (folder / name).is_dir() else None
    if not name or Path(name).is_absolute() or Path(name).is_dir():
        return None
    # Earlier versions stored what was typed, relative to a folder above the run, in most cases.
    above = (place / name for place in folder.resolve().parents)
    return next((str(place) for place in above if place.is_dir()), None)


def towers_beside(experiment: Experiment, folder: Path) -> Experiment:
    """The same experiment as a run stores it: towers in relative folders are named from the run's place.

    Args:
        experiment: With names relative to the working directory.
        folder: The run's.
    """
    towers = {name: Path(name) for name in experiment.model.weights}
    names = {
        name: relpath(place.resolve(), folder.resolve())
        for name, place in towers.items()
        if not place.is_absolute() and not (folder / name).is_dir() and place.is_dir()
    }
    inside = {name: one if one.startswith("../") else f"./{one}" for name, one in names.items()}
    return replace(experiment, model=experiment.model.renamed(inside))


def settings_of(experiment: Experiment) -> dict[str, str]:
    """Every setting of an experiment as text, by the name of its option."""
    return dict(_flat("", _form().dump_python(experiment, mode="json")))


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """The leaves of a tree of values; a list of plain values is one of them."""
    if isinstance(value, dict):
        parts = cast("dict[str, Any]", value).items()
    elif isinstance(value, list) and any(isinstance(one, dict) for one in cast("list[Any]", value)):
        parts = enumerate(cast("list[Any]", value))
    else:
        listed = cast("list[Any]", value) if isinstance(value, list) else [value]
        yield name, " ".join(map(str, listed)) or "none"
        return
    for part, one in parts:
        yield from _flat(f"{name}.{str(part).replace('_', '-')}".removeprefix("."), one)


@cache
def _form() -> "TypeAdapter[Experiment]":
    """The adapter of `Experiment`; cached, because making it takes longer than reading 100 files."""
    from pydantic import ConfigDict, TypeAdapter, with_config

    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(Experiment))
