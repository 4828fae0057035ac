"""Training: stages of an experiment, one loop for features and media alike."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from trichord.checkpoint import Origin, Progress, Run
from trichord.config import Experiment, Stage, check
from trichord.distributed import agreed, largest, ranks, together
from trichord.evaluation.scores import UnrankableError
from trichord.features.source import Source
from trichord.models.embedder import Embedder
from trichord.training.criteria import Criterion, as_logged, measure_criterion
from trichord.training.learner import Learner
from trichord.training.optimizers import build_optimizer, set_rate
from trichord.training.requirements import require_all, require_masks, unmeasurable
from trichord.training.sampler import epoch_samples, steps_per_epoch
from trichord.training.session import Session, nothing
from trichord.training.sharding import bring_home, clip_gradients, twin_of
from trichord.training.soundness import (
    Buffers,
    is_finite,
    refuse_idle,
    refuse_unfinite,
    refuse_unlearnt,
    refuse_unsound,
)
from trichord.training.steps import Step, cached, plain
from trichord.training.stopping import letting_go, stop, stoppable
from trichord.types import UserError
from trichord.types.rng import isolated_rng
from trichord.types.terms import term_of

AfterEpoch = Callable[[dict[str, Any]], None]


def train(
    experiment: Experiment,
    model: Embedder,
    sources: Sequence[Source],
    run: Run,
    *,
    manifest: str | Origin,
    after_epoch: AfterEpoch,
    sharded: bool = False,
    conclude: Callable[[], None] = nothing,
) -> None:
    """Carry out the stages of an experiment and write the run; goes on where an earlier try stopped.

    A run that is complete is left as it is, and the model is given its weights. Under several
    processes all call this, and rank 0 alone reads and writes the run. SIGTERM and SIGINT are heeded
    after the step at hand, when the run is saved. Torch's random numbers and the signals' handlers are
    afterwards what they were.

    Args:
        experiment: What to do.
        model: Its model, as pretrained.
        sources: Clips to learn from, and clips that choose the best epoch of each stage: those of the
            test split only where the experiment selects on test. None are needed where there is nothing
            to train, and none to choose by where the last epoch is handed on.
        run: Where to; made, or gone on with.
        manifest: Where the clips come from, or just the signature of their manifest.
        after_epoch: Told each epoch's numbers.
        sharded: Spread the trunks that train over the processes.
        conclude: What rank 0 does with the trained model before the run is complete.

    Raises:
        UserError: A value of the experiment is impossible, the clips lack a modality or the captions
            that a stage needs, a stage cannot be trained as it is asked for, it learns nothing or
            diverges, or the disk is full.
        TerminatedError: SIGTERM came.
        KeyboardInterrupt: SIGINT came.
    """
    together(lambda: check(experiment))
    together(lambda: require_all(experiment, sources, sharded=sharded))
    if sources:
        together(lambda: require_masks(experiment, model, sources[0]))
    agreed(lambda: run.start(experiment, manifest))
    if agreed(lambda: run.complete):
        agreed(run.remove_checkpoints)
        together(lambda: run.restore(model))
        return
    objective = experiment.objective.build(experiment.terms).to(model.device)
    with isolated_rng(), stoppable() as request, letting_go():
        carry_out(
            experiment,
            Session(run, model, objective, request=request),  # let go of with its frames
            sources,
            after_epoch,
            sharded=sharded,
            conclude=conclude,
        )


def carry_out(
    experiment: Experiment,
    session: Session,
    sources: Sequence[Source],
    after_epoch: AfterEpoch,
    *,
    sharded: bool,
    conclude: Callable[[], None],
) -> None:
    """All that is left to do of a run, from its last checkpoint to its weights."""
    session.resume()
    train_stages(experiment, session, sources, after_epoch, sharded=sharded)
    together(
        lambda: refuse_unfinite([*session.model.parameters(), *session.objective.parameters()])
    )
    agreed(session.require_ours)
    agreed(conclude)
    agreed(lambda: session.run.finish(session.model, session.objective, session.progress))
    if wanted := largest(session.request.signal):
        stop(wanted)  # too late for this run, but perhaps others were to follow


def train_stages(
    experiment: Experiment,
    session: Session,
    sources: Sequence[Source],
    after_epoch: AfterEpoch,
    *,
    sharded: bool,
) -> None:
    """The stages of an experiment from where the session stands; each hands its weights on."""
    model = session.model
    validation = sources[1] if len(sources) > 1 else None
    while session.progress.stage < len(experiment.stages):
        number = session.progress.stage
        stage = experiment.stages[number]
        choose_what_trains(model, stage)
        learner = learner_of(session, stage, sharded=sharded)
        train_stage(stage, session, learner, (sources[0], validation), experiment.seed, after_epoch)
        together(partial(refuse_unlearnt, stage, session.epochs))
        session.after_stage(experiment.hand_over)
        if experiment.fresh_objective and session.progress.stage < len(experiment.stages):
            session.objective = experiment.objective.build(experiment.terms).to(model.device)
        session.save(None)


def learner_of(session: Session, stage: Stage, *, sharded: bool) -> Learner:
    """What learns in a stage: the session's model itself, or its twin that is spread over processes."""
    spread = sharded and ranks() > 1 and bool(stage.towers)
    model = twin_of(session.model) if spread else session.model
    session.gather = partial(bring_home, model, session.model)
    return Learner(model, session.objective, stage, sharded=spread)


