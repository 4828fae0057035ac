"""Training: stages of an experiment, one loop for features and media alike."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from trichord.checkpoint import Progress, Run
from trichord.config import Experiment, Stage
from trichord.features.source import Source
from trichord.models.embedder import Embedder
from trichord.training.criteria import criteria
from trichord.training.optimizers import build_optimizer, set_rate
from trichord.training.sampler import epoch_samples, steps_per_epoch
from trichord.training.session import Session
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
) -> None:
    """Carry out the stages of an experiment and write the run; goes on where an earlier try stopped.

    Args:
        experiment: What to do.
        model: Its model, as pretrained.
        sources: Clips to learn from, and clips that choose the best epoch of each stage; the test
            split is never seen. None are needed where there is nothing to train, and none to choose
            by where the last epoch is handed on.
        run: Where to; made, or gone on with.
        manifest: Signature of the file that the clips come from.
        after_epoch: Told each epoch's numbers.

    Raises:
        UserError: The clips lack a modality or the captions that a stage needs.
    """
    for stage in experiment.stages:
        require_heads(stage)
        require_captions(stage, sources[0])
    validation = sources[1] if len(sources) > 1 else None
    run.start(experiment, manifest)
    session = Session(run, model, experiment.objective.build(experiment.terms).to(model.device))
    session.resume()
    while session.progress.stage < len(experiment.stages):
        number = session.progress.stage
        stage = experiment.stages[number]
        choose_what_trains(model, stage)
        train_stage(stage, session, (sources[0], validation), experiment.seed, after_epoch)
        session.after_stage(experiment.hand_over)
        if experiment.fresh_objective and session.progress.stage < len(experiment.stages):
            session.objective = experiment.objective.build(experiment.terms).to(model.device)
        session.save(None)
    run.finish(model, session.objective, session.progress)


def train_stage(
    stage: Stage,
    session: Session,
    sources: tuple[Source, Source | None],
    seed: int,
    after_epoch: AfterEpoch,
) -> None:
    """One stage: epochs until the criterion has not improved for `patience` of them."""
    training, validation = sources
    optimizer = build_optimizer(stage, session.model, session.objective)
    session.adopt(optimizer)
    if session.progress.epoch == 0:
        note_epoch(stage, session, validation, after_epoch)
    while not finished(stage, session.progress):
        train_epoch(stage, session, training, optimizer, seed)
        note_epoch(stage, session, validation, after_epoch)


def train_epoch(
    stage: Stage, session: Session, training: Source, optimizer: torch.optim.Optimizer, seed: int
) -> None:
    """The steps of one epoch from where the session stands."""
    model, objective = session.model.train(), session.objective
    trained = [one for group in optimizer.param_groups for one in group["params"]]
    place = (session.progress.stage, session.progress.epoch)
    samples = epoch_samples(stage, training.captions, training.clips, seed=seed, place=place)
    steps = steps_per_epoch(stage, len(training.clips))
    before = (place[1] - 1) * steps
    for number, sample in enumerate(samples):
        if number < session.progress.step:
            continue  # taken before an interruption
        # Towers and fusions may have dropout; its randomness must survive an interruption.
        torch.manual_seed(hash((seed, *place, number)))
        batch = training.batch(sample.clips, sample.captions, sample.masking).to(model.device)
        with autocast(stage, model.device):
            embeddings = model(batch)
        terms = objective(embeddings, sample.terms)
        parts = [sample.weights[name] * term for name, term in terms.items()]
        loss = torch.stack(parts).sum() if parts else None
        if loss is not None:
            set_rate(optimizer, stage.optimizer, before + number, stage.epochs * steps)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, stage.clip_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        session.after_step(optimizer, 0.0 if loss is None else float(loss.detach()))


def note_epoch(
    stage: Stage, session: Session, validation: Source | None, after_epoch: AfterEpoch
) -> None:
    """Measure the criterion on the validation clips, keep the best weights, tell the caller."""
    reached: dict[str, float] = {}
    if validation is not None:
        reached = criteria(session.model, validation, stage.criterion)
        if not reached:
            raise UserError(
                f"The validation clips allow nothing that chooses the best epoch of stage "
                f"'{stage.name}' ({', '.join(stage.criterion)}): add captions or media to that split."
            )
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


def finished(stage: Stage, progress: Progress) -> bool:
    """Whether a stage has had its epochs or its patience is at an end."""
    waited = progress.epoch - 1 - progress.best_epoch
    return progress.epoch > stage.epochs or waited >= stage.patience


def autocast(stage: Stage, device: torch.device) -> torch.autocast:
    """The precision of a stage's forward pass."""
    half = stage.precision == "bfloat16" or (stage.precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16, enabled=half)


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


def require_heads(stage: Stage) -> None:
    """Refuse to train a trunk behind a head that does not train.

    Raises:
        UserError: Names the encoder.
    """
    if idle := set(stage.towers) - set(stage.trains):
        raise UserError(
            f"Stage '{stage.name}' trains the trunk of {', '.join(sorted(idle))} but not its head: "
            "add it to --stages.N.trains or take it out of --stages.N.towers."
        )


def require_captions(stage: Stage, source: Source) -> None:
    """Refuse clips without the captions that a stage draws from.

    Raises:
        UserError: Says which captions are needed and which there are.
    """
    there = {kind: len(numbers) for kind, numbers in source.captions.numbers.items()}
    for draw in stage.draws:
        if draw.captions and not any(there.get(kind) for kind in draw.captions):
            held = ", ".join(f"{count} {kind}" for kind, count in there.items()) or "none at all"
            raise UserError(
                f"Stage '{stage.name}' needs {' or '.join(draw.captions)} captions; the training "
                f"clips have {held}: choose an experiment that fits, or add captions."
            )
