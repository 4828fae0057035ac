"""`trichord train`: an experiment carried out."""

import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from trichord.api.model import device_of
from trichord.cli.console import aside, bar, out
from trichord.cli.parts import choices, choose_parts
from trichord.config import WORDS, Experiment, check
from trichord.experiments import EXPERIMENTS, OTHERS, description, load_experiment
from trichord.types import UserError
from trichord.types.rules import (
    Device,
    Distinct,
    InputFile,
    InputFolder,
    OutputFolder,
    Seed,
    require_legal,
)
from trichord.types.terms import LOSSES

if TYPE_CHECKING:
    from trichord.checkpoint import Run
    from trichord.training.clips import TrainingClips


@dataclass(frozen=True, kw_only=True)
class Training:
    """What `trichord train` was asked for."""

    manifest: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MANIFEST"), InputFile()]
    """Clips as JSON lines, with the splits 'train' and 'val'."""
    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN"), OutputFolder()]
    """The run directory to make."""
    seeds: Annotated[tuple[Seed, ...], Distinct()] = ()
    """Several seeds make several runs, RUN/seed-0 and so on."""
    source: Annotated[Literal["features", "media"], tyro.conf.arg(name="from")] = "features"
    """Read cached features and decode only for towers that train, or decode everything."""
    features: Annotated[Path | None, InputFolder(bucket=True)] = None
    """Where the cached features lie; beside the manifest if not given."""
    device: Device = "auto"
    """cpu, cuda, cuda:N, mps, or auto: a GPU if there is one."""
    sharding: bool = False
    """Spread towers that train over the processes that torchrun started, for towers too large for one GPU;
    otherwise each process has all of them."""
    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    """What to do; every field can be changed."""

    def runs(self) -> "list[tuple[Run, Experiment]]":
        """The runs to make: one of each seed, or the run directory itself."""
        from trichord.checkpoint import Run

        if not self.seeds:
            return [(Run(self.run), self.experiment)]
        return [
            (Run(self.run / f"seed-{seed}"), replace(self.experiment, seed=seed))
            for seed in self.seeds
        ]


def train(arguments: list[str]) -> None:
    """`trichord train EXPERIMENT MANIFEST RUN [--overrides]`, in one process or in each of several."""
    quiet_ddp()
    if (chosen := asked_once(arguments)) is None:
        return
    from trichord.training.clips import TrainingClips
    from trichord.training.fit import fit, fitting_threads, learn_search_weights

    clips = TrainingClips(
        manifest=chosen.manifest,
        source=chosen.source,
        features=chosen.features,
        device=chosen.device,
        sharding=chosen.sharding,
    )
    with processes(device_of(chosen.device)), termination_told(chosen.run), clips:
        for run, experiment in unfinished(chosen, clips):
            model, sources = clips.open(experiment)
            model = model.to(device_of(chosen.device))
            with fitting_threads(experiment, sources), progress(experiment) as after_epoch:
                fit(
                    experiment,
                    model,
                    sources,
                    run,
                    manifest=clips.origin,
                    after_epoch=after_epoch,
                    sharded=chosen.sharding,
                    conclude=partial(learn_search_weights, run, experiment, model, sources),
                )
            out.print(f"{run.path}: {summary(run)}", markup=False)


