"""Training: an experiment carried out, on features and media alike, in one process or several."""

from collections.abc import Callable, Sequence

from trichord.checkpoint import Origin, Run
from trichord.config import Experiment, check
from trichord.distributed import agreed, largest, together
from trichord.features.source import Source
from trichord.models.embedder import Embedder
from trichord.training.loop import AfterEpoch, run_stage
from trichord.training.requirements import require_all, require_masks
from trichord.training.session import Session, do_nothing
from trichord.training.soundness import refuse_unfinite
from trichord.training.stopping import freeing_memory, stop, stoppable
from trichord.types.rng import isolated_rng


def fit(
    experiment: Experiment,
    model: Embedder,
    sources: Sequence[Source],
    run: Run,
    *,
    manifest: str | Origin,
    after_epoch: AfterEpoch,
    sharded: bool = False,
    conclude: Callable[[], None] = do_nothing,
) -> None:
    """Train the stages of an experiment and write the run; goes on where an earlier call stopped.

    A run that is complete is left as it is, and the model is given its weights. Under several
    processes all call this, and rank 0 alone reads and writes the run. SIGTERM and SIGINT take effect
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
    with isolated_rng(), stoppable() as request, freeing_memory():
        session = Session(run, model, objective, request=request)
        try:
            session.resume()
            while session.progress.stage < len(experiment.stages):
                run_stage(experiment, session, sources, after_epoch, sharded=sharded)
            finish(session, conclude)
        finally:
            del session  # the frames of an error hold on to nothing of it: see `freeing_memory`


def finish(session: Session, conclude: Callable[[], None]) -> None:
    """Write the weights of a run whose stages are done."""
    together(
        lambda: refuse_unfinite([*session.model.parameters(), *session.objective.parameters()])
    )
    agreed(session.require_ours)
    agreed(conclude)
    agreed(lambda: session.run.finish(session.model, session.objective, session.progress))
    if requested := largest(session.request.signal):
        stop(requested)  # too late for this run, but perhaps others were to follow
