import json
import sys
from statistics import stdev

import pytest
from rich.console import Console

from trichord.evaluation.ablation import (
    Ablation,
    Cell,
    Variant,
    draw_curves,
    draw_rows,
    table,
    variant,
    write_ablation,
)
from trichord.types import UserError

TASK = "visual<-visual"


def cell(*recalls, ceiling=None, ranks=None):
    """R@10 by seed; R@5 and R@1 are half and a quarter of it."""
    return Cell(
        recall={10: recalls, 5: tuple(r / 2 for r in recalls), 1: tuple(r / 4 for r in recalls)},
        median_rank=ranks or (3.0,) * len(recalls),
        queries=90,
        gallery=30,
        ceiling=ceiling,
    )


def ablation(**cells):
    """Variants by name with their cells by task."""
    variants = tuple(
        Variant(name=name, seeds=(0, 1, 2), cells=held) for name, held in cells.items()
    )
    return Ablation(title="What it is made of", protocol="test split; 30 clips", variants=variants)


def printed(renderable):
    console = Console(width=250)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def row_of(shown, *words):
    (line,) = [line for line in shown.splitlines() if all(word in line for word in words)]
    return line


# Numbers


def test_the_spread_is_that_of_a_sample_of_seeds():
    assert cell(0.2, 0.4, 0.6).spread(10) == (pytest.approx(0.4), pytest.approx(0.2))
    assert cell(0.2, 0.4, 0.6).spread(1) == (pytest.approx(0.1), pytest.approx(0.05))
    assert cell(0.3).spread(10) == (0.3, 0.0)


def test_a_variant_has_a_value_a_seed_for_each_task(report):
    reports = [report(seed=seed, recall=recall) for seed, recall in ((4, 0.2), (7, 0.6))]
    found = variant("mine", reports)
    assert (found.name, found.seeds) == ("mine", (4, 7))
    first = reports[0].results[0]
    assert found.cells[TASK].recall[10] == (0.2, 0.6)
    assert found.cells[TASK].recall[1] == (first.forward.recall[1].value,) * 2
    assert found.cells[TASK].median_rank == (first.forward.median_rank,) * 2
    assert (found.cells[TASK].queries, found.cells[TASK].gallery) == (first.queries, first.gallery)
    asked = [result.name for result in reports[0].results if result.forward is not None]
    assert list(found.cells) == asked
    assert len(asked) < len(reports[0].results)  # what nobody asked is no column


def test_only_the_tasks_of_interest_are_kept_with_the_best_possible_beside_them(report):
    known = report(ceiling={"audio<-audio": {10: 0.9}})
    found = variant("mine", [known], ("audio<-audio", TASK, "visual<-composed"))
    assert list(found.cells) == [TASK, "audio<-audio"]
    assert found.cells["audio<-audio"].ceiling == 0.9
    assert found.cells[TASK].ceiling is None


def test_seeds_that_were_measured_differently_are_refused(report):
    with pytest.raises(UserError, match=r"mine: its seeds were measured differently \(rule for ti"):
        variant("mine", [report(), report(seed=1, ties="expected")])


def test_a_variant_that_was_asked_none_of_its_tasks_is_refused(report):
    with pytest.raises(UserError, match=r"mine: .* none of its tasks \(visual<-composed\): add"):
        variant("mine", [report()], ("visual<-composed",))


def test_tasks_are_those_of_all_variants_in_their_order():
    some = ablation(one={"a": cell(0.1)}, two={"b": cell(0.1), "a": cell(0.1)})
    assert some.tasks == ("a", "b")


