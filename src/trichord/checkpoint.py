"""Run directories: what a run is on disk, and how training survives an interruption."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trichord.config import Experiment, read_experiment, write_experiment
from trichord.models.embedder import Embedder
from trichord.objectives import Contrastive
from trichord.types import UserError
from trichord.types.files import write_atomically

VERSIONED = ("trichord", "torch", "transformers", "av", "numpy", "pylance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far training is. With the seed it determines everything random that follows.

    `epoch` and `step` are those to take next (epoch 0 is the state before training), `loss` the sum
    over the epoch's steps so far; `best` is the best criterion of the stage so far.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    best: float = float("-inf")
    best_epoch: int = -1
    metrics: tuple[dict[str, Any], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint: progress, the tensors of model, objective and optimizer, and the best so far."""

    progress: Progress
    tensors: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory."""

    path: Path

    @property
    def name(self) -> str:
        """What reports call it: its folder, with the one above for a seed's."""
        parts = self.path.resolve().parts
        return "/".join(parts[-2:]) if parts[-1].startswith("seed-") else parts[-1]

    @property
    def complete(self) -> bool:
        """Whether training has ended."""
        return (self.path / "weights.safetensors").is_file()

    def start(self, experiment: Experiment, manifest: str) -> None:
        """Make the directory, or go on with one that the same experiment began.

        Raises:
            UserError: The directory holds another experiment, or something else.
        """
        begun = self.path / "experiment.json"
        if begun.is_file():
            if read_experiment(begun) != experiment or self._manifest() not in (None, manifest):
                raise UserError(
                    f"{self.path} holds a run with other settings or another manifest: choose "
                    "another directory or delete it."
                )
        elif self.path.exists() and any(self.path.iterdir()):
            raise UserError(f"{self.path} is not empty and no run: choose another directory.")
        else:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(
                self.path / "environment.json", json.dumps(environment(manifest), indent=2)
            )
            write_experiment(begun, experiment)

    def _manifest(self) -> str | None:
        path = self.path / "environment.json"
        return json.loads(path.read_text()).get("manifest") if path.is_file() else None

    def experiment(self) -> Experiment:
        """The experiment of the run, with towers that lie in its folder named by their place."""
        return located(read_experiment(self.path / "experiment.json"), self.path)

    def save(self, saved: Saved) -> None:
        """Write a checkpoint; the one before stays until this one is whole."""
        header = {"progress": json.dumps(asdict(saved.progress))}
        write_atomically(self.path / "checkpoint.safetensors", save(saved.tensors, header))
        self._write_metrics(saved.progress)

    def saved(self) -> Saved | None:
        """The checkpoint to go on from, if there is one."""
        path = self.path / "checkpoint.safetensors"
        if not path.is_file():
            return None
        tensors, header = _read(path)
        progress = json.loads(header["progress"])
        return Saved(Progress(**progress | {"metrics": tuple(progress["metrics"])}), tensors)

    def finish(self, model: Embedder, objective: Contrastive, progress: Progress) -> None:
        """Write the trained weights; from here on the run is complete."""
        self._write_metrics(progress)
        towers = model.encoders().items()
        header = {name: tower.fingerprint for name, tower in towers if not tower.trunk_changed}
        weights = save(owned_state(model, objective), header)
        write_atomically(self.path / "weights.safetensors", weights)
        (self.path / "checkpoint.safetensors").unlink(missing_ok=True)

    @property
    def weighting(self) -> tuple[float, float] | None:
        """How much sight and sound count in a search; None where no captions taught it.

        Raises:
            UserError: The file is damaged.
        """
        path = self.path / "weighting.json"
        if not path.is_file():
            return None
        try:
            learnt = json.loads(path.read_text())
            return float(learnt["sight"]), float(learnt["sound"])
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is damaged: delete it, and both count the same.") from error

    def metrics(self) -> list[dict[str, Any]]:
        """The numbers of every epoch so far."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [json.loads(line) for line in lines]

    def _write_metrics(self, progress: Progress) -> None:
        lines = "".join(json.dumps(line) + "\n" for line in progress.metrics)
        write_atomically(self.path / "metrics.jsonl", lines)

    def load(self) -> Embedder:
        """The trained model, in evaluation mode.

        Raises:
            UserError: Not a complete run, damaged weights, or towers that are not those it was
                trained with.
        """
        experiment = self.experiment()
        if not self.complete:
            raise UserError(
                f"The run {self.path} is not finished: repeat its 'trichord train' command, it goes "
                "on where it stopped."
            )
        torch.manual_seed(experiment.seed)
        model = experiment.model.build()
        tensors, header = _read(self.path / "weights.safetensors")
        for name, tower in model.encoders().items():
            if name in header and tower.fingerprint != header[name]:
                raise UserError(
                    f"The {name} tower that {self.path} names has other weights now than when it "
                    "was trained: restore them or train again."
                )
        load_owned(model, None, tensors)
        return model.eval()

    def lend(self, model: Embedder) -> None:
        """Give this run's weights to a model that may have other parts besides, such as a fusion.

        Raises:
            UserError: Not a complete run, or its encoders do not fit the model.
        """
        if not self.complete:
            raise UserError(f"{self.path} is no finished run to start from: train it first.")
        tensors, _ = _read(self.path / "weights.safetensors")
        known = model.state_dict()
        lent = {
            name: value
            for key, value in tensors.items()
            if (name := key.removeprefix("model.")) != key and name in known
        }
        # What the model has no place for would be lost unsaid; a fusion or a captioner that it does
        # without may be.
        names = [k.removeprefix("model.") for k in tensors if k.startswith("model.")]
        spare = ("fusion.", "captioner.")
        odd = [name for name in names if name not in known and not name.startswith(spare)]
        odd += [name for name, value in lent.items() if value.shape != known[name].shape]
        if odd or not lent:
            raise UserError(
                f"{self.path} cannot be started from: its {odd[0] if odd else 'weights'} do not fit "
                "this experiment's model; choose the same towers."
            )
        model.load_state_dict(lent, strict=False)
        for name, tower in model.encoders().items():
            if any(key.startswith(f"{name}.trunk.") for key in lent):
                tower.own_trunk()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged ({error}): delete it and train again.") from error


def fresh_model(experiment: Experiment) -> Embedder:
    """The model of an experiment before training, with its seed's draw of whatever is new in it.

    Raises:
        UserError: A tower, or the run to start from, cannot be loaded.
    """
    torch.manual_seed(experiment.seed)
    model = experiment.model.build()
    if experiment.start is not None:
        Run(experiment.start).lend(model)
    return model.eval()


def located(experiment: Experiment, folder: Path) -> Experiment:
    """The same experiment with towers called "./..." found where a run has brought them along.

    Args:
        experiment: Of the run.
        folder: The run's; a name that is not there stays relative to where the command runs.
    """
    towers = {
        name: replace(tower, name=str(folder / tower.name))
        for name in ("text", "vision", "audio", "sound_text")
        if (tower := getattr(experiment.model, name)) is not None
        and tower.name.startswith("./")
        and (folder / tower.name).is_dir()
    }
    return replace(experiment, model=replace(experiment.model, **towers))


def owned_state(model: Embedder, objective: Contrastive | None) -> dict[str, Tensor]:
    """What a run owns: heads, fusion, the trunks that trained, temperatures; no frozen trunk."""
    changed = {f"{name}.trunk." for name, one in model.encoders().items() if one.trunk_changed}
    owned = {
        f"model.{name}": value.detach().cpu().clone()  # a copy: training goes on
        for name, value in model.state_dict().items()
        if _always_owned(name) or any(name.startswith(trunk) for trunk in changed)
    }
    scales = {} if objective is None else objective.state_dict()
    return owned | {
        f"objective.{name}": value.detach().cpu().clone() for name, value in scales.items()
    }


def load_owned(
    model: Embedder, objective: Contrastive | None, tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `owned_state` gave; a trunk among it belongs to the run from then on.

    Raises:
        UserError: The tensors do not fit the model.
    """
    of_model = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    _, unexpected = model.load_state_dict(of_model, strict=False)
    for name, tower in model.encoders().items():
        if any(key.startswith(f"{name}.trunk.") for key in of_model):
            tower.own_trunk()
    needed = {name for name in model.state_dict() if _always_owned(name)}
    if unexpected or not needed <= of_model.keys():
        odd = sorted({*unexpected, *(needed - of_model.keys())})
        raise UserError(f"The weights do not fit the experiment's model: {odd[0]}: train again.")
    if objective is not None:
        prefix = "objective."
        objective.load_state_dict(
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        )


def _always_owned(name: str) -> bool:
    return ".head." in name or name.startswith(("fusion.", "captioner."))


def environment(manifest: str) -> dict[str, object]:
    """What a run was made with: versions, machine, the manifest's hash."""
    return {
        "versions": {name: version(name) for name in VERSIONED},
        "python": platform.python_version(),
        "machine": platform.platform(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "manifest": manifest,
    }
