"""`trichord ablate`: CLIP4VLA's ablations, each as one command over its seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from trichord.api.model import device_of, is_run
from trichord.api.training import fit
from trichord.cli.console import out
from trichord.cli.extraction import extract_all
from trichord.cli.measurement import Measurement, measure_tokens
from trichord.cli.options import checked
from trichord.cli.results import RunsPlace, measure_runs, run_paths
from trichord.cli.training import summary
from trichord.config import Experiment, check
from trichord.features.reading import folder_of
from trichord.types import CaptionKind, Clip, Modality
from trichord.types.rules import (
    Device,
    Distinct,
    InputFile,
    OutputFolder,
    Range,
    Seed,
    require,
    require_legal,
)

if TYPE_CHECKING:
    from trichord.evaluation.ablation import Ablation
    from trichord.evaluation.report import Report
    from trichord.experiments.ablations import Row
    from trichord.models.embedder import Embedder

Manifest = Annotated[Path, tyro.conf.arg(metavar="MANIFEST"), InputFile()]
Place = Annotated[Path, tyro.conf.arg(metavar="DIR"), OutputFolder()]


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much of it."""

    seeds: Annotated[tuple[Seed, ...], Distinct(1)] = (0, 1, 2)
    """Each variant is trained once a seed."""
    world: bool = False
    """With the stand-in towers and rates of the generated world."""
    captions: Annotated[tuple[CaptionKind, ...], Distinct()] = ()
    """Kinds to train and measure on; every kind that there is if not given."""
    epochs: Annotated[int | None, Range(1, 1_000_000)] = None
    """Of each stage at most; as the experiments say if not given."""
    device: Device = "auto"
    """cpu, cuda, or whichever is there."""


def ablate(arguments: list[str]) -> None:
    """`trichord ablate components|sound-token|fusion|modality`."""
    kinds: dict[str, Callable[..., None]] = {
        "components": checked(components),
        "sound-token": checked(sound_token),
        "fusion": checked(fusion),
        "modality": checked(modality),
    }
    tyro.extras.subcommand_cli_from_dict(kinds, args=arguments, prog="trichord ablate")


