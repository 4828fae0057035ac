"""Commands that make runs: `extract` and `train`."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from trichord.api.model import device_of, embedder_of
from trichord.cli.console import aside, bar, counted, out
from trichord.config import Experiment
from trichord.experiments import EXPERIMENTS
from trichord.types import MODALITIES, Clip, Modality, UserError

if TYPE_CHECKING:
    from trichord.checkpoint import Run
    from trichord.features.source import Source
    from trichord.features.store import FeatureFolder
    from trichord.media import Decoder
    from trichord.models.embedder import Embedder


@dataclass(frozen=True, kw_only=True)
class Brought:
    """Trunk features computed elsewhere."""

    vision: Path | None = None
    """Of pictures, `.npz` or Parquet, by clip id."""
    audio: Path | None = None
    """The same for sound."""
    text: Path | None = None
    """The same for captions, by caption text."""


NOTHING_BROUGHT = Brought()


def extract(arguments: list[str]) -> None:
    """`trichord extract MANIFEST RUN|EXPERIMENT`."""

    def run(
        manifest: Annotated[Path, tyro.conf.arg(metavar="MANIFEST")],
        model: Annotated[str, tyro.conf.arg(metavar="RUN|EXPERIMENT")],
        /,
        *,
        features: Path | None = None,
        brought: Annotated[Brought, tyro.conf.arg(name="")] = NOTHING_BROUGHT,
        start: Path | None = None,
        device: str = "auto",
        workers: int = 2,
    ) -> None:
        """Decode each clip once and cache what the frozen towers make of it; goes on where it stopped.

        Args:
            manifest: Clips as JSON lines.
            model: A run directory, or the name of an experiment whose towers to use.
            features: Where to; beside the manifest if not given.
            brought: Trunk features computed elsewhere.
            start: A run whose weights the experiment starts from, as in 'trichord train --start'.
            device: cpu, cuda, or whichever is there.
            workers: Processes that decode.
        """
        from trichord.corpora.manifest import read_manifest

        clips = read_manifest(manifest)  # before anything heavy is loaded

        from trichord.features.importing import import_features

        embedder = embedder_of(model, start).to(device_of(device))
        folder = folder_of(manifest, features)
        for name in MODALITIES:
            path: Path | None = getattr(brought, name)
            if path is not None:
                count = import_features(embedder, name, path, clips, folder)
                aside.print(f"{path}: {count} {name} features brought in.")
        extract_all(embedder, clips, folder, workers)

    tyro.cli(run, args=arguments, prog="trichord extract")


def folder_of(manifest: Path, features: Path | None) -> "FeatureFolder":
    """Where the features of a manifest lie."""
    from trichord.features.store import FeatureFolder

    return FeatureFolder(features) if features else FeatureFolder.beside(manifest)


def extract_all(
    embedder: "Embedder",
    clips: "Sequence[Clip]",
    folder: "FeatureFolder",
    workers: int,
    modalities: "Sequence[Modality]" = ("text", "audio", "vision"),
) -> None:
    """Read what has no features yet, with a bar; say what there was."""
    from trichord.features.extraction import extract_media, extract_texts
    from trichord.media import Decoder

    captions = [caption.text for clip in clips for caption in clip.captions]
    texts = list(dict.fromkeys(captions)) if "text" in modalities else []
    cut = embedder.text.count_cut(texts) if texts else 0
    statuses: list[str] = []
    with bar("captions", len(texts)) as moving:
        for part in extract_texts(embedder, texts, folder):
            moving.advance(len(part.statuses), part.what)
    with Decoder(workers=workers) as decoder, bar("clips", len(clips)) as moving:
        for part in extract_media(embedder, clips, folder, decoder, modalities):
            statuses += part.statuses
            moving.advance(len(part.statuses))
    out.print(f"{folder.path}: {len(clips)} clips ({counted(statuses)}), {len(texts)} captions.")
    if cut:
        out.print(
            f"  {cut} captions are longer than the text tower's {embedder.text.max_tokens} "
            "tokens and were cut."
        )


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


def train(arguments: list[str]) -> None:
    """`trichord train EXPERIMENT MANIFEST RUN [--overrides]`."""
    if not arguments or arguments[0].startswith("-"):
        lines = [f"  {name:<30} {what}" for name, (what, _) in EXPERIMENTS.items()]
        usage = "usage: trichord train EXPERIMENT MANIFEST RUN [--overrides]"
        listing = "\n".join([usage, "", "experiments:", *lines])
        if arguments and arguments[0] not in ("-h", "--help"):
            raise UserError(f"the experiment comes first.\n{listing}")
        out.print(listing, markup=False)
        return
    name = arguments[0]
    if name not in EXPERIMENTS:
        close = get_close_matches(name, EXPERIMENTS, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "'trichord train --help' lists them."
        raise UserError(f"there is no experiment '{name}': {hint}")

    def run(
        manifest: Annotated[Path, tyro.conf.arg(metavar="MANIFEST")],
        run: Annotated[Path, tyro.conf.arg(metavar="RUN")],
        /,
        *,
        seeds: tuple[int, ...] = (),
        source: Annotated[Literal["features", "media"], tyro.conf.arg(name="from")] = "features",
        features: Path | None = None,
        device: str = "auto",
        experiment: Annotated[Experiment, tyro.conf.arg(name="")] = EXPERIMENTS[name][1],
    ) -> None:
        """Train an experiment on a manifest; repeat the command to go on after an interruption.

        Args:
            manifest: Clips as JSON lines, with the splits 'train' and 'val'.
            run: The run directory to make.
            seeds: Several seeds make several runs, RUN/seed-0 and so on.
            source: Read cached features and decode only for towers that train, or decode everything.
            features: Where the cached features lie; beside the manifest if not given.
            device: cpu, cuda, or whichever is there.
            experiment: What to do; every field can be changed.
        """
        train_chosen(
            Training(
                manifest=manifest,
                run=run,
                experiment=experiment,
                seeds=seeds,
                source=source,
                features=features,
                device=device,
            )
        )

    tyro.cli(
        run,
        args=arguments[1:],
        config=(tyro.conf.AvoidSubcommands,),
        prog=f"trichord train {name}",
    )


def train_chosen(chosen: Training) -> None:
    """Train each seed, or the experiment's own into the run directory itself."""
    from trichord.checkpoint import Run, fresh_model
    from trichord.corpora.manifest import read_manifest
    from trichord.media import Decoder

    clips = read_manifest(chosen.manifest)
    splits = splits_of(clips, chosen.experiment)
    places = {chosen.run / f"seed-{seed}": seed for seed in chosen.seeds}
    todo: list[tuple[Run, Experiment]] = []
    for path, seed in (places or {chosen.run: chosen.experiment.seed}).items():
        run, experiment = Run(path), replace(chosen.experiment, seed=seed)
        if run.complete and run.experiment() == experiment:
            out.print(f"{path}: already trained.")
        else:
            todo.append((run, experiment))
    if not todo:
        return
    folder = folder_of(chosen.manifest, chosen.features)
    towers: set[Modality] = {name for one in chosen.experiment.stages for name in one.towers}
    needed = chosen.experiment.modalities
    opened: dict[tuple[str, ...], list[Source]] = {}
    with Decoder() as decoder:
        for run, experiment in todo:
            model = fresh_model(experiment)
            # Seeds share what they read, unless one draws a frozen tower of its own.
            frozen = [t.fingerprint for n, t in model.encoders().items() if n not in towers]
            if tuple(frozen) not in opened:
                opened[tuple(frozen)] = [
                    source_of(model, held, chosen.source, folder, decoder, towers, needed)
                    for held in splits
                ]
            sources = opened[tuple(frozen)]
            settle_threads(experiment, sources)
            train_one(run, experiment, model, sources, chosen)


