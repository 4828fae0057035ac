"""Commands that measure runs: `evaluate` and `compare`."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from trichord.cli.console import aside, out
from trichord.cli.measurement import Measurement, lenders, measure_run
from trichord.cli.options import checked, require_unset
from trichord.cli.places import is_run, seeds_in
from trichord.config import read_experiment
from trichord.types import Clip, UserError
from trichord.types.rules import Checked, Distinct, InputFile, OutputFile

if TYPE_CHECKING:
    from trichord.checkpoint import Run
    from trichord.evaluation.report import Report
    from trichord.media import Decoder

REPORT, FIGURE = "evaluation.json", "evaluation.png"
CAPTIONS, CAPTIONS_FIGURE = "captions.json", "captions.png"
AS_USUAL = Measurement()


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

        Writes evaluation.json and evaluation.png, or captions.json and captions.png, into the run.

        Args:
            runs: A run directory, or the folder of its seeds.
            manifest: Clips as JSON lines.
            chosen: How to measure.
            paper: Also show the papers' own values.
        """
        paths = run_paths([runs])
        measure_runs(paths, manifest, chosen)
        if paper:
            show_paper(captions=(paths[0] / CAPTIONS).is_file())

    tyro.cli(checked(run), args=arguments, prog="trichord evaluate")


def measure_runs(paths: Sequence[Path], manifest: Path, chosen: Measurement) -> None:
    """Measure runs on the same clips; a report and a figure go into each, the only one is shown."""
    chosen.require_sense()

    from trichord.corpora.manifest import read_manifest, select
    from trichord.evaluation.named import clips_of

    known = read_manifest(manifest)  # before anything heavy is loaded
    clips = clips_of(chosen.protocol, known) if chosen.protocol else select(known, chosen.split)
    if chosen.rule in ("borrowed", "random"):
        lenders(chosen, manifest)
    require_writers(paths, chosen)

    from trichord.checkpoint import Run
    from trichord.encoders.held import towers_held
    from trichord.media import Decoder

    held = [Run(path) for path in paths]
    writers = [one for one in held if one.experiment().model.captioner is not None]
    with Decoder() as decoder, towers_held():
        for run in writers:
            _measure_captions(run, clips, manifest, chosen, decoder, alone=len(held) == 1)
        if len(writers) == len(held):
            return
        # Silent clips that are lent a sound join the gallery: its ceiling nobody has worked out.
        best = known_ceiling(clips) if chosen.rule == "masked" else None
        for run in held:
            if run not in writers:
                report = measure_run(run, clips, manifest, chosen, decoder, best)
                _keep(report, run.path, alone=len(held) == 1)


def require_writers(paths: Sequence[Path], chosen: Measurement) -> None:
    """Refuse options about captions where no run writes any.

    Raises:
        UserError: Names the option.
    """
    experiments = [read_experiment(path / "experiment.json") for path in paths]
    if not any(one.model.captioner for one in experiments):
        names = [one.name for one in fields(chosen.captions)]
        mode = "a run that writes no captions"
        require_unset(chosen.captions, mode, *names, prefix="--captions")


def _keep(report: "Report", run: Path, *, alone: bool) -> None:
    from trichord.evaluation.figures import draw_report
    from trichord.evaluation.report import table, write_report

    write_report(report, run / REPORT)
    draw_report(report, run / FIGURE)
    if alone:
        out.print(table(report))
    out.print(f"{run}: {REPORT} and {FIGURE} written.")


def _measure_captions(
    run: "Run",
    clips: Sequence[Clip],
    manifest: Path,
    chosen: Measurement,
    decoder: "Decoder",
    *,
    alone: bool,
) -> None:
    """Measure the captions of a run; a report and a figure go into it."""
    from trichord.cli.caption_measurement import measure_writer
    from trichord.evaluation.captions.comparison import compare_captions
    from trichord.evaluation.captions.figures import draw_captions
    from trichord.evaluation.captions.report import table, write_caption_report

    report = measure_writer(run, clips, manifest, chosen, decoder)
    write_caption_report(report, run.path / CAPTIONS)
    draw_captions(compare_captions([report]), run.path / CAPTIONS_FIGURE)
    if alone:
        out.print(table(report))
    out.print(f"{run.path}: {CAPTIONS} and {CAPTIONS_FIGURE} written.")


