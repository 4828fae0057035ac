import sys
from dataclasses import replace

import pytest

from trichord.evaluation.comparison import compare
from trichord.evaluation.figures import draw_comparison, draw_report
from trichord.evaluation.row import ReportRow
from trichord.types import UserError

pytest.importorskip("matplotlib")
CEILING = {"visual<-visual": {10: 0.95}, "visual<-sound": {10: 0.9}}


def pixels(path):
    from matplotlib.image import imread

    return imread(path)


def shows(picture, hexadecimal):
    """Whether the picture holds a pixel of about this colour."""
    colour = [int(hexadecimal[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return bool((abs(picture[..., :3] - colour).max(axis=-1) < 0.02).any())


def test_a_report_is_drawn_with_the_ceiling_only_where_it_is_known(report, tmp_path):
    draw_report(report(), tmp_path / "plain.png")
    draw_report(report(ceiling=CEILING), tmp_path / "bounded.png")
    assert shows(pixels(tmp_path / "plain.png"), "#1f2933")
    assert not shows(pixels(tmp_path / "plain.png"), "#2f855a")
    assert shows(pixels(tmp_path / "bounded.png"), "#2f855a")


def test_a_comparison_is_drawn_one_panel_a_task(report, tmp_path):
    reports = [report(seed=0, ceiling=CEILING), report(seed=1), report("audioclip")]
    draw_comparison(compare(reports), tmp_path / "seven.png")
    seven = pixels(tmp_path / "seven.png")
    assert shows(seven, "#2f855a")
    one = [replace(r, rows=r.rows[:1]) for r in reports]
    draw_comparison(compare(one), tmp_path / "one.png")
    assert pixels(tmp_path / "one.png").shape[0] < seven.shape[0]


def test_a_system_without_a_task_leaves_its_row_empty(report, tmp_path):
    whole, without = report(), report("zero-shot")
    gone = ReportRow(name=without.rows[6].name, sizes={"queries": 0, "gallery": 29})
    without = replace(without, rows=(*without.rows[:6], gone, *without.rows[7:]))
    draw_comparison(compare([whole, without]), tmp_path / "gap.png")
    draw_comparison(compare([whole, report("zero-shot")]), tmp_path / "full.png")
    gap, full = pixels(tmp_path / "gap.png"), pixels(tmp_path / "full.png")
    assert gap.shape == full.shape
    third = gap.shape[0] * 2 // 3  # task 7 stands alone in the last line of panels
    assert (gap[third:] != full[third:]).any()
    assert (gap[: third // 2] == full[: third // 2]).all()


def test_nothing_answered_is_refused(report, tmp_path):
    empty = replace(report(), rows=report().rows[7:9])
    with pytest.raises(UserError, match="nothing to draw"):
        draw_report(empty, tmp_path / "none.png")
    with pytest.raises(UserError, match="nothing to draw"):
        draw_comparison(compare([empty]), tmp_path / "none.png")


def test_without_matplotlib_the_remedy_is_named(report, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"pip install 'trichord\[metrics\]'"):
        draw_report(report(), tmp_path / "none.png")


def test_fused_clips_have_a_hue_and_panels_of_their_own(report, tmp_path):
    draw_report(report(), tmp_path / "plain.png")
    draw_report(report(fused=True), tmp_path / "fused.png")
    plain, fused = pixels(tmp_path / "plain.png"), pixels(tmp_path / "fused.png")
    assert fused.shape[0] > plain.shape[0]
    assert shows(fused, "#8162ca")  # 0.85 of the hue on white
    assert not shows(plain, "#8162ca")
    reports = [report("plain"), report("fused", fused=True)]
    draw_comparison(compare(reports), tmp_path / "ten.png")
    draw_comparison(compare(reports[:1]), tmp_path / "seven.png")
    assert pixels(tmp_path / "ten.png").shape[0] > pixels(tmp_path / "seven.png").shape[0]


def test_runs_of_one_name_that_differ_have_rows_of_their_own(report, tmp_path):
    from trichord.evaluation.drawing import HUES

    settings = ({"lr": "0.01"}, {"lr": "0.02"})
    alike = [report(seed=seed, settings=settings[0]) for seed in (0, 1)]
    unlike = [report(seed=seed, settings=one) for seed, one in enumerate(settings)]
    draw_comparison(compare(alike), tmp_path / "alike.png")
    draw_comparison(compare(unlike), tmp_path / "unlike.png")
    one, two = pixels(tmp_path / "alike.png"), pixels(tmp_path / "unlike.png")
    assert two.shape[0] > one.shape[0]
    assert two.shape[1] > one.shape[1]  # room for what sets them apart
    assert shows(two, HUES[1])
    assert not shows(one, HUES[1])