def components(
    manifest: Manifest,
    pretraining: Annotated[Path, tyro.conf.arg(metavar="PRETRAINING"), InputFile()],
    directory: Place,
    /,
    *,
    extent: Annotated[Extent, tyro.conf.arg(name="")] = Extent(),
) -> None:
    """Table 5: from a scratch audio tower to all of the pretraining, text to audio.

    Args:
        manifest: Clips to fine-tune and measure on.
        pretraining: Narrated (verbal) and labelled (nonverbal) clips; see 'prepare --append'.
        directory: Runs, table, JSON and figure.
        extent: How much of it.
    """
    from trichord.experiments.ablations import COMPONENTS

    carry_out("Components", COMPONENTS, manifest, pretraining, directory, extent)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Rows that are trained alike."""

    manifest: tyro.conf.Positional[Manifest]
    """Clips to train and measure on."""
    directory: tyro.conf.Positional[Place]
    """Runs, table, JSON and figure."""
    start: RunsPlace | None = None
    """A pretrained run to start from, or the folder of its seeds."""
    extent: Annotated[Extent, tyro.conf.arg(name="")] = Extent()
    """How much of it."""

    def carry_out(self, title: str, rows: "Sequence[Row]") -> None:
        """Train each row on each seed, and set them side by side."""
        chosen = starting_from(rows, self.start, self.extent.seeds)
        carry_out(title, chosen, self.manifest, None, self.directory, self.extent)


def fusion(asked: Annotated[Comparison, tyro.conf.arg(name="")]) -> None:
    """Each fusion of sight and sound, trained alike."""
    from trichord.experiments.ablations import FUSIONS

    asked.carry_out("Fusion", FUSIONS)


def modality(asked: Annotated[Comparison, tyro.conf.arg(name="")]) -> None:
    """Sight alone, sound alone, and both, trained alike."""
    from trichord.experiments.ablations import MODALITIES

    asked.carry_out("Modality", MODALITIES)


def sound_token(
    runs: Annotated[RunsPlace, tyro.conf.arg(metavar="RUN")],
    manifests: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="MANIFEST... DIR"), Distinct()],
    /,
    *,
    device: Device = "auto",
) -> None:
    """Figure 4: text to audio against the mixing ratio of the sound tokens, a curve a manifest.

    Args:
        runs: A run with CLIP4VLA's audio tower, or the folder of its seeds.
        manifests: Clips with captions, test split; last the folder for JSON and figure.
        device: cpu, cuda, or whichever is there.
    """
    from trichord.corpora.manifest import read_manifest

    require(len(manifests) > 1, "name at least one manifest, and last the folder for the results.")
    *asked, directory = manifests
    require_legal(directory, Place, "DIR")
    require(
        len({manifest.stem for manifest in asked}) == len(asked),
        "MANIFEST: two of one name would have one report: rename one of them.",
    )
    for manifest in asked:  # all of them, before the first is measured
        require_legal(manifest, Manifest, "MANIFEST")
        read_manifest(manifest)

    from trichord.evaluation.ablation import draw_curves, table, write_ablation

    paths = run_paths([runs])
    curves: dict[str, Ablation] = {}
    for manifest in asked:
        found = along_tokens(paths, manifest, device)
        curves[manifest.stem] = found
        write_ablation(found, directory / f"sound-token-{manifest.stem}.json")
        out.print(table(found))
    draw_curves(curves, directory / "sound-token.png")
    out.print(f"{directory}: sound-token-*.json and sound-token.png written.")


def along_tokens(paths: "Sequence[Path]", manifest: Path, device: str) -> "Ablation":
    """One manifest's numbers at each mixing ratio, all seeds together."""
    from trichord.checkpoint import Run
    from trichord.corpora.manifest import read_manifest, select
    from trichord.encoders.weight_cache import shared_towers
    from trichord.evaluation.ablation import Ablation, variant
    from trichord.experiments.ablations import AUDIO_TASKS, TOKENS
    from trichord.media import Decoder

    clips = read_manifest(manifest)
    with Decoder() as decoder, shared_towers():
        extract_frozen(Run(paths[0]).load(), clips, manifest)
        by_run = [
            list(
                measure_tokens(Run(path), select(clips, "test"), manifest, TOKENS, device, decoder)
            )
            for path in paths
        ]
    by_token = list(zip(*by_run, strict=True))
    return Ablation(
        title=f"Sound token: {manifest.stem}",
        protocol=f"{by_run[0][0].protocol.line()} (and so on to 1)",
        variants=tuple(
            variant(f"{token:g}", reports, AUDIO_TASKS)
            for token, reports in zip(TOKENS, by_token, strict=True)
        ),
    )


def extract_frozen(model: "Embedder", clips: "Sequence[Clip]", manifest: Path) -> None:
    """Read what of a run's towers is not its own, once."""
    towers = model.encoders()
    frozen: list[Modality] = [n for n in ("text", "vision") if not towers[n].trunk_changed]
    extract_all(model, clips, folder_of(manifest, None), 2, frozen)


def starting_from(
    rows: "Sequence[Row]", start: Path | None, seeds: tuple[int, ...]
) -> "Sequence[Row]":
    """Rows that start from a pretrained run.

    Raises:
        UserError: It is a folder of seeds and lacks one.
    """
    if start is None:
        return rows
    for seed in seeds:
        require(
            is_run(start) or is_run(start / f"seed-{seed}"),
            f"--start {start} holds no seed-{seed}: give --seeds that it holds.",
        )
    return [replace(row, retrieval=replace(row.retrieval, start=start)) for row in rows]


