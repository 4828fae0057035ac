"""The variants of an ablation: a system each, compared like runs."""

import json
import sys
from statistics import stdev

import pytest
from rich.console import Console

from trichord.evaluation.bootstrap import Estimate
from trichord.evaluation.comparison import (
    STUDY_STYLE,
    Cell,
    Comparison,
    Style,
    System,
    SystemRow,
    variant,
)
from trichord.evaluation.drawing import HUES
from trichord.evaluation.figures import draw_comparison, draw_curves
from trichord.evaluation.report import write_json
from trichord.evaluation.tables import measures_table
from trichord.types import UserError

TASK = "visual<-visual"


def row(*recalls, ceiling=None, ranks=None):
    """R@10 by seed; R@5 and R@1 are half and a quarter of it."""

    def cell(part):
        values = [part * recall for recall in recalls]
        several = len(values) > 1
        return Cell.of(values if several else [Estimate(values[0], values[0], values[0])])

    return SystemRow(
        sizes={"queries": 90, "gallery": 30},
        cells={
            "R@1": cell(0.25),
            "R@5": cell(0.5),
            "R@10": cell(1.0),
            "median rank": Cell.of(ranks or (3.0,) * len(recalls)),
        },
        chance={"R@10": 1 / 3},
        ceiling={} if ceiling is None else {"R@10": ceiling},
    )


@pytest.fixture
def ablation(report):
    """Builds variants by name with their rows by task."""

    def build(**rows):
        systems = tuple(
            System(
                name=name,
                differs={},
                label=(),
                seeds=(0, 1, 2),
                runs=(),
                protocol=report().protocol,
                rows=own,
            )
            for name, own in rows.items()
        )
        return Comparison(
            title="What it is made of", protocol="test split; 30 clips", systems=systems
        )

    return build


def printed(renderable):
    console = Console(width=250)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def line_of(shown, *words):
    (line,) = [line for line in shown.splitlines() if all(word in line for word in words)]
    return line


# Numbers


def test_the_spread_is_that_of_a_sample_of_seeds():
    several = Cell.of([0.2, 0.4, 0.6])
    assert (several.mean, several.sd) == (pytest.approx(0.4), pytest.approx(0.2))
    assert str(several) == "0.40±.20"
    one = Cell.of([0.3])
    assert (one.values, one.mean, one.sd, one.span) == ((0.3,), 0.3, None, (0.3, 0.3))
    assert (str(one), one.percent()) == ("0.30", "30.0")


def test_a_variant_has_a_value_a_seed_for_each_task(report):
    reports = [report(seed=seed, recall=recall) for seed, recall in ((4, 0.2), (7, 0.6))]
    system = variant("mine", reports)
    assert (system.name, system.seeds) == ("mine", (4, 7))
    first = reports[0].rows[0]
    assert system.cell(TASK, "R@10").values == (0.2, 0.6)
    assert system.cell(TASK, "R@1").values == (first.estimates["R@1"].value,) * 2
    assert system.cell(TASK, "median rank").values == (first.numbers["median rank"],) * 2
    assert system.rows[TASK].sizes == first.sizes
    measured = [one.name for one in reports[0].rows if one.estimates]
    assert list(system.rows) == measured
    assert len(measured) < len(reports[0].rows)  # a task that nobody could ask is no row


def test_only_the_tasks_of_interest_are_kept_with_the_best_possible_beside_them(report):
    known = report(ceiling={"audio<-audio": {10: 0.9}})
    system = variant("mine", [known], ("audio<-audio", TASK, "visual<-composed"))
    assert list(system.rows) == [TASK, "audio<-audio"]
    assert system.rows["audio<-audio"].ceiling == {"R@10": 0.9}
    assert system.rows[TASK].ceiling == {}


def test_seeds_that_were_measured_differently_are_refused(report):
    with pytest.raises(UserError, match=r"mine: its seeds were measured differently \(rule for ti"):
        variant("mine", [report(), report(seed=1, ties="expected")])


def test_a_variant_that_was_asked_none_of_its_tasks_is_refused(report):
    with pytest.raises(UserError, match=r"mine: .* none of its tasks \(visual<-composed\): add"):
        variant("mine", [report()], ("visual<-composed",))


def test_runs_that_differ_in_more_than_their_seeds_are_no_variant(report):
    fast = report(seed=1, settings={"stages.0.optimizer.lr": "0.1"})
    with pytest.raises(
        UserError, match=r"mine: .* are no seeds of one experiment \(slava-av \(lr 0.1"
    ):
        variant("mine", [report(), fast])


def test_tasks_are_those_of_all_variants_in_their_order(ablation):
    some = ablation(one={"a": row(0.1)}, two={"b": row(0.1), "a": row(0.1)})
    assert {name: len(rows) for name, rows in some.rows("R@10").items()} == {"a": 2, "b": 1}