def splits_of(clips: "Sequence[Clip]", experiment: Experiment) -> "list[list[Clip]]":
    """Clips to learn from, and clips that choose an epoch where one is chosen."""
    from trichord.corpora.manifest import select

    if not experiment.stages:
        return []
    chooses = "test" if experiment.select_on_test else "val"
    if experiment.hand_over == "last" and not any(clip.split == chooses for clip in clips):
        return [select(clips, "train")]
    return [select(clips, "train"), select(clips, chooses)]


SMALL = 2**28
"""Multiply-adds of a batch's heads below which threads wait longer for each other than they save:
on two cores one thread was 2.4 times as fast as two at 2**23."""


def settle_threads(experiment: Experiment, sources: "list[Source]") -> None:
    """Train small heads on one thread."""
    import torch

    from trichord.features.source import FeatureSource

    batch = max((stage.batch_size for stage in experiment.stages), default=0)
    for source in sources:
        if isinstance(source, FeatureSource) and source.work_per_clip * batch < SMALL:
            torch.set_num_threads(1)


def train_one(
    run: "Run",
    experiment: Experiment,
    model: "Embedder",
    sources: "list[Source]",
    chosen: Training,
) -> None:
    """Train one run with a bar."""
    from trichord.media import file_signature
    from trichord.training.loop import train as carry_out

    model = model.to(device_of(chosen.device))
    manifest = file_signature(chosen.manifest)
    epochs = sum(stage.epochs + 1 for stage in experiment.stages)
    with bar(f"{experiment.system}, seed {experiment.seed}", epochs) as moving:

        def after_epoch(numbers: dict[str, Any]) -> None:
            moving.advance(note=f"{numbers['stage']}: {told(numbers['criterion'])}")

        carry_out(experiment, model, sources, run, manifest=manifest, after_epoch=after_epoch)
    out.print(f"{run.path}: {summary(run)}", markup=False)
    if len(sources) == 2 and not experiment.select_on_test:
        weigh(run, model, sources[1])


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
    """Of each stage: the epoch that it handed on and what that reached on the validation clips."""
    keeps_last = run.experiment().hand_over == "last"
    stages: dict[str, dict[str, Any]] = {}
    for numbers in run.metrics():
        best = stages.get(numbers["stage"])
        if best is None or keeps_last or numbers["criterion"] > best["criterion"]:
            stages[numbers["stage"]] = numbers
    lines = [f"{name}: {outcome(best)}" for name, best in stages.items()]
    return "; ".join(lines) or "as pretrained"


