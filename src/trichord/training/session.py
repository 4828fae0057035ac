"""The state of a training run between two steps: checkpoints and best weights."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from trichord.checkpoint import Progress, Run, Saved
from trichord.checkpoint.weights import load_owned, owned_state, under
from trichord.config import Experiment
from trichord.distributed import all_max, on_rank_0, rank
from trichord.encoders.adapters import is_adapter
from trichord.losses.objective import Objective
from trichord.models.embedder import Embedder
from trichord.training.criteria import all_equal
from trichord.training.sharding import full_tensor, shard_like
from trichord.training.stopping import StopRequest, stop
from trichord.training.teacher import Teacher
from trichord.types import UserError

SECONDS_BETWEEN_SAVES = 30.0
SAVE = 1
"""Code that ranks exchange after a step: 0, this, or the number of a signal, which is higher."""


def do_nothing() -> None:
    """Do nothing."""


@dataclass
class Session:
    """Model, objective and optimizer of a run with its progress.

    Every process has one; only rank 0 reads and writes files.

    Attributes:
        mark: Identifies this training in the run's directory.
        gather: Gathers the weights of a sharded model.
        request: A signal to stop, if any.
        teacher: Whose vectors are imitated, if any; it is computed again when the run is resumed.
        mined: Hard negatives of the present epoch, from `mine`; part of a checkpoint, because the weights
            that they come from are gone.
    """

    run: Run
    model: Embedder
    objective: Objective
    progress: Progress = field(default_factory=Progress)
    best: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    gather: Callable[[], None] = do_nothing
    request: StopRequest = field(default_factory=StopRequest)
    teacher: Teacher | None = None
    mined: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    _saved_at: float = field(default_factory=time.monotonic)
    _optimizer_state: dict[str, Tensor] | None = None

    def __post_init__(self) -> None:
        self.mark = on_rank_0(lambda: self.run.mark)

    def resume(self, experiment: Experiment) -> None:
        """Load the checkpoint of the run of an experiment, if there is one."""
        if (saved := on_rank_0(self.run.saved)) is None:
            return
        self.progress = saved.progress
        now = under(saved.tensors, "now.")
        for name, lora in experiment.adapters().items():
            if any(is_adapter(key) for key in under(now, f"model.{name}.")):
                self.model.encoders()[name].adapt(lora)
        load_owned(self.model, self.objective, now)
        self.best = under(saved.tensors, "best.")
        self.mined = under(saved.tensors, "mined.")
        self._optimizer_state = under(saved.tensors, "optimizer.")

    def adopt(self, optimizer: torch.optim.Optimizer) -> None:
        """Restore the state of a stage's optimizer from the loaded checkpoint."""
        if self._optimizer_state:
            restore_optimizer(optimizer, self._optimizer_state)
        self._optimizer_state = None

    def skip(self, *, empty: bool) -> None:
        """Count the present step as skipped; `after_step` counts it too.

        Args:
            empty: It had no terms; otherwise its loss or gradient was not finite.
        """
        for name in ("empty",) if empty else ("skipped", "skipped_in_a_row"):
            self.progress = replace(self.progress, **{name: getattr(self.progress, name) + 1})

    def take(self, terms: Mapping[str, Tensor]) -> None:
        """Reset the count of skipped steps in a row, and add the terms of a step to the epoch's.

        Args:
            terms: Of the loss.
        """
        sums = dict(self.progress.terms)
        # Stacked, so that a GPU is waited for once.
        values = torch.stack(list(terms.values())).tolist() if terms else []
        for name, value in zip(terms, values, strict=True):
            total, steps = sums.get(name, (0.0, 0))
            sums[name] = (total + value, steps + 1)
        self.progress = replace(self.progress, skipped_in_a_row=0, terms=sums)

    def after_step(self, optimizer: torch.optim.Optimizer, loss: float) -> None:
        """Count a step; save from time to time.

        Raises:
            TerminatedError: SIGTERM, to this process or another one; the run is saved.
            KeyboardInterrupt: SIGINT, likewise.
        """
        progress = self.progress
        self.progress = replace(progress, step=progress.step + 1, loss=progress.loss + loss)
        due = rank() == 0 and time.monotonic() - self._saved_at > SECONDS_BETWEEN_SAVES
        code = all_max(self.request.signal or (SAVE if due else 0))
        if code:
            self.save(optimizer)
        if code > SAVE:
            stop(code)

    def after_epoch(self, metrics: dict[str, Any], criterion: float | None) -> None:
        """Record an epoch's numbers, and keep its weights if they are the best so far.

        Without a criterion the newest weights are the best.
        """
        self.mined = {}
        better = criterion is None or criterion > self.progress.best
        if better:
            self.best = owned_state(self.model, self.objective)
        self.progress = replace(
            self.progress,
            epoch=self.progress.epoch + 1,
            step=0,
            loss=0.0,
            terms={},
            skipped=0,
            empty=0,
            best=self.progress.best if criterion is None else max(criterion, self.progress.best),
            best_epoch=self.progress.epoch if better else self.progress.best_epoch,
            metrics=(*self.progress.metrics, metrics),
        )

    @property
    def epochs(self) -> tuple[dict[str, Any], ...]:
        """Numbers of the stage's epochs so far; the first is before training."""
        everything = self.progress.metrics
        return everything[len(everything) - self.progress.epoch :]

    def after_stage(self, keep: str) -> None:
        """Go to the next stage with the best (or last) weights of this one.

        If all epochs have the same criterion, the last weights are used.
        """
        if keep == "best" and not all_equal([one.get("criterion") for one in self.epochs]):
            load_owned(self.model, self.objective, self.best)
        self.best = {}
        self.gather = do_nothing
        self.progress = Progress(stage=self.progress.stage + 1, metrics=self.progress.metrics)

    def require_ours(self) -> None:
        """Refuse to write into a directory in which another training has started since.

        Raises:
            UserError: Names the directory.
        """
        if self.run.mark != self.mark:
            raise UserError(
                f"{self.run.path}: another training has begun there: train into a directory of its own."
            )

    def save(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Write a checkpoint."""
        on_rank_0(self.require_ours)
        self.gather()
        parts = {
            "now.": owned_state(self.model, self.objective),
            "best.": self.best,
            "mined.": self.mined,
            "optimizer.": {} if optimizer is None else optimizer_tensors(optimizer),
        }
        tensors = {
            f"{prefix}{name}": value
            for prefix, part in parts.items()
            for name, value in part.items()
        }
        on_rank_0(lambda: self.run.save(Saved(self.progress, tensors)))
        self._saved_at = time.monotonic()


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state by parameter number and name; a collective call."""
    state = optimizer.state_dict()["state"]
    return {
        # Adafactor counts its steps in a plain number.
        f"{number}.{name}": full_tensor(torch.as_tensor(value)).to("cpu", copy=True)
        for number, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load the result of `optimizer_tensors`."""
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = shard_like(value, parameters[int(number)])
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