def test_every_number_of_every_seed_is_written(ablation, tmp_path):
    made = ablation(one={TASK: row(0.1, 0.2, 0.4, ceiling=0.9)}, two={TASK: row(0.3, 0.4, 0.5)})
    write_json(made, tmp_path / "a.json")
    held = json.loads((tmp_path / "a.json").read_text())
    assert (held["title"], held["protocol"]) == (made.title, made.protocol)
    assert [one["name"] for one in held["systems"]] == ["one", "two"]
    first = held["systems"][0]
    assert first["seeds"] == [0, 1, 2]
    cells = first["rows"][TASK]["cells"]
    assert {name: cells[name]["values"] for name in ("R@10", "R@5", "R@1")} == {
        "R@10": [0.1, 0.2, 0.4], "R@5": [0.05, 0.1, 0.2], "R@1": [0.025, 0.05, 0.1],
    }  # fmt: skip
    assert first["rows"][TASK]["ceiling"] == {"R@10": 0.9}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


# The table


def test_the_table_has_a_line_a_variant_and_task_with_mean_and_deviation(ablation):
    made = ablation(
        one={
            TASK: row(0.2, 0.4, 0.6, ceiling=0.9, ranks=(1.0, 2.0, 6.0)),
            "b": row(0.1, 0.1, 0.1),
        },
        two={TASK: row(0.5, 0.6, 0.8)},
    )
    shown = printed(measures_table(made, STUDY_STYLE))
    first = line_of(shown, "one", TASK)
    for value in ("90", "30", "3.00±2.65", "0.10±.05", "0.20±.10", "0.40±.20", "0.90"):
        assert value in first
    assert f"0.63±{stdev((0.5, 0.6, 0.8)):.2f}".replace("±0", "±") in line_of(shown, "two", TASK)
    assert "0.10±.00" in line_of(shown, "one", "b ")
    assert line_of(shown, "two", "b ").split()[1:3] == ["–", "–"]
    assert made.title in shown
    assert "best R@10" in shown
    assert made.protocol in " ".join(shown.split())


# Figures


@pytest.fixture
def picture(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    def drawn(draw, *shown):
        path = tmp_path / "figure.png"
        draw(shown[0], path, *shown[1:])
        return imread(path)

    return drawn


def inked(pixels, hexadecimal):
    """How many pixels are of about this colour."""
    colour = [int(hexadecimal[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return int((abs(pixels[..., :3] - colour).max(axis=-1) < 0.02).sum())


def test_a_variant_without_a_task_has_no_dot_there(ablation, picture):
    gap = ablation(one={TASK: row(0.2, 0.2)}, two={}, three={TASK: row(0.5, 0.5)})
    pixels = picture(draw_comparison, gap)
    assert inked(pixels, HUES[0]) > 50
    assert inked(pixels, HUES[1]) == 0
    assert inked(pixels, HUES[2]) > 50


def test_the_scale_ends_at_the_highest_value_unless_the_whole_is_asked_for(ablation, picture):
    """A line from 0.2 to 0.4 is longer where the scale ends at 0.4 than where it ends at 1."""
    made = ablation(one={TASK: row(0.2, 0.4)})
    lengths = [
        inked(picture(draw_comparison, made, *style), HUES[0])
        for style in ((), (Style(whole=False),))
    ]
    assert lengths[1] > 1.3 * lengths[0]


def test_curves_have_a_hue_each_and_a_band_where_seeds_differ(ablation, picture):
    def curve(*spread):
        places = {
            f"{i / 10:g}": {TASK: row(*(0.1 + i / 20 + s for s in spread))} for i in range(11)
        }
        return ablation(**places)

    one = picture(draw_curves, {"speech": curve(0.0)})
    both = picture(draw_curves, {"speech": curve(0.0), "events": curve(0.0, 0.1, 0.2)})
    assert inked(one, HUES[2]) > 300
    assert not inked(one, HUES[3])
    assert inked(both, HUES[2]) > 300
    assert inked(both, HUES[3]) > 300
    band = "#" + "".join(
        f"{round(255 - 0.18 * (255 - int(HUES[3][i : i + 2], 16))):02x}" for i in (1, 3, 5)
    )
    assert inked(both, band) > 3000
    assert inked(one, band) < 100
    many = picture(draw_curves, {f"corpus {i}": curve(0.0) for i in range(6)})
    assert inked(many, HUES[7]) > 300


def test_without_matplotlib_the_remedy_is_named(ablation, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    made = ablation(**{"0.5": {TASK: row(0.2)}})
    for draw, shown in ((draw_comparison, made), (draw_curves, {"speech": made})):
        with pytest.raises(UserError, match=r"pip install 'trichord\[metrics\]'"):
            draw(shown, tmp_path / "none.png")
