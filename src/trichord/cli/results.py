"""Commands that measure runs: `evaluate` and `compare`."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from trichord.api.model import is_run
from trichord.cli.console import aside, out
from trichord.cli.measurement import Measurement, lenders, measure_run
from trichord.cli.options import checked, require_unset
from trichord.cli.places import seeds_in
from trichord.cli.reports import KINDS, Choice, Kind, kind_in, place_of, reports_of, require_place
from trichord.config import read_experiment
from trichord.types import UserError
from trichord.types.rules import Checked, Distinct, InputFile, OutputFile

if TYPE_CHECKING:
    from rich.table import Table

    from trichord.evaluation.report import Report

AS_USUAL, USUAL_REPORTS = Measurement(), Choice()


def require_runs(place: Path) -> None:
    """Refuse what is neither a run nor a folder of seeds."""
    run_paths([place])


RunsPlace = Annotated[Path, Checked(require_runs)]


def evaluate(arguments: list[str]) -> None:
    """`trichord evaluate RUN MANIFEST`."""

    def run(
        runs: Annotated[RunsPlace, tyro.conf.arg(metavar="RUN")],
        manifest: Annotated[Path, tyro.conf.arg(metavar="MANIFEST"), InputFile()],
        /,
        *,
        chosen: Annotated[Measurement, tyro.conf.arg(name="")] = AS_USUAL,
        paper: bool = False,
    ) -> None:
        """Measure a run, or every seed of it: on retrieval, or, where it writes captions, on these.

        Writes evaluation.json and evaluation.png, or captions.json and captions.png, into the run;
        measured otherwise than usual, under a longer name, such as evaluation-val.json.

        Args:
            runs: A run directory, or the folder of its seeds.
            manifest: Clips as JSON lines.
            chosen: How to measure.
            paper: Also show the papers' own values.
        """
        paths = run_paths([runs])
        places = measure_runs(paths, manifest, chosen)
        if paper:
            show_paper(KINDS[kind_in(places[0]) or "evaluation"])

    tyro.cli(checked(run), args=arguments, prog="trichord evaluate")


def measure_runs(paths: Sequence[Path], manifest: Path, chosen: Measurement) -> list[Path]:
    """Measure runs on the same clips; gives where the report on each is, beside which is its figure.

    The table of a single run is shown.
    """
    chosen.require_sense()
    require_place(paths, chosen)

    from trichord.corpora.manifest import read_manifest, select
    from trichord.evaluation.named import clips_of

    known = read_manifest(manifest)  # before anything heavy is loaded
    clips = clips_of(chosen.protocol, known) if chosen.protocol else select(known, chosen.split)
    if chosen.rule in ("borrowed", "random"):
        lenders(chosen, manifest)
    experiments = [read_experiment(path / "experiment.json") for path in paths]
    if not any(one.model.captioner for one in experiments):
        names = [one.name for one in fields(chosen.captions)]
        mode = "a run that writes no captions"
        require_unset(chosen.captions, mode, *names, prefix="--captions")

    from trichord.checkpoint import Run
    from trichord.cli.caption_measurement import measure_writer
    from trichord.encoders.weight_cache import shared_towers
    from trichord.evaluation.ceilings import known_ceiling
    from trichord.media import Decoder

    held = [Run(path) for path in paths]
    writers = [one for one in held if one.experiment().model.captioner is not None]
    # Silent clips that are lent a sound join the gallery: its ceiling nobody has worked out.
    bounded = chosen.rule == "masked" and len(writers) < len(held)
    best = known_ceiling(clips) if bounded else None
    places: list[Path] = []
    with Decoder() as decoder, shared_towers():
        for run in held:
            if run in writers:
                place = place_of(run.path, chosen, "captions")
                report = measure_writer(run, clips, manifest, chosen, decoder)
            else:
                place = place_of(run.path, chosen, "evaluation")
                [report] = measure_run(run, clips, manifest, [chosen], decoder, best)
            tables = keep(report, place)
            for table in tables if len(held) == 1 else ():
                out.print(table)
            written = f"{place.name} and {place.with_suffix('.png').name} written."
            out.print(f"{place.parent}: {written}", markup=False, soft_wrap=True)
            places.append(place)
    return places


def keep(report: "Report", place: Path) -> "list[Table]":
    """Write a report and its figure beside it; gives its tables."""
    from trichord.evaluation.captions.report import (
        CAPTION_STYLE,
        CAPTION_TITLE,
        CaptionReport,
        caption_table,
    )
    from trichord.evaluation.classes.classification import ClassReport, class_table
    from trichord.evaluation.classes.confusion import draw_confusion
    from trichord.evaluation.comparison import compare as side_by_side
    from trichord.evaluation.figures import draw_comparison, draw_report
    from trichord.evaluation.report import RetrievalReport, write_json
    from trichord.evaluation.tables import back_table, retrieval_table

    tell_replaced(report, place)
    write_json(report, place)
    picture = place.with_suffix(".png")
    match report:
        case RetrievalReport():
            draw_report(report, picture)
            return [retrieval_table(report), back_table(report)]
        case CaptionReport():
            draw_comparison(side_by_side([report], CAPTION_TITLE), picture, CAPTION_STYLE)
            return [caption_table(report)]
        case ClassReport():
            draw_confusion(report, picture)
            return [class_table(report)]
        case _:
            raise ValueError(f"No table or figure for a report of kind '{report.kind}'.")


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
        )


def _remedy(path: Path) -> str:
    from trichord.experiments import is_weights

    if is_weights(str(path)):
        return f"'trichord train {path} MANIFEST RUN' makes one of these weights"
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
    """`trichord compare RUN...`."""

    def run(
        runs: Annotated[tuple[RunsPlace, ...], tyro.conf.arg(metavar="RUN"), Distinct(1)],
        /,
        *,
        choice: Annotated[Choice, tyro.conf.arg(name="")] = USUAL_REPORTS,
        figure: Annotated[Path | None, OutputFile(".png")] = None,
        json: Annotated[Path | None, OutputFile()] = None,
        paper: bool = False,
    ) -> None:
        """Set evaluated runs side by side, with the spread over seeds.

        Runs are seeds of one system where they differ in nothing else: neither in a setting nor in the
        clips that they learnt from. Retrieval in the form of SLAVA's Table II, captions in that of
        CLIP4VLA's Tables 3 and 4.

        Args:
            runs: Run directories, or folders of seeds.
            choice: Which of their reports.
            figure: Also draw it into this PNG.
            json: Also write it into this file.
            paper: Also show the papers' own values.
        """
        kind, reports = reports_of(run_paths(runs), choice)
        _compare(kind, reports, json, figure)
        if paper:
            show_paper(KINDS[kind])
        if figure:
            out.print(f"Drawn: {figure}")

    tyro.cli(checked(run), args=arguments, prog="trichord compare")


def _compare(kind: Kind, reports: Sequence[Path], json: Path | None, figure: Path | None) -> None:
    """Show reports of one kind side by side, as JSON and as a figure where these are asked for."""
    from trichord.evaluation.captions.report import CAPTION_STYLE, CAPTION_TITLE, CaptionReport
    from trichord.evaluation.comparison import R_AT_10, Style
    from trichord.evaluation.comparison import compare as side_by_side
    from trichord.evaluation.figures import draw_comparison
    from trichord.evaluation.report import RetrievalReport, read_report, write_json
    from trichord.evaluation.tables import measures_table, systems_table

    if kind == "captions":
        found = side_by_side([read_report(path, CaptionReport) for path in reports], CAPTION_TITLE)
        out.print(measures_table(found, CAPTION_STYLE))
    else:
        title = f"{R_AT_10} by task and system"
        found = side_by_side([read_report(path, RetrievalReport) for path in reports], title)
        out.print(systems_table(found, R_AT_10))
    if json:
        write_json(found, json)
    if figure:
        draw_comparison(found, figure, CAPTION_STYLE if kind == "captions" else Style())


def show_paper(kind: str) -> None:
    """Print the papers' own values, which are of other clips."""
    from trichord.evaluation.tables import published_tables

    for table in published_tables(kind):
        out.print(table)