def carry_out(
    title: str,
    rows: "Sequence[Row]",
    manifest: Path,
    pretraining: Path | None,
    directory: Path,
    extent: Extent,
) -> None:
    """Train each row on each seed, measure it, and write table, JSON and figure."""
    from trichord.corpora.manifest import read_manifest

    for path in (manifest, pretraining):  # before the first row is trained
        if path is not None:
            read_manifest(path)

    from trichord.encoders.weight_cache import shared_towers
    from trichord.evaluation.ablation import Ablation, draw_rows, table, variant, write_ablation

    variants = []
    protocols: dict[str, None] = {}
    with shared_towers():
        for row in (narrowed(row, extent.captions) for row in rows):
            place = directory / row.name.replace(" ", "").replace("+", "")
            measured = [
                measured_row(row, seed, manifest, pretraining, place, extent)
                for seed in extent.seeds
            ]
            protocols[measured[0].protocol.line()] = None
            variants.append(variant(row.name, measured, row.tasks))
    # Rows that see or hear less have smaller galleries: each way of measuring is said.
    told = " | ".join(protocols)
    found = Ablation(title=title, protocol=told, variants=tuple(variants))
    name = title.lower()
    write_ablation(found, directory / f"{name}.json")
    draw_rows(found, directory / f"{name}.png")
    out.print(table(found))
    out.print(f"{directory}: {name}.json and {name}.png written.")


def narrowed(row: "Row", captions: tuple[CaptionKind, ...]) -> "Row":
    """A row on some kinds of captions only."""
    if not captions:
        return row
    stage = row.retrieval.stages[0]

    def kept(tasks: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(task for task in tasks if task.split("<-")[1] in captions)

    stage = replace(
        stage,
        draws=tuple(replace(draw, captions=captions) for draw in stage.draws),
        criterion=kept(stage.criterion),
    )
    return replace(row, retrieval=replace(row.retrieval, stages=(stage,)), tasks=kept(row.tasks))


def measured_row(
    row: "Row", seed: int, manifest: Path, pretraining: Path | None, place: Path, extent: Extent
) -> "Report":
    """Train a row on a seed, if it is not yet, and measure it."""
    from trichord.evaluation.report import read_report

    run = train_row(row, seed, manifest, pretraining, place, extent)
    # Always anew: a report that lies there may be of other clips or options.
    (report,) = measure_runs([run], manifest, Measurement(device=extent.device))
    return read_report(report)


def train_row(
    row: "Row", seed: int, manifest: Path, pretraining: Path | None, place: Path, extent: Extent
) -> Path:
    """Pretrain if the row asks for it, then train; the run that is to be measured."""
    start = row.retrieval.start
    if start is not None and not (start / "experiment.json").is_file():
        start = start / f"seed-{seed}"
    if row.pretraining is not None and pretraining is not None:
        start = place / "pretraining" / f"seed-{seed}"
        train_on(pretraining, start, row.pretraining, seed, extent)
    run = place / f"seed-{seed}"
    train_on(manifest, run, replace(row.retrieval, start=start), seed, extent)
    return run


def train_on(manifest: Path, run: Path, experiment: Experiment, seed: int, extent: Extent) -> None:
    """Train one experiment on features of the frozen towers, which are read first if need be."""
    from trichord.checkpoint import Run, fresh_model
    from trichord.corpora.manifest import read_manifest
    from trichord.experiments import VARIANTS

    fitted = VARIANTS.find("world")(experiment) if extent.world else experiment
    chosen = replace(fitted, seed=seed)
    if extent.epochs is not None:
        stages = tuple(replace(stage, epochs=extent.epochs) for stage in chosen.stages)
        chosen = replace(chosen, stages=stages)
    check(chosen)  # before features are read for it
    device_of(extent.device)
    towers = {name for stage in chosen.stages for name in stage.towers}
    frozen: list[Modality] = [name for name in chosen.modalities if name not in towers]
    model = fresh_model(replace(chosen, start=None))
    extract_all(model, read_manifest(manifest), folder_of(manifest, None), 2, frozen)
    held = Run(run)
    was_complete = held.complete
    fit(chosen, manifest, run, device=extent.device)
    out.print(f"{run}: {'already trained.' if was_complete else summary(held)}", markup=False)
