"""The training loop: the epochs of one stage, and the steps of each."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trichord.checkpoint import Progress
from trichord.config import Experiment, Stage
from trichord.distributed import on_all_ranks, on_rank_0, world_size
from trichord.evaluation.scores import UnrankableError
from trichord.features.source import Source
from trichord.training.criteria import Criterion, log_entry, measure_criterion
from trichord.training.feature_norms import fit_feature_norms
from trichord.training.learner import Learner
from trichord.training.mining import mine
from trichord.training.optimizers import build_optimizer, choose_what_trains, set_rate
from trichord.training.requirements import criterion_error
from trichord.training.sampler import epoch_samples, steps_per_epoch
from trichord.training.session import Session
from trichord.training.sharding import clip_gradients, gather_weights, shard_model
from trichord.training.soundness import Buffers, is_finite, refuse_skips, refuse_unlearnt
from trichord.training.steps import backward, cached_step, data_parallel, read_batch
from trichord.types import UserError

AfterEpoch = Callable[[dict[str, Any]], None]


def run_stage(
    experiment: Experiment,
    session: Session,
    sources: Sequence[Source],
    after_epoch: AfterEpoch,
    *,
    sharded: bool,
) -> None:
    """Train or resume one stage, until its last epoch or until its criterion stops improving.

    Args:
        experiment: Of the run.
        session: Model, objective and progress.
        sources: Training clips, and clips for choosing the best epoch, if any.
        after_epoch: Called with each epoch's numbers.
        sharded: Shard the training trunks over the processes.
    """
    stage = experiment.stages[session.progress.stage]
    training, validation = sources[0], sources[1] if len(sources) > 1 else None
    choose_what_trains(session.model, stage, experiment.seed)
    learner = learner_of(session, stage, sharded=sharded)
    module = data_parallel(learner)
    optimizer = build_optimizer(stage, learner.model, learner.objective)
    session.adopt(optimizer)
    if session.progress.epoch == 0:
        if session.progress.stage == 0 and experiment.start is None:
            fit_feature_norms(session.model, training)
        note_epoch(stage, session, validation, after_epoch)
    buffers = Buffers(learner.train())
    steps = steps_per_epoch(stage, len(training.clips))
    while not stage_is_over(stage, session.progress):
        learner.train()
        place = (session.progress.stage, session.progress.epoch)
        mine_negatives(stage, session, training)
        samples = epoch_samples(
            stage,
            training.captions,
            training.clips,
            seed=experiment.seed,
            place=place,
            neighbours=session.mined.get("neighbours"),
        )
        for number, sample in enumerate(samples):
            if number < session.progress.step:
                continue  # done before an interruption
            set_rate(
                optimizer, stage.optimizer, (place[1] - 1) * steps + number, stage.epochs * steps
            )
            saved = buffers.copies()
            if stage.chunk is None:
                loss = module(*read_batch(learner, training, sample))
                backward(learner, loss)
            else:
                loss = cached_step(learner, stage, training, sample)
            stepped = move_weights(stage, session, loss, learner.values, optimizer)
            if not stepped:
                buffers.restore(saved)
            session.after_step(
                optimizer, float(loss.detach()) if stepped and loss is not None else 0.0
            )
        note_epoch(stage, session, validation, after_epoch)
    conclude_stage(experiment, stage, session)


def conclude_stage(experiment: Experiment, stage: Stage, session: Session) -> None:
    """Pass the weights of a stage to the next one, which may start with new temperatures."""
    on_all_ranks(partial(refuse_unlearnt, stage, session.epochs))
    session.after_stage(experiment.hand_over)
    if experiment.fresh_objective and session.progress.stage < len(experiment.stages):
        session.objective = experiment.objective.build(experiment.terms).to(session.model.device)
    session.save(None)


def learner_of(session: Session, stage: Stage, *, sharded: bool) -> Learner:
    """The learner of a stage, with the session's model or a sharded copy of it."""
    is_sharded = sharded and world_size() > 1 and bool(stage.towers)
    model = shard_model(session.model) if is_sharded else session.model
    session.gather = partial(gather_weights, model, session.model)
    return Learner(model, session.objective, stage, teacher=session.teacher, sharded=is_sharded)


