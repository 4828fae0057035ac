"""`trichord study`: rows of experiments x seeds -> one table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from trichord.api.model import device_of, is_run
from trichord.api.training import fit
from trichord.cli.console import out
from trichord.cli.extraction import extract_all
from trichord.cli.measurement import Measurement, measure_run
from trichord.cli.options import checked, require_unset
from trichord.cli.results import RunsPlace, measure_all, run_paths
from trichord.cli.training import summary
from trichord.config import Experiment, check
from trichord.experiments import STUDIES, Study, load_study
from trichord.experiments.studies import Row
from trichord.features.reading import folder_of
from trichord.types import MODALITIES, CaptionKind, Clip, Modality
from trichord.types.rules import (
    Checked,
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
    from trichord.checkpoint import Run
    from trichord.evaluation.comparison import Comparison
    from trichord.evaluation.report import RetrievalReport
    from trichord.media import Decoder
    from trichord.models.embedder import Embedder

Manifest = Annotated[Path, InputFile()]
Directory = Annotated[Path, OutputFolder()]
SEEDS = (0, 1, 2)


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """How a study is run."""

    pretraining: Annotated[Path | None, InputFile()] = None
    """Manifest to pretrain on, where rows do: narrated (verbal) and labelled (nonverbal) clips; see
    'prepare --append'."""
    start: RunsPlace | None = None
    """A run that rows start from, or that they measure; or the folder of its seeds."""
    seeds: Annotated[tuple[Seed, ...], Distinct()] = ()
    """Each row is trained once a seed. If not given 0 1 2; where nothing is trained, those of --start."""
    captions: Annotated[tuple[CaptionKind, ...], Distinct()] = ()
    """Kinds to train and measure on; those of the study if not given."""
    epochs: Annotated[int | None, Range(1, 1_000_000)] = None
    """Of each stage at most; as the experiments say if not given."""
    device: Device = "auto"
    """cpu, cuda, or auto: a GPU if there is one."""


AS_USUAL = StudyOptions()


def study(arguments: list[str]) -> None:
    """`trichord study STUDY MANIFEST... DIR`."""

    def run(
        study: Annotated[str, tyro.conf.arg(metavar="STUDY"), Checked(load_study)],
        paths: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="MANIFEST... DIR"), Distinct()],
        /,
        *,
        options: Annotated[StudyOptions, tyro.conf.arg(name="")] = AS_USUAL,
    ) -> None:
        """Train and measure the rows of a study on each seed -> one table, JSON and figure.

        What is trained already is not trained again; repeat the command to go on after an interruption.

        Args:
            study: Its name, or FILE.py:NAME for one of yours.
            paths: Clips with captions as JSON lines, test split; last the folder for the results.
            options: How it is run.
        """
        from trichord.corpora.manifest import read_manifest

        chosen, (*manifests, directory) = load_study(study), paths
        require(manifests, "name at least one manifest, and last the folder for the results.")
        require(
            len({manifest.stem for manifest in manifests}) == len(manifests),
            "MANIFEST: two of one name would have one table: rename one of them.",
        )
        require_legal(directory, Directory, "DIR")
        for manifest in manifests:
            require_legal(manifest, Manifest, "MANIFEST")
        require_options(chosen, manifests, options)
        if options.captions:
            chosen = chosen.on(options.captions)
        for path in (*manifests, options.pretraining):  # before the first row is trained
            if path is not None:
                read_manifest(path)
        tables = {path.stem: run_study(chosen, path, directory, options) for path in manifests}
        write_tables(chosen, tables, directory)

    tyro.cli(checked(run), args=arguments, prog="trichord study", description=described(run))


def described(command: Callable[..., None]) -> str:
    """What the help says of a command, and a paragraph for each study that is there."""
    what = cleandoc(command.__doc__ or "").partition("Args:")[0].strip()
    known = [f"{name}: {one.title}." for name, one in STUDIES.own.items()]
    # Those of other packages are not imported for it.
    known += [f"{name}: of {STUDIES.origin(name)}." for name in STUDIES.kinds()[len(known) :]]
    return "\n\n".join([what, "Studies:", *known])


def require_options(study: Study, manifests: Sequence[Path], options: StudyOptions) -> None:
    """Refuse a study without what its rows need, and options that it has no use for.

    Raises:
        UserError: The first of them.
    """
    name = f"the study '{study.name}'"
    if study.pretrains:
        require(options.pretraining, f"{name} pretrains: name the clips with --pretraining.")
        mode = f"{name}, whose rows start from pretrainings of their own"
        require_unset(options, mode, "start")
    else:
        require_unset(options, f"{name}, which pretrains nothing", "pretraining")
    if not all(row.experiment for row in study.rows):
        require(options.start, f"{name} measures a run that is there: name it with --start.")
    if study.trains:
        require(len(manifests) == 1, f"{name} trains on its clips: name one manifest.")
    else:
        require_unset(options, f"{name}, which trains nothing", "epochs")
    if options.start is not None and not is_run(options.start):
        for seed in options.seeds or (SEEDS if study.trains else ()):
            require(
                is_run(options.start / f"seed-{seed}"),
                f"--start {options.start} holds no seed-{seed}: give --seeds that it holds.",
            )
    elif not study.trains:
        require_unset(options, "a --start that is one run", "seeds")


def run_study(study: Study, manifest: Path, directory: Path, options: StudyOptions) -> "Comparison":
    """Train and measure all rows on the clips of a manifest."""
    from trichord.encoders.weight_cache import shared_towers
    from trichord.evaluation.comparison import Comparison, variant

    with shared_towers():
        reports = measured_as_they_are(study, manifest, options) | {
            row.name: [
                trained_and_measured(row, seed, manifest, directory / row.folder, options)
                for seed in options.seeds or SEEDS
            ]
            for row in study.rows
            if row.experiment
        }
    return Comparison(
        title=study.title,
        protocol=protocols([reports[row.name][0] for row in study.rows]),
        systems=tuple(variant(row.name, reports[row.name], row.tasks) for row in study.rows),
    )


def protocols(reports: "Sequence[RetrievalReport]") -> str:
    """How rows were measured: each way once, as rows of one modality have smaller galleries."""
    common = [replace(report.protocol, audio_type=None) for report in reports]
    differs = any(report.protocol.audio_type is not None for report in reports)
    types = " (each row with an audio type token of its own)" if differs else ""
    return " | ".join(dict.fromkeys(one.line() for one in common)) + types


def measured_as_they_are(
    study: Study, manifest: Path, options: StudyOptions
) -> "dict[str, list[RetrievalReport]]":
    """Reports on the run of --start, or on each of its seeds, for the rows that train nothing.

    Nothing is written into the run: what a study measures in passing is not what it is measured by.
    """
    rows = [row for row in study.rows if row.experiment is None]
    if not rows or options.start is None:
        return {}
    from trichord.checkpoint import Run
    from trichord.corpora.manifest import read_manifest, select
    from trichord.media import Decoder

    clips = read_manifest(manifest)
    paths = run_paths([options.start])
    if options.seeds and not is_run(options.start):
        paths = [options.start / f"seed-{seed}" for seed in options.seeds]
    extract_frozen(Run(paths[0]).load(), rows, clips, manifest)
    with Decoder() as decoder:
        tested = select(clips, "test")
        by_run = [reports_on(Run(path), rows, tested, manifest, options, decoder) for path in paths]
    return {row.name: [reports[row.name] for reports in by_run] for row in rows}


def reports_on(
    run: "Run",
    rows: Sequence[Row],
    clips: Sequence[Clip],
    manifest: Path,
    options: StudyOptions,
    decoder: "Decoder",
) -> "dict[str, RetrievalReport]":
    """Reports on one run for rows that measure it, clips decoded once for all audio types."""
    reports: dict[str, RetrievalReport] = {}
    for listens in (False, True):  # with an audio type of its own, a row reads sound anew
        chosen = [row for row in rows if (row.audio_type is not None) == listens]
        wanted = [measurement_of(row, options) for row in chosen]
        if wanted:
            measured = measure_run(run, clips, manifest, wanted, decoder)
            found = (one.report for one in measured)
            reports |= zip((row.name for row in chosen), found, strict=True)
    return reports


def measurement_of(row: Row, options: StudyOptions) -> Measurement:
    """How a row is measured."""
    audio_type = None if row.audio_type is None else f"{row.audio_type:g}"
    return Measurement(audio_type=audio_type, device=options.device)


def extract_frozen(
    model: "Embedder", rows: Sequence[Row], clips: Sequence[Clip], manifest: Path
) -> None:
    """Read once what is measured with the encoders that no training changed."""
    encoders = model.encoders()
    # With an audio type of its own, a row listens again.
    listens = all(row.audio_type is not None for row in rows)
    frozen: list[Modality] = [
        name
        for name in MODALITIES
        if not encoders[name].trunk_changed and not (listens and name == "audio")
    ]
    extract_all(model, clips, folder_of(manifest, None), 2, frozen)


def trained_and_measured(
    row: Row, seed: int, manifest: Path, folder: Path, options: StudyOptions
) -> "RetrievalReport":
    """Train a row on a seed, after its pretraining, where that is not done yet; and measure it."""
    from trichord.evaluation.report import RetrievalReport

    assert row.experiment is not None
    start = row.experiment.start if options.start is None else options.start
    if start is not None and not is_run(start):
        start = start / f"seed-{seed}"
    if row.pretraining is not None and options.pretraining is not None:
        start = folder / "pretraining" / f"seed-{seed}"
        train_on(options.pretraining, start, row.pretraining, seed, options)
    run = folder / f"seed-{seed}"
    train_on(manifest, run, replace(row.experiment, start=start), seed, options)
    # Measured every time: a report that is there may be of other clips or options.
    (report,) = measure_all([str(run)], manifest, measurement_of(row, options))
    assert isinstance(report, RetrievalReport)
    return report


def train_on(
    manifest: Path, run: Path, experiment: Experiment, seed: int, options: StudyOptions
) -> None:
    """Train one experiment; the features of its frozen encoders are read first if need be."""
    from trichord.checkpoint import Run, fresh_model
    from trichord.corpora.manifest import read_manifest

    chosen = replace(experiment, seed=seed)
    if options.epochs is not None:
        stages = tuple(replace(stage, epochs=options.epochs) for stage in chosen.stages)
        chosen = replace(chosen, stages=stages)
    check(chosen)  # before features are read for it
    device_of(options.device)
    trained = {name for stage in chosen.stages for name in stage.towers}
    frozen: list[Modality] = [name for name in chosen.modalities if name not in trained]
    model = fresh_model(replace(chosen, start=None))
    extract_all(model, read_manifest(manifest), folder_of(manifest, None), 2, frozen)
    was_complete = Run(run).complete
    fit(chosen, manifest, run, device=options.device)
    out.print(f"{run}: {'already trained.' if was_complete else summary(Run(run))}", markup=False)


def write_tables(study: Study, tables: "Mapping[str, Comparison]", directory: Path) -> None:
    """Write and show a table a manifest; rows that are points of a curve share one figure."""
    from trichord.evaluation.comparison import STUDY_STYLE, Style
    from trichord.evaluation.figures import draw_comparison, draw_curves
    from trichord.evaluation.report import write_json
    from trichord.evaluation.tables import measures_table

    for stem, table in tables.items():
        name = study.name if len(tables) == 1 else f"{study.name}-{stem}"
        write_json(table, directory / f"{name}.json")
        if not study.is_curve:
            draw_comparison(table, directory / f"{name}.png", Style(whole=False))
        out.print(measures_table(table, STUDY_STYLE))
    if study.is_curve:
        draw_curves(dict(tables), directory / f"{study.name}.png")
    out.print(f"{directory}: {study.name}*.json and {study.name}*.png written.", markup=False)
