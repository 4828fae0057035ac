"""Commands that measure runs: `evaluate` and `compare`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from trichord.cli.console import aside, out
from trichord.cli.measurement import Measurement, measure_run
from trichord.types import Clip, UserError

if TYPE_CHECKING:
    from trichord.evaluation.report import Report

REPORT, FIGURE = "evaluation.json", "evaluation.png"
AS_USUAL = Measurement()


def evaluate(arguments: list[str]) -> None:
    """`trichord evaluate RUN MANIFEST`."""

    def run(
        runs: Annotated[Path, tyro.conf.arg(metavar="RUN")],
        manifest: Annotated[Path, tyro.conf.arg(metavar="MANIFEST")],
        /,
        *,
        chosen: Annotated[Measurement, tyro.conf.arg(name="")] = AS_USUAL,
    ) -> None:
        """Measure a run, or every seed of it, on the retrieval tasks that it can answer.

        Writes evaluation.json and evaluation.png into the run.

        Args:
            runs: A run directory, or the folder of its seeds.
            manifest: Clips as JSON lines.
            chosen: How to measure.
        """
        measure_runs(run_paths([runs]), manifest, chosen)

    tyro.cli(run, args=arguments, prog="trichord evaluate")


def measure_runs(paths: Sequence[Path], manifest: Path, chosen: Measurement) -> None:
    """Measure runs on the same clips; a report and a figure go into each, the only one is shown."""
    chosen.require_sense()

    from trichord.checkpoint import Run
    from trichord.corpora.manifest import read_manifest, select
    from trichord.evaluation.figures import draw_report
    from trichord.evaluation.named import clips_of
    from trichord.evaluation.report import table, write_report
    from trichord.media import Decoder

    known = read_manifest(manifest)
    clips = clips_of(chosen.protocol, known) if chosen.protocol else select(known, chosen.split)
    # Silent clips that are lent a sound join the gallery: its ceiling nobody has worked out.
    best = known_ceiling(clips) if chosen.rule == "masked" else None
    with Decoder() as decoder:
        for path in paths:
            report = measure_run(Run(path), clips, manifest, chosen, decoder, best)
            write_report(report, path / REPORT)
            draw_report(report, path / FIGURE)
            if len(paths) == 1:
                out.print(table(report))
            out.print(f"{path}: {REPORT} and {FIGURE} written.")


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
        seeds = sorted(path.glob("seed-*/experiment.json"))
        if (path / "experiment.json").is_file():
            found.append(path)
        elif seeds:
            found += [seed.parent for seed in seeds]
        else:
            raise UserError(f"{path} is no run and holds none: name what 'trichord train' made.")
    return found


def compare(arguments: list[str]) -> None:
    """`trichord compare RUN...`."""

    def run(
        runs: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN")],
        /,
        *,
        figure: Path | None = None,
        json: Path | None = None,
        paper: bool = False,
    ) -> None:
        """Set evaluated runs side by side: SLAVA's Table II, with the spread over seeds.

        Args:
            runs: Run directories, or folders of seeds.
            figure: Also draw it into this PNG.
            json: Also write it into this file.
            paper: Also show the paper's own values.
        """
        from trichord.evaluation.comparison import compare as set_beside
        from trichord.evaluation.comparison import paper_table, table, write_comparison
        from trichord.evaluation.figures import draw_comparison

        comparison = set_beside([report_of(path) for path in run_paths(runs)])
        out.print(table(comparison))
        if paper:
            out.print(paper_table())
        if json:
            write_comparison(comparison, json)
        if figure:
            draw_comparison(comparison, figure)
            out.print(f"Drawn: {figure}")

    tyro.cli(run, args=arguments, prog="trichord compare")


def report_of(path: Path) -> "Report":
    """The report that `evaluate` left in a run.

    Raises:
        UserError: The run has not been evaluated.
    """
    from trichord.evaluation.report import read_report

    if not (path / REPORT).is_file():
        raise UserError(f"{path} has not been evaluated: run 'trichord evaluate {path} MANIFEST'.")
    return read_report(path / REPORT)
