"""`trichord train`: an experiment carried out."""

import json
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from trichord.api.model import device_of
from trichord.cli.console import aside, bar, out
from trichord.cli.options import checked
from trichord.cli.sources import folder_of, source_of
from trichord.config import WORDS, Experiment, check
from trichord.experiments import EXPERIMENTS
from trichord.types import Clip, Modality, UserError
from trichord.types.rules import (
    Device,
    Distinct,
    InputFile,
    InputFolder,
    OutputFolder,
    Seed,
)
from trichord.types.threads import set_torch_threads

if TYPE_CHECKING:
    from trichord.checkpoint import Run
    from trichord.features.source import Source
    from trichord.media import Decoder
    from trichord.models.embedder import Embedder


@dataclass(frozen=True, kw_only=True)
class Spreading:
    """How training is spread over processes."""

    sharding: bool = False
    """Spread towers that train over the processes that torchrun started, for towers too large for one GPU;
    otherwise each process has all of them."""


ALONE = Spreading()


@dataclass(frozen=True, kw_only=True)
class Training:
    """What `trichord train` was asked for."""

    manifest: Path
    run: Path
    experiment: Experiment
    seeds: tuple[int, ...]
    source: Literal["features", "media"]
    features: Path | None
    device: str
    spreading: Spreading = ALONE


def train(arguments: list[str]) -> None:
    """`trichord train EXPERIMENT MANIFEST RUN [--overrides]`, in one process or in each of several."""
    leads = os.environ.get("RANK", "0") == "0"
    quiet_spreading()
    try:
        chosen = asked(arguments, aloud=leads)
        if chosen is not None:
            check(chosen.experiment)
    except UserError:
        if leads:
            raise
        sys.exit(2)
    if chosen is not None:
        train_spread(chosen)


def quiet_spreading() -> None:
    """Before torch is imported: DDP would warn that its search for heads left unused may be needless."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def asked(arguments: list[str], *, aloud: bool) -> Training | None:
    """What the command line asks for; None where that was the list of experiments.

    Args:
        arguments: Of the command.
        aloud: Say what is wrong with them.

    Raises:
        UserError: No such experiment.
    """
    if not arguments or arguments[0].startswith("-"):
        lines = [f"  {name:<30} {what}" for name, (what, _) in EXPERIMENTS.items()]
        usage = "usage: trichord train EXPERIMENT MANIFEST RUN [--overrides]"
        if arguments and arguments[0] not in ("-h", "--help"):
            raise UserError("the experiment comes first: 'trichord train --help' lists them.")
        out.print("\n".join([usage, "", "experiments:", *lines]), markup=False)
        return None
    name = arguments[0]
    if name not in EXPERIMENTS:
        close = get_close_matches(name, EXPERIMENTS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "'trichord train --help' lists them."
        raise UserError(f"there is no experiment '{name}': {hint}")

    @checked
    def run(
        manifest: Annotated[Path, tyro.conf.arg(metavar="MANIFEST"), InputFile()],
        run: Annotated[Path, tyro.conf.arg(metavar="RUN"), OutputFolder()],
        /,
        *,
        seeds: Annotated[tuple[Seed, ...], Distinct()] = (),
        source: Annotated[Literal["features", "media"], tyro.conf.arg(name="from")] = "features",
        features: Annotated[Path | None, InputFolder(bucket=True)] = None,
        device: Device = "auto",
        spreading: Annotated[Spreading, tyro.conf.arg(name="")] = ALONE,
        experiment: Annotated[Experiment, tyro.conf.arg(name="")] = EXPERIMENTS[name][1],
    ) -> Training:
        """Train an experiment on a manifest; repeat the command to go on after an interruption.

        Args:
            manifest: Clips as JSON lines, with the splits 'train' and 'val'.
            run: The run directory to make.
            seeds: Several seeds make several runs, RUN/seed-0 and so on.
            source: Read cached features and decode only for towers that train, or decode everything.
            features: Where the cached features lie; beside the manifest if not given.
            device: cpu, cuda, cuda:N, mps, or whichever is there.
            spreading: How training is spread over processes.
            experiment: What to do; every field can be changed.
        """
        return Training(
            manifest=manifest,
            run=run,
            experiment=experiment,
            seeds=seeds,
            source=source,
            features=features,
            device=device,
            spreading=spreading,
        )

    return tyro.cli(
        run,
        args=arguments[1:],
        config=(tyro.conf.AvoidSubcommands,),
        prog=f"trichord train {name}",
        console_outputs=aloud,
    )


def train_spread(chosen: Training) -> None:
    """Train as one of the processes that torchrun started, if it did; rank 0 speaks for all."""
    from trichord.distributed import EchoError, joined, rank

    try:
        with joined(device_of(chosen.device)):
            out.quiet = aside.quiet = rank() > 0
            train_chosen(chosen)
    except EchoError:
        sys.exit(2)


def train_chosen(chosen: Training) -> None:
    """Train each seed, or the experiment's own into the run directory itself."""
    from trichord.checkpoint import fresh_model
    from trichord.corpora.manifest import read_manifest
    from trichord.distributed import agreed, together
    from trichord.encoders.weight_cache import shared_towers
    from trichord.media import Decoder

    splits = together(lambda: splits_of(read_manifest(chosen.manifest), chosen.experiment))
    todo = agreed(lambda: untrained(chosen))
    if not todo:
        return
    with termination_told(chosen.run), Decoder() as decoder, shared_towers():
        shelf = Shelf(chosen, splits, decoder)
        for run, experiment in todo:
            model = together(partial(fresh_model, experiment))
            sources = together(partial(shelf.sources, model))
            settle_threads(experiment, sources)
            train_one(run, experiment, model, sources, chosen)


