"""Training: stages of an experiment, one loop for features and media alike."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from trichord.checkpoint import Progress, Run
from trichord.config import Experiment, Stage
from trichord.distributed import agreed, ranks, together
from trichord.features.source import Source
from trichord.models.embedder import Embedder
from trichord.training.criteria import criteria
from trichord.training.learner import Learner
from trichord.training.optimizers import build_optimizer, set_rate
from trichord.training.requirements import require_all
from trichord.training.sampler import epoch_samples, steps_per_epoch
from trichord.training.session import Session
from trichord.training.sharding import bring_home, clip_gradients, twin_of
from trichord.training.steps import Step, cached, plain
from trichord.types import UserError

AfterEpoch = Callable[[dict[str, Any]], None]


def train(
    experiment: Experiment,
    model: Embedder,
    sources: Sequence[Source],
    run: Run,
    *,
    manifest: str,
    after_epoch: AfterEpoch,
    sharded: bool = False,
) -> None:
    """Carry out the stages of an experiment and write the run; goes on where an earlier try stopped.

    Under several processes all call this, and rank 0 alone reads and writes the run.

    Args:
        experiment: What to do.
        model: Its model, as pretrained.
        sources: Clips to learn from, and clips that choose the best epoch of each stage; the test
            split is never seen. None are needed where there is nothing to train, and none to choose
            by where the last epoch is handed on.
        run: Where to; made, or gone on with.
        manifest: Signature of the file that the clips come from.
        after_epoch: Told each epoch's numbers.
        sharded: Spread the trunks that train over the processes.

    Raises:
        UserError: The clips lack a modality or the captions that a stage needs, or a stage cannot be
            trained as it is asked for.
    """
    together(lambda: require_all(experiment, sources, sharded=sharded))
    validation = sources[1] if len(sources) > 1 else None
    agreed(lambda: run.start(experiment, manifest))
    session = Session(run, model, experiment.objective.build(experiment.terms).to(model.device))
    session.resume()
    while session.progress.stage < len(experiment.stages):
        number = session.progress.stage
        stage = experiment.stages[number]
        choose_what_trains(model, stage)
        learner = learner_of(session, stage, sharded=sharded)
        train_stage(stage, session, learner, (sources[0], validation), experiment.seed, after_epoch)
        session.after_stage(experiment.hand_over)
        if experiment.fresh_objective and session.progress.stage < len(experiment.stages):
            session.objective = experiment.objective.build(experiment.terms).to(model.device)
        session.save(None)
    agreed(lambda: run.finish(model, session.objective, session.progress))


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
    while not finished(stage, session.progress):
        learner.train()
        train_epoch(stage, session, training, step, optimizer, seed)
        note_epoch(stage, session, validation, after_epoch)


def train_epoch(
    stage: Stage,
    session: Session,
    training: Source,
    step: Step,
    optimizer: torch.optim.Optimizer,
    seed: int,
) -> None:
    """The steps of one epoch from where the session stands."""
    trained = [one for group in optimizer.param_groups for one in group["params"]]
    place = (session.progress.stage, session.progress.epoch)
    samples = epoch_samples(stage, training.captions, training.clips, seed=seed, place=place)
    steps = steps_per_epoch(stage, len(training.clips))
    before = (place[1] - 1) * steps
    for number, sample in enumerate(samples):
        if number < session.progress.step:
            continue  # taken before an interruption
        loss = step(training, sample)
        if loss is not None:
            set_rate(optimizer, stage.optimizer, before + number, stage.epochs * steps)
            clip_gradients(trained, stage.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        session.after_step(optimizer, 0.0 if loss is None else float(loss.detach()))


def note_epoch(
    stage: Stage, session: Session, validation: Source | None, after_epoch: AfterEpoch
) -> None:
    """Measure the criterion on the validation clips, keep the best weights, tell the caller."""
    session.gather()
    reached = agreed(lambda: measured(stage, session.model, validation))
    criterion = sum(reached.values()) / len(reached) if reached else None
    now = session.progress
    numbers = {
        "stage": stage.name,
        "epoch": now.epoch,
        "loss": now.loss / now.step if now.step else None,
        "criterion": criterion,
        "validation": reached,
        "scales": session.objective.scales(),
    }
    session.after_epoch(numbers, criterion)
    after_epoch(numbers)


def measured(stage: Stage, model: Embedder, validation: Source | None) -> dict[str, float]:
    """What the criterion is the mean of; nothing where there are no validation clips.

    Raises:
        UserError: The validation clips lack what it needs.
    """
    if validation is None:
        return {}
    reached = criteria(model, validation, stage.criterion)
    if not reached:
        raise UserError(
            f"The validation clips allow nothing that chooses the best epoch of stage "
            f"'{stage.name}' ({', '.join(stage.criterion)}): add captions or media to that split."
        )
    return reached


def finished(stage: Stage, progress: Progress) -> bool:
    """Whether a stage has had its epochs or its patience is at an end."""
    waited = progress.epoch - 1 - progress.best_epoch
    return progress.epoch > stage.epochs or waited >= stage.patience


def choose_what_trains(model: Embedder, stage: Stage) -> None:
    """Let heads, trunks, and a fusion or a captioner train, as far as the stage asks for them."""
    for name, encoder in model.encoders().items():
        encoder.head.requires_grad_(name in stage.trains)
        if name in stage.towers:
            encoder.thaw_trunk()
        else:
            encoder.freeze_trunk()
    asked = {term for draw in stage.draws for term in draw.terms}
    if model.fusion is not None:
        model.fusion.let_train("ct" in asked)
    if model.captioner is not None:
        model.captioner.let_train("lm" in asked)