def test_every_number_of_every_seed_is_written(tmp_path):
    made = ablation(one={TASK: cell(0.1, 0.2, 0.4, ceiling=0.9)}, two={TASK: cell(0.3, 0.4, 0.5)})
    write_ablation(made, tmp_path / "a.json")
    held = json.loads((tmp_path / "a.json").read_text())
    assert (held["title"], held["protocol"]) == (made.title, made.protocol)
    assert [one["name"] for one in held["variants"]] == ["one", "two"]
    first = held["variants"][0]
    assert first["seeds"] == [0, 1, 2]
    assert first["cells"][TASK]["recall"] == {
        "10": [0.1, 0.2, 0.4], "5": [0.05, 0.1, 0.2], "1": [0.025, 0.05, 0.1],
    }  # fmt: skip
    assert first["cells"][TASK]["ceiling"] == 0.9
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


# The table


def test_the_table_has_a_line_a_variant_and_task_with_mean_and_deviation():
    made = ablation(
        one={
            TASK: cell(0.2, 0.4, 0.6, ceiling=0.9, ranks=(1.0, 2.0, 6.0)),
            "b": cell(0.1, 0.1, 0.1),
        },
        two={TASK: cell(0.5, 0.6, 0.8)},
    )
    shown = printed(table(made))
    first = row_of(shown, "one", TASK)
    for value in ("90", "30", "0.100 ± 0.050", "0.200 ± 0.100", "0.400 ± 0.200", "0.90", "3.0"):
        assert value in first
    assert f"0.633 ± {stdev((0.5, 0.6, 0.8)):.3f}" in row_of(shown, "two", TASK)
    assert "–" in row_of(shown, "two", TASK)
    assert "0.100 ± 0.000" in row_of(shown, "one", " b ")
    assert made.title in shown
    assert "seeds 0, 1, 2" in shown
    assert made.protocol in " ".join(shown.split())


# Figures


@pytest.fixture
def picture(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.image import imread

    def drawn(draw, shown):
        path = tmp_path / "figure.png"
        draw(shown, path)
        return imread(path)

    return drawn


def inked(pixels, hexadecimal):
    """How many pixels are of about this colour."""
    colour = [int(hexadecimal[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return int((abs(pixels[..., :3] - colour).max(axis=-1) < 0.02).sum())


def test_rows_are_drawn_with_a_dot_a_variant(picture):
    from trichord.evaluation.drawing import HUES

    two = ablation(one={TASK: cell(0.2, 0.2, 0.2)}, two={TASK: cell(0.5, 0.5, 0.5)})
    three = ablation(
        **{one.name: one.cells for one in two.variants}, gap={}, more=two.variants[0].cells
    )
    dots = [inked(picture(draw_rows, made), HUES[3]) for made in (two, three)]
    assert dots[0] > 100
    assert dots[1] == pytest.approx(1.5 * dots[0], rel=0.1)  # a variant without the task has none


def test_each_task_has_a_panel_of_its_own(picture):
    narrow = picture(draw_rows, ablation(one={TASK: cell(0.2)}))
    wide = picture(draw_rows, ablation(one={name: cell(0.2) for name in ("a", "b", "c")}))
    assert wide.shape[1] > 1.5 * narrow.shape[1]
    assert wide.shape[0] == narrow.shape[0]


def test_curves_have_a_hue_each_and_a_band_where_seeds_differ(picture):
    from trichord.evaluation.drawing import HUES

    def curve(*spread):
        places = {
            f"{i / 10:g}": {TASK: cell(*(0.1 + i / 20 + s for s in spread))} for i in range(11)
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


def test_without_matplotlib_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    made = ablation(**{"0.5": {TASK: cell(0.2)}})
    for draw, shown in ((draw_rows, made), (draw_curves, {"speech": made})):
        with pytest.raises(UserError, match=r"pip install 'trichord\[metrics\]'"):
            draw(shown, tmp_path / "none.png")


def test_runs_that_differ_in_more_than_their_seeds_are_no_variant(report):
    fast = report(seed=1, settings={"stages.0.optimizer.lr": "0.1"})
    with pytest.raises(
        UserError, match=r"mine: .* are no seeds of one experiment \(slava-av \(lr 0.1"
    ):
        variant("mine", [report(), fast])