def move_weights(
    stage: Stage,
    session: Session,
    loss: Tensor | None,
    terms: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> bool:
    """Take an optimizer step with the present gradients; returns whether it did.

    Args:
        stage: The present stage.
        session: Counts skipped steps.
        loss: Of the mini-batch; None if it has no terms.
        terms: Of the loss, for the log.
        optimizer: Of the stage.

    Raises:
        UserError: Too many losses or gradients in a row are not finite, or too many first steps are empty.
    """
    trained = [one for group in optimizer.param_groups for one in group["params"]]
    if loss is None or not is_finite(loss, trained):
        optimizer.zero_grad(set_to_none=True)
        session.skip(empty=loss is None)
        on_all_ranks(lambda: refuse_skips(stage, session.progress))
        return False
    session.take(terms)
    clip_gradients(trained, stage.clip_norm)
    optimizer.step()
    session.objective.clamp_scales()
    optimizer.zero_grad(set_to_none=True)
    return True


def mine_negatives(stage: Stage, session: Session, training: Source) -> None:
    """Mine the hard negatives of an epoch, unless a checkpoint within the epoch has them.

    Raises:
        UserError: The training has diverged.
    """
    # Before the first epoch a new head is random, and so would be its negatives.
    if not stage.negatives or session.progress.epoch < 2 or session.mined:
        return
    try:
        session.mined = on_rank_0(lambda: mine(session.model, training, stage))
    except UnrankableError as error:
        where = f"Stage '{stage.name}', epoch {session.progress.epoch}"
        raise divergence_error(where, str(error).rstrip("."), session) from error


def note_epoch(
    stage: Stage, session: Session, validation: Source | None, after_epoch: AfterEpoch
) -> None:
    """Measure the criterion, keep the best weights, and report the epoch's numbers."""
    session.gather()
    criterion = on_rank_0(lambda: epoch_criterion(stage, session, validation))
    now = session.progress
    taken = now.step - now.skipped - now.empty
    numbers: dict[str, Any] = {
        "stage": stage.name,
        "epoch": now.epoch,
        "loss": now.loss / taken if taken else None,
        "terms": {name: total / steps for name, (total, steps) in now.terms.items()},
        "steps": now.step,
        "skipped": now.skipped,
        "empty": now.empty,
        **log_entry(criterion),
        "split": validation.clips[0].split if validation is not None else None,
        "scales": session.objective.scales(),
    }
    if weights := session.objective.learned_weights():
        numbers["weights"] = weights
    if mined := session.mined:
        without = int((mined["neighbours"] < 0).all(dim=1).sum())
        numbers["negatives"] = {"near duplicates": int(mined["near"]), "clips without": without}
    session.after_epoch(numbers, None if criterion is None else criterion.value)
    after_epoch(numbers)


def epoch_criterion(stage: Stage, session: Session, validation: Source | None) -> Criterion | None:
    """The criterion of an epoch; None without criterion or validation clips.

    Raises:
        UserError: The validation clips lack what it needs, or the training has diverged.
    """
    if validation is None or not stage.criterion:
        return None
    where = f"Stage '{stage.name}', epoch {session.progress.epoch}"
    try:
        criterion = measure_criterion(session.model, validation, stage.criterion)
    except UnrankableError as error:
        raise divergence_error(where, str(error).rstrip("."), session) from error
    if criterion is None:
        raise criterion_error(stage)
    if not math.isfinite(criterion.value):
        raise divergence_error(where, f"the {criterion.measure} is {criterion.value}", session)
    return criterion


def divergence_error(where: str, what: str, session: Session) -> UserError:
    """The error for vectors that are not finite."""
    if session.progress.epoch == 0:
        return UserError(
            f"{where}, before any training: {what}: let 'trichord doctor' look at the clips."
        )
    number = session.progress.stage
    return UserError(
        f"{where}: {what}: training has diverged; train into another directory with a lower "
        f"--stages.{number}.optimizer.lr."
    )


def stage_is_over(stage: Stage, progress: Progress) -> bool:
    """Whether a stage has reached its last epoch or the end of its patience."""
    waited = progress.epoch - 1 - progress.best_epoch
    return progress.epoch > stage.epochs or waited >= stage.patience