def quiet_ddp() -> None:
    """Before torch is imported: DDP would warn that its search for heads left unused may be needless."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def asked_once(arguments: list[str]) -> Training | None:
    """As `asked`, checked; of several processes rank 0 alone says what is wrong.

    Raises:
        UserError: The command line asks for what is impossible.
        SystemExit: The same, of another rank.
    """
    leads = os.environ.get("RANK", "0") == "0"
    try:
        chosen = asked(arguments, aloud=leads)
        if chosen is not None:
            check(chosen.experiment)
    except UserError:
        if leads:
            raise
        sys.exit(2)
    return chosen


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
        lines += [f"  {name:<30} {description(name)}" for name in OTHERS.kinds()]
        lines.append(f"  {'FILE.py:NAME, FILE.json':<30} One of yours, or that of a run.")
        usage = "usage: trichord train EXPERIMENT MANIFEST RUN [--overrides]"
        if arguments and arguments[0] not in ("-h", "--help"):
            raise UserError("the experiment comes first: 'trichord train --help' lists them.")
        out.print("\n".join([usage, "", "experiments:", *lines]), markup=False)
        return None
    name = arguments[0]
    known, arguments = choose_parts(load_experiment(name), arguments[1:])
    what = "Train an experiment on a manifest; repeat the command to go on after an interruption."
    parts = [f"- {option} KIND: {kinds}" for option, kinds in choices(known)]

    @dataclass(frozen=True, kw_only=True)
    class Asked(Training):  # the parser knows the fields of a default
        experiment: Annotated[Experiment, tyro.conf.arg(name="")] = known

    chosen = tyro.cli(
        Asked,
        args=arguments,
        # The parser does not know the options that choose parts.
        description="\n".join(
            [
                *(what, "", "Its parts, each with options of its own once it is chosen:", *parts),
                *("", f"Terms of --stages.N.draws.N.terms: {', '.join(LOSSES.kinds())}"),
            ]
        ),
        config=(tyro.conf.AvoidSubcommands,),
        prog=f"trichord train {name}",
        console_outputs=aloud,
    )
    require_legal(chosen)
    return chosen


@contextmanager
def processes(device: str) -> Generator[None]:
    """Work as one of the processes that torchrun started, if it did; rank 0 speaks for all."""
    from trichord.distributed import OtherRankError, process_group, rank
    from trichord.encoders.weight_cache import shared_towers

    try:
        with process_group(device), shared_towers():
            out.quiet = aside.quiet = rank() > 0
            yield
    except OtherRankError:
        sys.exit(2)


def unfinished(chosen: Training, clips: "TrainingClips") -> "list[tuple[Run, Experiment]]":
    """The runs that are not there yet; says of each of the others that it is."""
    from trichord.distributed import on_all_ranks, on_rank_0

    # What is wrong with the manifest is said before any run is looked at.
    on_all_ranks(lambda: clips.splits(chosen.experiment))
    return on_rank_0(lambda: [one for one in chosen.runs() if not is_there(clips, *one)])


def is_there(clips: "TrainingClips", run: "Run", experiment: Experiment) -> bool:
    """Whether a run is trained already; if so, says it."""
    if not clips.is_done(run, experiment):
        return False
    run.remove_checkpoints()  # the last one, had it been killed before it could
    out.print(f"{run.path}: already trained.")
    return True


@contextmanager
def progress(experiment: Experiment) -> Generator[Callable[[dict[str, Any]], None]]:
    """A bar over the epochs of an experiment; gives what moves it by an epoch's numbers."""
    epochs = sum(stage.epochs + 1 for stage in experiment.stages)
    with bar(f"{experiment.system}, seed {experiment.seed}", epochs) as moving:

        def after_epoch(numbers: dict[str, Any]) -> None:
            found = numbers["criterion"]
            reached = "no validation clips" if found is None else f"{found:.3f}"
            losses = [f"{name} {value:.3f}" for name, value in numbers["terms"].items()]
            shown = f" (loss: {', '.join(losses)})" if losses else ""
            moving.advance(note=f"{numbers['stage']}: {reached}{shown}{lost([numbers])}")

        yield after_epoch


@contextmanager
def termination_told(place: Path) -> Generator[None]:
    """Say, where SIGTERM ends a training, that it is saved."""
    from trichord.training.stopping import TerminatedError

    try:
        yield
    except TerminatedError:
        aside.print(f"{place}: terminated and saved; repeat the command to go on.", soft_wrap=True)
        raise


def summary(run: "Run") -> str:
    """Of each stage: the epoch that it handed on, and what that reached on the clips that choose it."""
    from trichord.checkpoint.summary import stages_of

    experiment = run.experiment()
    split = "SELECTION ON TEST: test" if experiment.chooses == "test" else "validation"
    lines: list[str] = []
    for epochs in stages_of(run.metrics()):
        reached = outcome(epochs, keeps_last=experiment.hand_over == "last", split=split)
        lines.append(f"{epochs[0]['stage']}: {reached}")
    return ("; ".join(lines) or "as pretrained") + lost(run.metrics())


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
    """Which epoch of a stage was kept, why where that is not plain, what it and the untrained one reached.

    Args:
        epochs: The stage's numbers, the state before training first.
        keeps_last: The last epoch is kept whatever it reaches.
        split: That the criterion was measured on.
    """
    from trichord.training.criteria import all_equal, selected_epoch

    criteria = [numbers["criterion"] for numbers in epochs]
    chosen = epochs[-1 if keeps_last else selected_epoch(criteria)]
    why = ""
    if chosen["criterion"] is not None and not keeps_last:
        if all_equal(criteria):
            why = " (the last: all epochs reached the same)"
        elif chosen["epoch"] == 0:
            why = " (before training: no later epoch was better)"
    before = ""
    if chosen["criterion"] is not None and chosen["epoch"] > 0 and not all_equal(criteria):
        before = f"; {criteria[0]:.3f} before training"
    return f"epoch {chosen['epoch']}{why}, {worth(chosen, split)}{before}"


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
