"""The directory of a run: started once, resumed any number of times, complete at the end."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from trichord.checkpoint.environment import Origin, environment, revisions
from trichord.checkpoint.provenance import EARLIER, UNKNOWN, provenance_of, read_provenance
from trichord.checkpoint.summary import run_summary
from trichord.checkpoint.tensor_files import DamagedError, read_tensors, write_tensors
from trichord.checkpoint.weights import load_matching, load_trained, owned_state
from trichord.config import TOWERS, Experiment, Provenance
from trichord.config.experiment import (
    origins_of,
    read_experiment,
    read_origins,
    resolve_towers,
    towers_beside,
    write_experiment,
)
from trichord.encoders.hub import NotCachedError
from trichord.losses.objective import Objective
from trichord.models.embedder import Embedder
from trichord.types import UserError
from trichord.types.files import leftovers, remove_leftovers, write_atomically
from trichord.types.notebook import facts, one_line, readable
from trichord.types.rng import isolated_rng

log = logging.getLogger("trichord.checkpoint")

NEWEST, BEFORE = "checkpoint.safetensors", "checkpoint-before.safetensors"
"""Two generations of checkpoints: if the newest is damaged, the one before is used."""
WEIGHTS, EXPERIMENT, ENVIRONMENT = "weights.safetensors", "experiment.json", "environment.json"
METRICS, WEIGHTING = "metrics.jsonl", "weighting.json"
ADAPTERS = "adapters"
"""Note in a run's weights: the low-rank adapters of its experiment, by encoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The state of training. With the seed it determines all random numbers that follow.

    `epoch` and `step` are the next ones (epoch 0 is the state before training), `loss` the sum over
    the steps of the epoch so far, `terms` the sum and number of steps of each of its terms, `best` the
    best criterion of the stage so far. Of the steps of the epoch, `skipped` had a loss or gradient that
    was not finite, and `empty` had no term of the loss; `skipped_in_a_row` counts up to the last step,
    also over epochs.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    terms: Mapping[str, Sequence[float | int]] = field(
        default_factory=dict[str, Sequence[float | int]]
    )
    skipped: int = 0
    empty: int = 0
    skipped_in_a_row: int = 0
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

    def __repr__(self) -> str:
        return one_line("Run", str(self.path), readable(self._summary))

    def _repr_html_(self) -> str:
        return facts(f"Run {self.path}", readable(partial(self._summary, curves=True)))

    def _summary(self, *, curves: bool = False) -> dict[str, object]:
        state = self.complete
        return run_summary(self.experiment(), self.metrics(), complete=state, curves=curves)

    @property
    def name(self) -> str:
        """Its name in reports: the folder, for a seed with the folder above."""
        parts = self.path.resolve().parts
        return "/".join(parts[-2:]) if parts[-1].startswith("seed-") else parts[-1]

    @property
    def complete(self) -> bool:
        """Whether training has ended."""
        return (self.path / WEIGHTS).is_file()

    @property
    def begun(self) -> bool:
        """Whether the directory has weights, or a checkpoint to resume from."""
        return any((self.path / name).is_file() for name in (WEIGHTS, NEWEST, BEFORE))

    def start(
        self,
        experiment: Experiment,
        manifest: str | Origin,
        copied: Provenance | None = None,
        notes: Mapping[str, object] | None = None,
    ) -> None:
        """Make the directory, or resume a run of the same experiment.

        A directory without any training, because a start was refused or killed, is started again for
        any experiment.

        Args:
            experiment: Of the run.
            manifest: The origin of the clips, or only the signature of their manifest, or another
                origin of the run.
            copied: Provenance of the trained run that this one is another form of.
            notes: Further entries for the environment of a new run.

        Raises:
            UserError: The directory holds another experiment, or something else.
        """
        origin = manifest if isinstance(manifest, Origin) else None
        mark = manifest.signature if isinstance(manifest, Origin) else manifest
        held = self.path / EXPERIMENT
        if held.is_file() and self.begun:
            if not self.is_of(experiment, mark):
                raise UserError(
                    f"{self.path} holds a run with other settings, other parts or another manifest: choose "
                    "another directory or delete it."
                )
            if not self.complete:
                self._require_teacher(experiment)
        elif not self._is_meant_for(experiment, mark):
            if self._holds_something():
                raise UserError(f"{self.path} is not empty and no run: choose another directory.")
            self.path.mkdir(parents=True, exist_ok=True)
            for name in (METRICS, WEIGHTING):  # of an earlier start
                (self.path / name).unlink(missing_ok=True)
            made_with = environment(mark, experiment, origin)
            # Provenance of earlier runs is recorded because they may be gone later.
            if copied is not None:
                made_with["copy of"] = asdict(copied)
            else:
                earlier = {role: _provenance_of(experiment, role) for role in EARLIER}
                made_with |= {role: asdict(one) for role, one in earlier.items() if one}
            made_with |= dict(notes or {})
            write_atomically(self.path / ENVIRONMENT, json.dumps(made_with, indent=2))
            write_experiment(held, experiment)
        remove_leftovers(self.path)

    def _require_teacher(self, experiment: Experiment) -> None:
        """Refuse to resume with another teacher in the place of the first one."""
        noted = self.environment().get("teacher")
        if noted and read_provenance(noted) != _provenance_of(experiment, "teacher"):
            raise UserError(
                f"--teacher {experiment.teacher}: it was trained again after {self.path} began: choose "
                "another directory, or restore the teacher."
            )

    def _is_meant_for(self, experiment: Experiment, manifest: str) -> bool:
        """Whether the same run was started here before; False if its files cannot be read."""
        try:
            return self.is_of(experiment, manifest)
        except UserError:
            return False

    def is_of(self, experiment: Experiment, manifest: str) -> bool:
        """Whether the directory holds a run of this experiment, on the manifest of this signature.

        Parts from outside the package must be of the same version, or of the same file, as well.
        """
        held = read_experiment(self.path / EXPERIMENT)
        if read_origins(self.path / EXPERIMENT) != origins_of(experiment):
            return False
        same = experiment in (held, resolve_towers(held, self.path))
        same = same or towers_beside(experiment, self.path) == held
        return same and self._manifest() in (None, manifest)

    def _holds_something(self) -> bool:
        """Whether the directory has other files than those of a run without training."""
        if not self.path.exists():
            return False
        ours = {self.path / name for name in (ENVIRONMENT, EXPERIMENT, METRICS, WEIGHTING)}
        set_aside = self.path.glob("checkpoint*.*-*.safetensors")
        ours |= {*leftovers(self.path), *set_aside}
        return any(one not in ours for one in self.path.iterdir())

    def environment(self) -> dict[str, Any]:
        """The recorded environment of the run; empty if there is none.

        Raises:
            UserError: The file is damaged.
        """
        path = self.path / ENVIRONMENT
        if not path.is_file():
            return {}
        try:
            return dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}): restore it, or train again.") from error

    def provenance(self) -> Provenance:
        """The provenance of the run.

        Raises:
            UserError: `environment.json` is damaged.
        """
        noted = self.environment()
        if "copy of" in noted:
            return read_provenance(noted["copy of"])
        experiment = self.experiment()
        earlier = {
            role: read_provenance(one)
            if (one := noted.get(role))
            else _provenance_of(experiment, role)
            for role in EARLIER
        }
        mark, origin = str(noted.get("manifest") or UNKNOWN), noted.get("origin")
        name = Path(origin["path"]).name if origin else mark
        # Without a stage nothing is learnt from the clips; an imported run is named by its source.
        learnt = bool(experiment.stages) or origin is None
        return provenance_of(
            replace(experiment, model=experiment.model.renamed(self._pins())),
            clips=(mark, name) if learnt else None,
            earlier=earlier,
            parts=read_origins(self.path / EXPERIMENT),
        )

    def _manifest(self) -> str | None:
        return self.environment().get("manifest")

    def experiment(self) -> Experiment:
        """The experiment of the run, with towers that lie in its folder named by their place."""
        return resolve_towers(read_experiment(self.path / EXPERIMENT), self.path)

    def save(self, saved: Saved) -> None:
        """Write a checkpoint; the one before is kept, and the one before that until this one is complete.

        Raises:
            UserError: The disk is full, or cannot be written to.
        """
        notes = {"progress": json.dumps(asdict(saved.progress)), "run": self.mark}
        try:
            write_tensors(self.path / NEWEST, saved.tensors, notes, keep=self.path / BEFORE)
            self._write_metrics(saved.progress)
        except UserError as error:
            raise UserError(
                f"{error}. The last checkpoint is kept: fix that and repeat the command."
            ) from error

    def saved(self) -> Saved | None:
        """The newest intact checkpoint of this run, if there is one.

        Others are renamed by the reason, with a warning.
        """
        for path in (self.path / NEWEST, self.path / BEFORE):
            if not path.is_file():
                continue
            try:
                return self._read(path)
            except (DamagedError, _ForeignError) as error:
                kind, why = "damaged" if isinstance(error, DamagedError) else "foreign", str(error)
            number = 1
            while (aside := path.with_name(f"{path.stem}.{kind}-{number}{path.suffix}")).exists():
                number += 1
            path.replace(aside)
            resort = "There is no other: training starts again."
            if (self.path / BEFORE).is_file():
                resort = "The one before it is used."
            log.warning("%s: set aside as %s. %s", why, aside.name, resort)
        return None

    def _read(self, path: Path) -> Saved:
        tensors, notes = read_tensors(path)
        if notes.get("run") != self.mark:
            raise _ForeignError(f"{path} is of another experiment or manifest")
        try:
            progress = json.loads(notes["progress"])
            metrics = tuple(progress["metrics"])
            return Saved(Progress(**progress | {"metrics": metrics}), tensors)
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedError(f"{path} is of another version ({error})") from error

    @property
    def mark(self) -> str:
        """Signature of experiment and manifest, which a checkpoint belongs to."""
        digest = hashlib.blake2b((self.path / EXPERIMENT).read_bytes(), digest_size=16)
        digest.update((self._manifest() or "").encode())
        return digest.hexdigest()

    def finish(self, model: Embedder, objective: Objective, progress: Progress) -> None:
        """Write the trained weights, which makes the run complete."""
        self._write_metrics(progress)
        towers = model.encoders().items()
        notes = {
            name: tower.adapted_fingerprint if tower.lora else tower.fingerprint
            for name, tower in towers
            if not tower.trunk_changed
        }
        if any(tower.lora for _, tower in towers):
            notes[ADAPTERS] = json.dumps(self._adapters())
        write_tensors(self.path / WEIGHTS, owned_state(model, objective), notes)
        self.remove_checkpoints()

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints, which a complete run no longer needs."""
        for name in (NEWEST, BEFORE):
            (self.path / name).unlink(missing_ok=True)

    @property
    def weighting(self) -> tuple[float, float] | None:
        """Weights of vision and audio in a search; None if they were not learnt.

        Raises:
            UserError: The file is damaged.
        """
        path = self.path / WEIGHTING
        if not path.is_file():
            return None
        try:
            learnt = json.loads(path.read_text())
            if "sight" in learnt:  # the keys of earlier versions
                learnt = {"visual": learnt["sight"], "audio": learnt["sound"]}
            return float(learnt["visual"]), float(learnt["audio"])
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} is damaged: delete it, and both count the same.") from error

    def metrics(self) -> list[dict[str, Any]]:
        """The metrics of every epoch so far.

        Raises:
            UserError: The file is damaged.
        """
        path = self.path / METRICS
        try:
            lines = path.read_text().splitlines() if path.is_file() else []
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}): restore it, or train again.") from error

    def _write_metrics(self, progress: Progress) -> None:
        lines = "".join(json.dumps(line) + "\n" for line in progress.metrics)
        write_atomically(self.path / METRICS, lines)

    def _adapters(self) -> dict[str, Any]:
        """The low-rank adapters of the experiment as JSON values."""
        adapters = self.experiment().adapters()
        return json.loads(json.dumps({name: asdict(lora) for name, lora in adapters.items()}))

    def weights(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        """The tensors that the run owns, and the fingerprints of the towers that it does not own.

        Raises:
            UserError: They are damaged.
        """
        path = self.path / WEIGHTS
        try:
            tensors, prints = read_tensors(path, unsealed=True)
        except DamagedError as error:
            raise UserError(f"{error}: delete that file and train again.") from error
        # The scale of adapters is not in their weights.
        if (noted := prints.pop(ADAPTERS, None)) and json.loads(noted) != self._adapters():
            raise UserError(
                f"{self.path / EXPERIMENT} names other low-rank adapters than {path.name} has: restore it, "
                f"or delete {self.path} and train again."
            )
        if odd := prints.keys() - set(TOWERS):
            raise UserError(
                f"{path} is damaged (it names '{min(odd)}'): delete that file and train again."
            )
        return tensors, prints

    def load(self) -> Embedder:
        """The trained model, in evaluation mode.

        Raises:
            UserError: The run is not complete, its weights are damaged, or its towers have changed.
        """
        experiment = self.experiment()
        if not self.complete:
            raise UserError(
                f"The run {self.path} is not finished: repeat its 'trichord train' command, which "
                "resumes it."
            )
        model = self._built(experiment)
        self.restore(model)
        return model.eval()

    def _built(self, experiment: Experiment) -> Embedder:
        """The model of the run without its weights, with towers of the recorded commits.

        If a commit is neither on this machine nor on the hub, the current one is used: `restore`
        compares the fingerprints.
        """
        try:
            with isolated_rng(experiment.seed):
                return experiment.model.renamed(self._pins()).build()
        except NotCachedError:
            with isolated_rng(experiment.seed):
                return experiment.model.build()

    def _pins(self) -> dict[str, str]:
        """Names of towers from a hub, with their recorded commits."""
        return _pinned(self.environment().get("towers", {}))

    def restore(self, model: Embedder) -> None:
        """Load the weights of a complete run into a model of its experiment.

        Raises:
            UserError: The weights are damaged, or the towers have changed.
        """
        tensors, prints = self.weights()
        self._require_same_towers(model, prints)
        load_trained(model, tensors, self.experiment().adapters())

    def _require_same_towers(self, model: Embedder, prints: Mapping[str, str]) -> None:
        for name, tower in model.encoders().items():
            if name in prints and tower.fingerprint != prints[name]:
                words = " or another tokenizer" if name in ("text", "sound_text") else ""
                raise UserError(
                    f"The {name} tower that {self.path} names has other weights{words} now than when it "
                    "was trained: restore them or train again."
                )

    def load_matching(self, model: Embedder) -> None:
        """Load the weights of this run that fit into a model with other parts, such as a fusion.

        Raises:
            UserError: The run is not complete, or its encoders do not fit the model.
        """
        if not self.complete:
            raise UserError(f"{self.path} is no finished run to start from: train it first.")
        tensors, prints = self.weights()
        adapters = self.experiment().adapters()
        # Adapters are changes of the weights that they were trained beside.
        self._require_same_towers(model, {k: v for k, v in prints.items() if k in adapters})
        if odd := load_matching(tensors, model, adapters):
            raise UserError(
                f"{self.path} cannot be started from: its {odd} do not fit this experiment's "
                "model; choose the same towers."
            )


def _pinned(commits: Mapping[str, str]) -> dict[str, str]:
    """Names of towers from a hub, with their commits."""
    return {name: f"{name}@{commit}" for name, commit in commits.items() if "@" not in name}


def _provenance_of(experiment: Experiment, role: str) -> Provenance | None:
    """Provenance of the run that one of the fields `EARLIER` names; None without one, or if it is gone."""
    path: Path | None = getattr(experiment, role)
    if path is None or not (path / EXPERIMENT).is_file():
        return None
    return Run(path).provenance()


class _ForeignError(UserError):
    """An intact checkpoint of another run."""


@dataclass(frozen=True, slots=True)
class Untrained:
    """A named model, weights or an experiment before training, which is measured as a run is.

    Attributes:
        given: What the user calls it.
        known: It, as an experiment.
    """

    given: str
    known: Experiment

    @property
    def path(self) -> None:
        """It has no directory."""
        return None

    @property
    def name(self) -> str:
        """Its name in reports."""
        return f"{self.given}, before training"

    def experiment(self) -> Experiment:
        """As `Run.experiment`."""
        return self.known

    def provenance(self) -> Provenance:
        """As that of a run without stages: the weights, with their commits at the hub, and no clips."""
        model = self.known.model.renamed(_pinned(revisions(self.known)))
        return provenance_of(
            replace(self.known, model=model, stages=()),
            clips=None,
            earlier={role: _provenance_of(self.known, role) for role in EARLIER},
            parts=origins_of(self.known),
        )

    def load(self) -> Embedder:
        """The model, in evaluation mode.

        Raises:
            UserError: A tower, or the run to start from, cannot be loaded.
        """
        return fresh_model(self.known)


def fresh_model(experiment: Experiment) -> Embedder:
    """The model of an experiment before training; its seed initialises the new parts.

    Raises:
        UserError: A tower, or the run to start from, cannot be loaded.
    """
    with isolated_rng(experiment.seed):
        model = experiment.model.build()
    if experiment.start is not None:
        Run(experiment.start).load_matching(model)
    return model.eval()