def outcome(numbers: dict[str, Any]) -> str:
    """What an epoch reached on the validation clips."""
    names: list[str] = list(numbers["validation"])
    writes = bool(names) and all(name.startswith("words<-") for name in names)
    what = "likelihood of a word" if writes else "R@10"
    kinds = "kinds of captions" if writes else "tasks"
    return (
        f"epoch {numbers['epoch']}, validation {what} {told(numbers['criterion'])} "
        f"(mean of {len(names)} {kinds})"
    )


def source_of(
    model: "Embedder",
    clips: "Sequence[Clip]",
    kind: Literal["features", "media"],
    folder: "FeatureFolder",
    decoder: "Decoder",
    towers: "Collection[Modality]" = (),
    modalities: tuple[Modality, ...] = ("text", "audio", "vision"),
) -> "Source":
    """Clips as cached features or as media; towers that train are fed from media in any case."""
    from trichord.features.source import FeatureSource, MediaSource, MixedSource

    fresh: tuple[Modality, ...] = tuple(
        name for name in modalities if kind == "media" or name in towers
    )
    cached: tuple[Modality, ...] = tuple(name for name in modalities if name not in fresh)
    if not fresh:
        return FeatureSource(clips, model, folder, cached)
    media = MediaSource(clips, model, decoder, fresh)
    return MixedSource(FeatureSource(clips, model, folder, cached), media) if cached else media
