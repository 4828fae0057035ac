"""An experiment as a value, and as the file that a run keeps."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from trichord.config.model import TriModal
from trichord.config.training import InfoNCE, Stage
from trichord.types import MODALITIES, Modality, Split, TermName, UserError
from trichord.types.files import write_atomically

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT = 2
"""Version of run directories; another one is refused."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A whole run as a value; written to the run's `experiment.json` and read back equal."""

    system: str
    """Its column in a comparison."""
    model: TriModal = field(default_factory=TriModal)
    objective: InfoNCE = field(default_factory=InfoNCE)
    stages: tuple[Stage, ...] = ()
    """In order; each starts from the best step of the one before, with a fresh optimizer."""
    hand_over: Literal["best", "last"] = "best"
    """What a stage hands to the next one and the last one to the run."""
    fresh_objective: bool = True
    """Each stage starts with new temperatures."""
    start: Path | None = None
    """A run whose weights to start from, such as a pretraining."""
    select_on_test: bool = False
    """Choose the best epoch on the test split, as published: shows what that inflates, no more."""
    seed: int = 0

    @property
    def chooses(self) -> Split:
        """The split that chooses the best epoch."""
        return "test" if self.select_on_test else "val"

    @property
    def terms(self) -> tuple[TermName, ...]:
        """All terms that its stages ask for, each once."""
        draws = (draw for stage in self.stages for draw in stage.draws)
        return tuple(dict.fromkeys(term for draw in draws for term in draw.terms))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What its stages train on or choose an epoch by; all where nothing is trained."""
        from trichord.objectives import SIDES  # with torch: who asks is about to read media

        if not self.stages or "ct" in self.terms:
            return MODALITIES
        galleries = {task.split("<-")[0] for stage in self.stages for task in stage.criterion}
        compared = {side for term in self.terms for side in SIDES.get(term, ())}
        writes = "lm" in self.terms or "words" in galleries
        shown = self.model.captioner.reads if self.model.captioner and writes else ()
        needed: dict[Modality, bool] = {
            "text": True,
            "audio": bool(compared & {"audio", "masked"}) or bool(galleries & {"audio", "clip"}),
            "vision": "vision" in compared or bool(galleries & {"visual", "clip"}),
        }
        needed |= dict.fromkeys(shown, True)
        return tuple(name for name, wanted in needed.items() if wanted)


def write_experiment(path: Path, experiment: Experiment) -> None:
    """Write an experiment as JSON, with the format version."""
    body = _form().dump_json(experiment, indent=2).decode()
    write_atomically(path, f'{{"format": {FORMAT}, "experiment":\n{body}\n}}\n')


def read_experiment(path: Path) -> Experiment:
    """Read an experiment back.

    Raises:
        UserError: Missing, of another format version, or with an unknown or ill-typed field.
    """
    import json

    from pydantic import ValidationError

    if not path.is_file():
        raise UserError(f"{path} is missing: '{path.parent}' is not a run of Trichord.")
    try:
        document = json.loads(path.read_text())
        version = document["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not an experiment: train the run again.") from error
    if version != FORMAT:
        raise UserError(
            f"{path} has format {version}, this version of Trichord reads {FORMAT}: "
            "train the run again or install the version that wrote it."
        )
    try:
        return _form().validate_json(json.dumps(document["experiment"]))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {place}: {first['msg']}.") from error


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
    """What writes and reads it; made once, for that takes longer than a hundred readings."""
    from pydantic import ConfigDict, TypeAdapter, with_config

    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(Experiment))