def known_ceiling(clips: Sequence[Clip]) -> dict[str, dict[int, float]] | None:
    """The best possible R@k of each task, where the clips are of a generated world."""
    from trichord.corpora.world.ceiling import ceiling
    from trichord.corpora.world.truth import TRUTH_FILE, read_truth
    from trichord.corpora.world.world import read_world

    root = Path(clips[0].path).parent.parent
    if not (root / TRUTH_FILE).is_file():
        return None
    wanted = {clip.id for clip in clips}
    truth = [one for one in read_truth(root / TRUTH_FILE) if one.scene.id in wanted]
    if len(truth) != len(clips):
        aside.print(f"{root / TRUTH_FILE} does not know all of these clips: no ceiling.")
        return None
    world = read_world(root)
    return ceiling(truth, grammar=world.grammar, law=world.law)


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
            raise UserError(f"{path} is no run and holds none: name what 'trichord train' made.")
    return found


def compare(arguments: list[str]) -> None:
    """`trichord compare RUN...`."""

    def run(
        runs: Annotated[tuple[RunsPlace, ...], tyro.conf.arg(metavar="RUN"), Distinct(1)],
        /,
        *,
        figure: Annotated[Path | None, OutputFile(".png")] = None,
        json: Annotated[Path | None, OutputFile()] = None,
        paper: bool = False,
    ) -> None:
        """Set evaluated runs side by side, with the spread over seeds.

        Retrieval in the form of SLAVA's Table II, captions in that of CLIP4VLA's Tables 3 and 4.

        Args:
            runs: Run directories, or folders of seeds.
            figure: Also draw it into this PNG.
            json: Also write it into this file.
            paper: Also show the papers' own values.
        """
        paths = run_paths(runs)
        if all_write(paths):
            _compare_captions(paths, json, figure)
        else:
            _compare_retrieval(paths, json, figure)
        if paper:
            show_paper(captions=all_write(paths))
        if figure:
            out.print(f"Drawn: {figure}")

    tyro.cli(checked(run), args=arguments, prog="trichord compare")


def all_write(paths: Sequence[Path]) -> bool:
    """Whether it is captions that runs were measured on.

    Raises:
        UserError: Of some runs it is, of others not.
    """
    by_kind = {(path / CAPTIONS).is_file(): path for path in reversed(paths)}
    if len(by_kind) > 1:
        raise UserError(
            f"{by_kind[True]} was measured on captions, {by_kind[False]} was not: compare runs of one "
            f"kind, or run 'trichord evaluate {by_kind[False]} MANIFEST'."
        )
    return True in by_kind


def _compare_retrieval(paths: Sequence[Path], json: Path | None, figure: Path | None) -> None:
    from trichord.evaluation.comparison import compare as set_beside
    from trichord.evaluation.comparison import table, write_comparison
    from trichord.evaluation.figures import draw_comparison

    comparison = set_beside([report_of(path) for path in paths])
    out.print(table(comparison))
    if json:
        write_comparison(comparison, json)
    if figure:
        draw_comparison(comparison, figure)


def _compare_captions(paths: Sequence[Path], json: Path | None, figure: Path | None) -> None:
    from trichord.evaluation.captions.comparison import (
        caption_table,
        compare_captions,
        write_caption_comparison,
    )
    from trichord.evaluation.captions.figures import draw_captions
    from trichord.evaluation.captions.report import read_caption_report

    comparison = compare_captions([read_caption_report(path / CAPTIONS) for path in paths])
    out.print(caption_table(comparison))
    if json:
        write_caption_comparison(comparison, json)
    if figure:
        draw_captions(comparison, figure)


def show_paper(*, captions: bool) -> None:
    """Print the papers' own values, which are of other clips."""
    from trichord.evaluation.captions.comparison import OTHER_CLIPS, paper_tables
    from trichord.evaluation.comparison import paper_table

    if not captions:
        out.print(paper_table())
        return
    for shown, protocol in paper_tables():
        out.print(shown)
        out.print(f"Protocol: {protocol}\n")
    out.print(OTHER_CLIPS)


def report_of(path: Path) -> "Report":
    """The report that `evaluate` left in a run.

    Raises:
        UserError: The run has not been evaluated.
    """
    from trichord.evaluation.report import read_report

    if not (path / REPORT).is_file():
        raise UserError(f"{path} has not been evaluated: run 'trichord evaluate {path} MANIFEST'.")
    return read_report(path / REPORT)