def train_stage(
    stage: Stage,
    session: Session,
    learner: Learner,
    sources: tuple[Source, Source | None],
    seed: int,
    after_epoch: AfterEpoch,
) -> None:
    """One stage: epochs until the criterion has not improved for `patience` of them."""
    training, validation = sources
    optimizer = build_optimizer(stage, learner.model, learner.objective)
    session.adopt(optimizer)
    step = plain(learner, stage) if stage.chunk is None else cached(learner, stage)
    if session.progress.epoch == 0:
        note_epoch(stage, session, validation, after_epoch)
    buffers = Buffers(learner.train())
    while not finished(stage, session.progress):
        learner.train()
        train_epoch(stage, session, training, step, optimizer, buffers, seed)
        note_epoch(stage, session, validation, after_epoch)


def train_epoch(
    stage: Stage,
    session: Session,
    training: Source,
    step: Step,
    optimizer: torch.optim.Optimizer,
    buffers: Buffers,
    seed: int,
) -> None:
    """The steps of one epoch from where the session stands."""
    place = (session.progress.stage, session.progress.epoch)
    samples = epoch_samples(stage, training.captions, training.clips, seed=seed, place=place)
    steps = steps_per_epoch(stage, len(training.clips))
    before = (place[1] - 1) * steps
    for number, sample in enumerate(samples):
        if number < session.progress.step:
            continue  # taken before an interruption
        set_rate(optimizer, stage.optimizer, before + number, stage.epochs * steps)
        held = buffers.held()
        loss = take_step(stage, session, partial(step, training, sample), optimizer)
        if loss is None:
            buffers.put_back(held)
        session.after_step(optimizer, loss or 0.0)


def take_step(
    stage: Stage,
    session: Session,
    step: Callable[[], Tensor | None],
    optimizer: torch.optim.Optimizer,
) -> float | None:
    """Move the weights by one mini-batch and give its loss; None, and no move, where it has none.

    Args:
        stage: At hand.
        session: Counts what is skipped.
        step: Leaves the gradient with the parameters and gives the loss.
        optimizer: Of the stage.

    Raises:
        UserError: Too many losses or gradients in a row were not finite, or too many first steps empty.
    """
    trained = [one for group in optimizer.param_groups for one in group["params"]]
    loss = step()
    if loss is None:
        session.skip(empty=True)
        together(lambda: refuse_idle(stage, session.progress))
        return None
    if not is_finite(loss, trained):
        optimizer.zero_grad(set_to_none=True)
        session.skip(empty=False)
        together(lambda: refuse_unsound(stage, session.progress))
        return None
    session.take()
    clip_gradients(trained, stage.clip_norm)
    optimizer.step()
    session.objective.clamp_scales()
    optimizer.zero_grad(set_to_none=True)
    return float(loss.detach())


def note_epoch(
    stage: Stage, session: Session, validation: Source | None, after_epoch: AfterEpoch
) -> None:
    """Measure the criterion on the clips that choose, keep the best weights, tell the caller."""
    session.gather()
    reached = agreed(lambda: measured(stage, session, validation))
    now = session.progress
    counted = now.step - now.skipped - now.empty
    numbers: dict[str, Any] = {
        "stage": stage.name,
        "epoch": now.epoch,
        "loss": now.loss / counted if counted else None,
        "steps": now.step,
        "skipped": now.skipped,
        "empty": now.empty,
        **as_logged(reached),
        "split": validation.clips[0].split if validation is not None else None,
        "scales": session.objective.scales(),
    }
    session.after_epoch(numbers, None if reached is None else reached.value)
    after_epoch(numbers)


def measured(stage: Stage, session: Session, validation: Source | None) -> Criterion | None:
    """The criterion of an epoch; None where there is none, or no validation clips.

    Raises:
        UserError: The validation clips lack what it needs, or the model has diverged.
    """
    if validation is None or not stage.criterion:
        return None
    where = f"Stage '{stage.name}', epoch {session.progress.epoch}"
    try:
        reached = measure_criterion(session.model, validation, stage.criterion)
    except UnrankableError as error:
        raise diverged(where, str(error).rstrip("."), session) from error
    if reached is None:
        raise unmeasurable(stage)
    if not math.isfinite(reached.value):
        raise diverged(where, f"the {reached.measure} is {reached.value}", session)
    return reached


def diverged(where: str, what: str, session: Session) -> UserError:
    """What to say of a model whose vectors are no longer any."""
    if session.progress.epoch == 0:
        return UserError(
            f"{where}, before any training: {what}: let 'trichord doctor' look at the clips."
        )
    number = session.progress.stage
    return UserError(
        f"{where}: {what}: training has diverged; train into another directory with a lower "
        f"--stages.{number}.optimizer.lr."
    )


def finished(stage: Stage, progress: Progress) -> bool:
    """Whether a stage has had its epochs or its patience is at an end."""
    waited = progress.epoch - 1 - progress.best_epoch
    return progress.epoch > stage.epochs or waited >= stage.patience


def choose_what_trains(model: Embedder, stage: Stage) -> None:
    """Let heads, trunks, and a fusion or a captioner train, as far as the stage asks for them."""
    for name, encoder in model.encoders().items():
        encoder.head.requires_grad_(name in stage.trains)
        if name in stage.towers:
            encoder.unfreeze()
        else:
            encoder.freeze_trunk()
    losses = {term_of(name).loss for name in stage.terms}
    if model.fusion is not None:
        model.fusion.let_train("fused" in losses)
    if model.captioner is not None:
        model.captioner.let_train("words" in losses)