@contextmanager
def termination_told(place: Path) -> Generator[None]:
    """Say, where SIGTERM ends a training, that it is saved."""
    from trichord.training.stopping import TerminatedError

    try:
        yield
    except TerminatedError:
        aside.print(f"{place}: terminated and saved; repeat the command to go on.")
        raise


class Shelf:
    """What runs learn from, opened once for all seeds unless one draws a frozen tower of its own."""

    def __init__(
        self, chosen: Training, splits: "Sequence[Sequence[Clip]]", decoder: "Decoder"
    ) -> None:
        self.chosen = chosen
        self.splits = splits
        self.decoder = decoder
        self.opened: dict[tuple[str, ...], list[Source]] = {}

    def sources(self, model: "Embedder") -> "list[Source]":
        """A source for each split."""
        chosen = self.chosen
        towers: set[Modality] = {name for one in chosen.experiment.stages for name in one.towers}
        frozen = tuple(t.fingerprint for n, t in model.encoders().items() if n not in towers)
        if frozen not in self.opened:
            folder = folder_of(chosen.manifest, chosen.features)
            needed = chosen.experiment.modalities
            self.opened[frozen] = [
                source_of(model, held, chosen.source, folder, self.decoder, towers, needed)
                for held in self.splits
            ]
        return self.opened[frozen]


def untrained(chosen: Training) -> "list[tuple[Run, Experiment]]":
    """The runs that are not there yet, a line for each that is."""
    from trichord.checkpoint import Run
    from trichord.media import file_signature

    manifest = file_signature(chosen.manifest)
    places = {chosen.run / f"seed-{seed}": seed for seed in chosen.seeds}
    todo: list[tuple[Run, Experiment]] = []
    for path, seed in (places or {chosen.run: chosen.experiment.seed}).items():
        run, experiment = Run(path), replace(chosen.experiment, seed=seed)
        if run.complete and run.is_of(experiment, manifest):
            run.remove_checkpoints()  # the last one, had it been killed before it could
            out.print(f"{path}: already trained.")
        else:
            todo.append((run, experiment))
    return todo


def splits_of(clips: "Sequence[Clip]", experiment: Experiment) -> "list[list[Clip]]":
    """Clips to learn from, and clips that choose an epoch where one is chosen."""
    from trichord.corpora.manifest import select

    if not experiment.stages:
        return []
    chooses = experiment.chooses
    if experiment.hand_over == "last" and not any(clip.split == chooses for clip in clips):
        return [select(clips, "train")]
    return [select(clips, "train"), select(clips, chooses)]


SMALL = 2**28
"""Multiply-adds of a batch's heads below which threads wait longer for each other than they save:
on two cores one thread was 2.4 times as fast as two at 2**23."""


def settle_threads(experiment: Experiment, sources: "list[Source]") -> None:
    """Train small heads on one thread."""
    from trichord.features.source import FeatureSource

    batch = max((stage.batch_size for stage in experiment.stages), default=0)
    if any(
        isinstance(source, FeatureSource) and source.work_per_clip * batch < SMALL
        for source in sources
    ):
        set_torch_threads(1)


def train_one(
    run: "Run",
    experiment: Experiment,
    model: "Embedder",
    sources: "list[Source]",
    chosen: Training,
) -> None:
    """Train one run with a bar."""
    from trichord.checkpoint import Origin
    from trichord.training.loop import train as carry_out

    model = model.to(device_of(chosen.device))
    origin = Origin(
        path=chosen.manifest,
        source=chosen.source,
        features=chosen.features,
        device=chosen.device,
        sharding=chosen.spreading.sharding,
    )
    epochs = sum(stage.epochs + 1 for stage in experiment.stages)
    with bar(f"{experiment.system}, seed {experiment.seed}", epochs) as moving:

        def after_epoch(numbers: dict[str, Any]) -> None:
            moving.advance(
                note=f"{numbers['stage']}: {told(numbers['criterion'])}{lost([numbers])}"
            )

        def conclude() -> None:
            if len(sources) == 2 and not experiment.select_on_test:
                weigh(run, model, sources[1])

        carry_out(
            experiment,
            model,
            sources,
            run,
            manifest=origin,
            after_epoch=after_epoch,
            sharded=chosen.spreading.sharding,
            conclude=conclude,
        )
    out.print(f"{run.path}: {summary(run)}", markup=False)


