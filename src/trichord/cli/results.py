"""Commands that measure runs: `evaluate` and `compare`."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from trichord.api.model import fetch_towers, is_run
from trichord.cli.caption_measurement import measure_writer, require_caption_sense
from trichord.cli.console import aside, out
from trichord.cli.measurement import Measured, Measurement, lenders, measure_run
from trichord.cli.options import checked, require_unset
from trichord.cli.places import MeasuredName, experiment_of, names_in, seeds_in, subject_of
from trichord.cli.reports import (
    KINDS,
    Choice,
    Kind,
    place_of,
    reports_of,
    require_place,
    require_report,
)
from trichord.evaluation.bootstrap import Resamples, Resampling
from trichord.types import Clip, UserError
from trichord.types.rules import Checked, Distinct, InputFile, OutputFile, require

if TYPE_CHECKING:
    from rich.table import Table

    from trichord.evaluation.rank_files import Write
    from trichord.evaluation.report import Report
    from trichord.media import Decoder

RESAMPLES = 2000
"""Of a paired comparison."""
AS_USUAL, USUAL_REPORTS = Measurement(), Choice()


def require_runs(place: Path) -> None:
    """Refuse what is neither a run nor a folder of seeds."""
    run_paths([place])


RunsPlace = Annotated[Path, Checked(require_runs)]


def evaluate(arguments: list[str]) -> None:
    """`trichord evaluate RUN|MODEL MANIFEST`."""

    def run(
        model: Annotated[MeasuredName, tyro.conf.arg(metavar="RUN|MODEL")],
        manifest: Annotated[Path, tyro.conf.arg(metavar="MANIFEST"), InputFile()],
        /,
        *,
        chosen: Annotated[Measurement, tyro.conf.arg(name="")] = AS_USUAL,
        paper: bool = False,
    ) -> None:
        """Measure a run, every seed of it, or a model: on retrieval, or captions where a run writes these.

        Writes evaluation.json and evaluation.png, or captions.json and captions.png, into the run;
        measured otherwise than usual, under a longer name, such as evaluation-val.json. The report on a
        model without training is written with --to alone.

        Args:
            model: A run directory, the folder of its seeds, a named model, a folder of weights,
                hub:USER/NAME, or an experiment before training.
            manifest: Clips as JSON lines.
            chosen: How to measure.
            paper: Also show the papers' own values.
        """
        reports = measure_all(names_in(model), manifest, chosen)
        if paper:
            show_paper(reports[0].kind)

    tyro.cli(checked(run), args=arguments, prog="trichord evaluate")


def measure_all(names: Sequence[str], manifest: Path, chosen: Measurement) -> "list[Report]":
    """Measure runs, or a model, on the same clips; each report is written with its figure.

    The table of a single one is shown.
    """
    clips = clips_to_measure(names, manifest, chosen)
    for name in names:
        fetch_towers(name)

    from trichord.checkpoint import Run
    from trichord.encoders.weight_cache import shared_towers
    from trichord.evaluation.ceilings import known_ceiling
    from trichord.evaluation.rank_files import rank_file
    from trichord.media import Decoder

    subjects = [subject_of(name) for name in names]
    writers = [one for one in subjects if one.experiment().model.captioner is not None]
    best = known_ceiling(clips) if chosen.is_bounded and len(writers) < len(subjects) else None
    reports: list[Report] = []
    ranks = rank_file(chosen.ranks) if chosen.ranks else nullcontext()
    with Decoder() as decoder, shared_towers(), ranks as write_ranks:
        for one in subjects:
            if isinstance(one, Run) and one in writers:
                place = place_of(one.path, chosen, "captions")
                report = measure_writer(one, clips, manifest, chosen, decoder)
            else:
                place = place_of(one.path, chosen, "evaluation")
                [measured] = measure_run(one, clips, manifest, [chosen], decoder, best)
                report = measured.report
                keep_queries(measured, chosen, clips, decoder, write_ranks)
            tables = keep(report, place)
            for table in tables if len(subjects) == 1 else ():
                out.print(table)
            written = "Nothing written: name a file with --to."
            if place is not None:
                files = f"{place.name} and {place.with_suffix('.png').name}"
                written = f"{place.parent}: {files} written."
            out.print(written, markup=False, soft_wrap=True)
            reports.append(report)
    for path in filter(None, (chosen.ranks, chosen.worst)):
        out.print(f"{path} written.", markup=False, soft_wrap=True)
    return reports


def keep_queries(
    measured: Measured,
    chosen: Measurement,
    clips: Sequence[Clip],
    decoder: "Decoder",
    write_ranks: "Write | None",
) -> None:
    """Write each query with its rank, and the page of the worst, where these are asked for."""
    from trichord.cli.worst_queries import write_worst
    from trichord.evaluation.rank_files import ranked_queries

    if write_ranks:
        write_ranks(ranked_queries(measured.report, measured.answered, measured.vectors))
    if chosen.worst:
        write_worst(chosen.worst, measured, clips, chosen.worst_count, decoder)


def clips_to_measure(names: Sequence[str], manifest: Path, chosen: Measurement) -> list[Clip]:
    """The clips that runs, or a model, are measured on; read before anything heavy is loaded.

    Raises:
        UserError: They cannot be measured so, or there are no such clips.
    """
    chosen.require_sense()
    require(
        not chosen.worst or len(names) == 1,
        f"--worst {chosen.worst} is a page of one run, and these are {len(names)}: name one of them.",
    )
    require_place([Path(name) if is_run(Path(name)) else None for name in names], chosen)

    _require_kind(names, chosen)

    from trichord.corpora.manifest import read_manifest, select
    from trichord.evaluation.named import clips_of

    known = read_manifest(manifest)
    clips = clips_of(chosen.protocol, known) if chosen.protocol else select(known, chosen.split)
    if chosen.rule in ("borrowed", "random"):
        lenders(chosen, manifest)
    return clips


def _require_kind(names: Sequence[str], chosen: Measurement) -> None:
    """Refuse options that are not of what the runs are measured on, retrieval or captions.

    Raises:
        UserError: The first of them.
    """
    writers = [name for name in names if experiment_of(name).model.captioner]
    if untaught := [name for name in writers if not is_run(Path(name))]:
        raise UserError(
            f"{untaught[0]} has not learnt to write captions yet: train it, and evaluate the run."
        )
    if writers:
        require_caption_sense(chosen)
        return
    require(
        chosen.named is None or not chosen.named.writes,
        f"--protocol {chosen.protocol} is of captions, and {names[0]} writes none: choose another.",
    )
    options = [one.name for one in fields(chosen.captions)]
    mode = "a run that writes no captions"
    require_unset(chosen.captions, mode, *options, prefix="--captions")


def keep(report: "Report", place: Path | None) -> "list[Table]":
    """Write a report and its figure beside it, if it has a place; gives its tables."""
    from trichord.evaluation.captions.report import CaptionReport, caption_table
    from trichord.evaluation.classes.classification import ClassReport, class_table
    from trichord.evaluation.report import RetrievalReport, write_json
    from trichord.evaluation.tables import back_table, retrieval_table

    if place is not None:
        tell_replaced(report, place)
        write_json(report, place)
        draw(report, place.with_suffix(".png"))
    match report:
        case RetrievalReport():
            return [retrieval_table(report), back_table(report)]
        case CaptionReport():
            return [caption_table(report)]
        case ClassReport():
            return [class_table(report)]
        case _:
            raise ValueError(f"No table for a report of kind '{report.kind}'.")


def draw(report: "Report", picture: Path) -> None:
    """Draw the figure of a report."""
    from trichord.evaluation.captions.report import CAPTION_STYLE, CAPTION_TITLE, CaptionReport
    from trichord.evaluation.classes.classification import ClassReport
    from trichord.evaluation.classes.confusion import draw_confusion
    from trichord.evaluation.comparison import compare as side_by_side
    from trichord.evaluation.figures import draw_comparison, draw_report
    from trichord.evaluation.report import RetrievalReport

    match report:
        case RetrievalReport():
            draw_report(report, picture)
        case CaptionReport():
            draw_comparison(side_by_side([report], CAPTION_TITLE), picture, CAPTION_STYLE)
        case ClassReport():
            draw_confusion(report, picture)
        case _:
            raise ValueError(f"No figure for a report of kind '{report.kind}'.")


def tell_replaced(report: "Report", place: Path) -> None:
    """Say where a report takes the place of one that was measured otherwise, such as on other clips."""
    from trichord.evaluation.protocol import difference
    from trichord.evaluation.report import read_report

    try:
        unlike = difference(read_report(place, type(report)).protocol, report.protocol)
    except UserError:
        return  # there was none, or none that can be read
    if unlike:
        aside.print(
            f"{place}: takes the place of a report that was measured otherwise ({'; '.join(unlike)}); "
            "--to keeps both.",
            markup=False,
            soft_wrap=True,
        )


def require_compared(place: Path) -> None:
    """Refuse what is neither a run, a folder of seeds nor a report."""
    with suppress(OSError):  # a name that is too long
        if place.is_file():
            return require_report(place)
    return require_runs(place)


ComparedPlace = Annotated[Path, Checked(require_compared)]


def _remedy(path: Path) -> str:
    from trichord.experiments import is_weights

    if is_weights(str(path)):
        return f"'trichord evaluate {path} MANIFEST --to FILE' makes a report of these weights"
    return "name what 'trichord train' made"


def run_paths(given: Sequence[Path]) -> list[Path]:
    """Run directories; a folder of seeds stands for all of them.

    Raises:
        UserError: A path is neither.
    """
    found: list[Path] = []
    for path in given:
        if is_run(path):
            found.append(path)
        elif seeds := seeds_in(path):
            found += seeds
        else:
            raise UserError(f"{path} is no run and holds none: {_remedy(path)}.")
    return found


def compare(arguments: list[str]) -> None:
    """`trichord compare RUN|REPORT...`."""

    def run(
        runs: Annotated[
            tuple[ComparedPlace, ...], tyro.conf.arg(metavar="RUN|REPORT"), Distinct(1)
        ],
        /,
        *,
        choice: Annotated[Choice, tyro.conf.arg(name="")] = USUAL_REPORTS,
        figure: Annotated[Path | None, OutputFile(".png")] = None,
        json: Annotated[Path | None, OutputFile()] = None,
        paper: bool = False,
        paired: bool = False,
        resamples: Resamples = RESAMPLES,
    ) -> None:
        """Set evaluated runs side by side, with the spread over seeds.

        Runs are seeds of one system where they differ in nothing else: neither in a setting nor in the
        clips that they learnt from. Retrieval in the form of SLAVA's Table II, captions in that of
        CLIP4VLA's Tables 3 and 4.

        Args:
            runs: Run directories, folders of seeds, or files that 'trichord evaluate' wrote.
            choice: Which reports of the runs.
            figure: Also draw it into this PNG.
            json: Also write it into this file.
            paper: Also show the papers' own values.
            paired: Also show how each system differs from the first one named, with intervals over the
                clips that both were asked for.
            resamples: Of the bootstrap behind these intervals.
        """
        require(
            paired or resamples == RESAMPLES,
            "--resamples has no effect with no --paired: leave it out.",
        )
        places = [[one] if one.is_file() else run_paths([one]) for one in runs]
        kind, reports = reports_of(list(chain(*places)), choice)
        how = Resampling(resamples) if paired else None
        _compare(kind, reports, json, figure, how)
        if paper:
            show_paper(KINDS[kind])
        if figure:
            out.print(f"Drawn: {figure}")

    tyro.cli(checked(run), args=arguments, prog="trichord compare")


def _compare(
    kind: Kind,
    reports: Sequence[Path],
    json: Path | None,
    figure: Path | None,
    paired: Resampling | None,
) -> None:
    """Show reports of one kind side by side, as JSON and as a figure where these are asked for."""
    from trichord.evaluation.captions.report import CAPTION_STYLE, CAPTION_TITLE, CaptionReport
    from trichord.evaluation.comparison import R_AT_10, Style, compare_paired
    from trichord.evaluation.comparison import compare as side_by_side
    from trichord.evaluation.figures import draw_comparison
    from trichord.evaluation.report import RetrievalReport, read_report, write_json
    from trichord.evaluation.tables import measures_table, paired_table, recall_tables

    require(
        kind == "evaluation" or paired is None,
        "--paired is of retrieval, and these runs write captions: leave it out.",
    )
    if kind == "captions":
        found = side_by_side([read_report(path, CaptionReport) for path in reports], CAPTION_TITLE)
        out.print(measures_table(found, CAPTION_STYLE))
    else:
        title = f"{R_AT_10} by task and system"
        read = [read_report(path, RetrievalReport) for path in reports]
        found = compare_paired(read, title, paired) if paired else side_by_side(read, title)
        for table in (*recall_tables(found), *map(paired_table, found.paired)):
            out.print(table)
    if json:
        write_json(found, json)
    if figure:
        draw_comparison(found, figure, CAPTION_STYLE if kind == "captions" else Style())


def show_paper(kind: str) -> None:
    """Print the papers' own values, which are of other clips."""
    from trichord.evaluation.tables import published_tables

    for table in published_tables(kind):
        out.print(table)
