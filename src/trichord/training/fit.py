"""Training of an experiment, on features or media, in one process or several."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial

from trichord.checkpoint import Origin, Run
from trichord.config import Experiment, towers_beside
from trichord.distributed import all_max, on_all_ranks, on_rank_0
from trichord.evaluation.vectors import embed_source
from trichord.evaluation.weighting import learn_weighting
from trichord.features.source import FeatureSource, Source
from trichord.models.embedder import Embedder
from trichord.training.loop import AfterEpoch, run_stage
from trichord.training.requirements import require_trainable
from trichord.training.session import Session, do_nothing
from trichord.training.soundness import refuse_unfinite
from trichord.training.stopping import freeing_memory, stop, stoppable
from trichord.training.teacher import open_teacher, teach
from trichord.types.files import write_atomically
from trichord.types.rng import isolated_rng
from trichord.types.threads import torch_threads

SMALL = 2**28
"""Multiply-adds of a batch's heads below which one thread is faster: on two cores 2.4 times as fast as two
threads at 2**23."""


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
    """Train the stages of an experiment and write the run; resumes an interrupted run.

    A complete run is not changed, and the model gets its weights. In distributed training all processes
    call this, and only rank 0 reads and writes the run. SIGTERM and SIGINT take effect after the present
    step, when the run is saved. Torch's random state and the signal handlers are restored at the end.

    Args:
        experiment: To train.
        model: Its model, pretrained.
        sources: Training clips, and clips for choosing the best epoch of each stage: of the test split
            only if the experiment selects on test. Empty if there are no stages; without the second if
            the last epoch is used.
        run: The run to write or resume.
        manifest: Origin of the clips, or only the signature of their manifest.
        after_epoch: Called with each epoch's numbers.
        sharded: Shard the training trunks over the processes.
        conclude: Called by rank 0 with the trained model, before the run is complete.

    Raises:
        UserError: A value of the experiment is impossible, the clips lack a modality or captions that
            a stage needs, the teacher does not fit, a stage learns nothing or diverges, or the disk is
            full.
        TerminatedError: SIGTERM came.
        KeyboardInterrupt: SIGINT came.
    """
    on_all_ranks(lambda: require_trainable(experiment, model, sources, sharded=sharded))
    taught = experiment.teacher is not None and not on_rank_0(lambda: run.complete)
    teacher = on_all_ranks(lambda: open_teacher(experiment, model, sources[0])) if taught else None
    on_rank_0(lambda: run.start(towers_beside(experiment, run.path), manifest))
    if on_rank_0(lambda: run.complete):
        on_rank_0(run.remove_checkpoints)
        on_all_ranks(lambda: run.restore(model))
        return
    objective = experiment.objective.build(experiment.terms).to(model.device)
    with isolated_rng(), stoppable() as request, freeing_memory():
        session = Session(run, model, objective, request=request)
        try:
            session.resume(experiment)
            if teacher is not None:
                # By rank 0 for all: so they have equal numbers, and the media are read once.
                session.teacher = on_rank_0(partial(teach, experiment, *teacher))
                del teacher
            while session.progress.stage < len(experiment.stages):
                run_stage(experiment, session, sources, after_epoch, sharded=sharded)
            weights = [*model.parameters(), *session.objective.parameters()]
            on_all_ranks(partial(refuse_unfinite, weights))
            on_rank_0(session.require_ours)
            on_rank_0(conclude)
            on_rank_0(partial(run.finish, model, session.objective, session.progress))
            for encoder in model.encoders().values():
                encoder.merge_adapters()
            if requested := all_max(request.signal):
                stop(requested)  # too late for this run, but there may be more runs
        finally:
            del session  # so that an error's frames keep nothing of it: see `freeing_memory`


def learn_search_weights(
    run: Run, experiment: Experiment, model: Embedder, sources: Sequence[Source]
) -> None:
    """Learn the visual and audio weights of searches with a run's model, and write them into the run.

    Nothing is learned without validation clips, on the test split, or if the experiment lacks a
    modality.
    """
    chosen_here = len(sources) == 2 and not experiment.select_on_test
    if not chosen_here or not {"text", "audio", "vision"} <= set(experiment.modalities):
        return
    try:
        weighting = learn_weighting(embed_source(model, sources[1]))
    except ValueError:  # fewer than two validation clips have captions
        return
    write_atomically(run.path / "weighting.json", json.dumps(asdict(weighting), indent=2) + "\n")


@contextmanager
def fitting_threads(experiment: Experiment, sources: Sequence[Source]) -> Generator[None]:
    """Use one thread for small heads, and restore the number of threads afterwards."""
    batch = max((stage.batch_size for stage in experiment.stages), default=0)
    small = any(
        isinstance(source, FeatureSource) and source.work_per_clip * batch < SMALL
        for source in sources
    )
    with torch_threads(1 if small else None):
        yield