def weigh(run: "Run", model: "Embedder", validation: "Source") -> None:
    """Learn how much sight and sound count where a search does not say; kept beside the weights."""
    from trichord.evaluation.vectors import embed_source
    from trichord.evaluation.weighting import learn_weighting
    from trichord.types.files import write_atomically

    if not {"text", "audio", "vision"} <= set(run.experiment().modalities):
        return
    try:
        learnt = learn_weighting(embed_source(model, validation))
    except ValueError:  # fewer than two validation clips have captions
        return
    write_atomically(run.path / "weighting.json", json.dumps(asdict(learnt), indent=2) + "\n")


def told(criterion: float | None) -> str:
    """A criterion, or that there is none."""
    return "no validation clips" if criterion is None else f"{criterion:.3f}"


def summary(run: "Run") -> str:
    """Of each stage: the epoch that it handed on, and what that reached on the clips that choose it."""
    experiment = run.experiment()
    split = "SELECTION ON TEST: test" if experiment.chooses == "test" else "validation"
    lines: list[str] = []
    for epochs in stages_of(run.metrics()):
        reached = outcome(epochs, keeps_last=experiment.hand_over == "last", split=split)
        lines.append(f"{epochs[0]['stage']}: {reached}")
    return ("; ".join(lines) or "as pretrained") + lost(run.metrics())


def stages_of(metrics: "Sequence[dict[str, Any]]") -> "list[list[dict[str, Any]]]":
    """Numbers of epochs by stage; each begins with epoch 0, and several may have the same name."""
    stages: list[list[dict[str, Any]]] = []
    for numbers in metrics:
        if numbers["epoch"] == 0:
            stages.append([])
        stages[-1].append(numbers)
    return stages


def lost(epochs: "Sequence[dict[str, Any]]") -> str:
    """How many steps of some epochs changed nothing, of how many, and why; nothing where all did."""
    kinds = {"skipped": "whose loss was not finite", "empty": "without anything to learn from"}
    counts = {what: sum(epoch.get(kind, 0) for epoch in epochs) for kind, what in kinds.items()}
    steps = sum(epoch.get("steps", 0) for epoch in epochs)
    of_all = f" of {steps}" if steps else ""  # earlier versions did not count them
    return "".join(
        f", {count}{of_all} steps skipped {what}" for what, count in counts.items() if count
    )


def outcome(epochs: "Sequence[dict[str, Any]]", *, keeps_last: bool, split: str) -> str:
    """Which epoch of a stage was kept, why where that is not plain, and what it reached.

    Args:
        epochs: The stage's numbers, the state before training first.
        keeps_last: The last epoch is kept whatever it reaches.
        split: That the criterion was measured on.
    """
    from trichord.training.criteria import all_equal, kept_epoch

    criteria = [numbers["criterion"] for numbers in epochs]
    chosen = epochs[-1 if keeps_last else kept_epoch(criteria)]
    why = ""
    if chosen["criterion"] is not None and not keeps_last:
        if all_equal(criteria):
            why = " (the last: all epochs reached the same)"
        elif chosen["epoch"] == 0:
            why = " (before training: no later epoch was better)"
    return f"epoch {chosen['epoch']}{why}, {worth(chosen, split)}"


def worth(numbers: dict[str, Any], split: str) -> str:
    """What an epoch reached, and what that is the mean of."""
    if numbers["criterion"] is None:
        return f"no {split} clips"
    names: list[str] = list(numbers["validation"])
    of_words = bool(names) and names[0].startswith(WORDS)
    measure = numbers.get("measure") or ("likelihood of a word" if of_words else "R@10")
    reached = f"{split} {measure} {numbers['criterion']:.3f}"
    if measure == "MRR":
        few, many = min(numbers["candidates"].values()), max(numbers["candidates"].values())
        candidates = f"{few}" if few == many else f"{few}–{many}"
        tasks = names[0] if len(names) == 1 else f"{len(names)} tasks by their queries"
        return f"{reached} ({tasks}, {candidates} candidates)"
    if len(names) == 1:
        return f"{reached} ({names[0]})"
    return f"{reached} (mean of {len(names)} {'kinds of captions' if of_words else 'tasks'})"
