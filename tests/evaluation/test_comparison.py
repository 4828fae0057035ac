import json
from dataclasses import replace

import pytest
from rich.console import Console

from trichord.evaluation.comparison import compare
from trichord.evaluation.published import TABLE_II
from trichord.evaluation.report import write_json
from trichord.evaluation.row import ReportRow
from trichord.evaluation.tables import published_tables, systems_table
from trichord.types import UserError


def printed(renderable):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_seeds_of_one_experiment_become_mean_and_sample_sd(report):
    made = compare([report(seed=s, recall=r) for s, r in ((0, 0.4), (1, 0.5), (2, 0.6))])
    (system,) = made.systems
    cell = system.cell("visual<-visual", "R@10")
    assert (cell.mean, cell.sd) == (pytest.approx(0.5), pytest.approx(0.1))  # n - 1 below the root
    assert (cell.low, cell.high) == (None, None)
    assert cell.span == pytest.approx((0.4, 0.6))
    assert str(cell) == "0.50±.10"
    assert system.seeds == (0, 1, 2)
    assert made.spread() == "mean ± sample sd over training seeds"


def test_one_seed_has_its_bootstrap_interval_and_the_table_says_so(report):
    made = compare([report(recall=0.4)])
    cell = made.systems[0].cell("visual<-visual", "R@10")
    assert (cell.mean, cell.sd) == (0.4, None)
    assert cell.span == pytest.approx((0.3, 0.5))
    shown = printed(systems_table(made, "R@10"))
    assert "0.40 (.30–.50)" in shown
    assert "1 seed" in shown
    assert "one seed: its 95 % interval over clips" in " ".join(shown.split())


def test_systems_stand_in_the_papers_order_and_others_after(report):
    names = ["mine", "zero-shot", "slava-av", "audioclip", "wav2clip-frozen-text"]
    made = compare([report(name) for name in names])
    assert [system.name for system in made.systems] == [
        "wav2clip-frozen-text",
        "audioclip",
        "slava-av",
        "zero-shot",
        "mine",
    ]


def test_unlike_protocols_are_refused_with_runs_and_difference(report):
    with pytest.raises(UserError) as refused:
        compare([report(seed=0), report(seed=1), report("audioclip", ties="expected")])
    text = str(refused.value)
    assert "runs/slava-av-0 and runs/audioclip-0" in text
    assert "rule for ties: pessimistic against expected" in text
    assert "\n" not in text


def test_the_same_experiment_and_seed_twice_are_refused(report):
    with pytest.raises(UserError) as refused:
        compare([report(), report(seed=1), report()])
    assert str(refused.value) == (
        "runs/slava-av-0 and runs/slava-av-0 are the same experiment (slava-av) on the same clips with "
        "the same seed 0: leave one of them out."
    )


def test_unlike_ceilings_are_refused_and_one_missing_is_no_matter(report):
    low, high = ({"visual<-visual": {10: value}} for value in (0.8, 0.9))
    made = compare([report(seed=0), report(seed=1, ceiling=low), report(seed=2)])
    [system] = made.systems
    assert system.rows["visual<-visual"].ceiling == {"R@10": 0.8}
    assert system.rows["visual<-audio"].ceiling == {}
    with pytest.raises(UserError, match="different ceilings"):
        compare([report(seed=0, ceiling=low), report(seed=1), report(seed=2, ceiling=high)])


def test_nothing_to_compare_is_refused():
    with pytest.raises(UserError, match="at least one"):
        compare([])


def test_the_table_has_a_line_a_task_that_somebody_answers_and_the_ceiling_last(report):
    made = compare([report(ceiling={"visual<-sound": {10: 0.66}}), report("mine")])
    assert len(made.rows("R@10")) == 7  # no composed captions, so those two lines are left out
    lines = [line for line in printed(systems_table(made, "R@10")).splitlines() if "<-" in line]
    assert len(lines) == 7
    assert lines[-1].split()[-1] == "0.66"
    assert lines[0].split()[-1] == "–"
    assert made.systems[0].protocol.vision_gallery in printed(systems_table(made, "R@10"))


def test_the_papers_table_is_complete_and_kept_apart():
    assert sum(len(line) for line in TABLE_II.values()) == 6 * 7 + 1
    assert TABLE_II["wav2clip-trainable-text"]["visual<-sound"] == 0.27
    assert TABLE_II["slava-a-and-v"]["visual<-sound"] == 0.52
    assert TABLE_II["audioclip"]["visual<-visual"] == 0.69
    assert TABLE_II["slava-av"]["audio<-audio_visual"] == 0.45
    shown = printed(*published_tables("retrieval"))
    assert "AVCaps test split, 200 clips" in shown
    assert sum("<-" in line for line in shown.splitlines()) == 7


def test_the_json_holds_cells_runs_and_protocol(report, tmp_path):
    made = compare([report(seed=s, recall=r) for s, r in ((0, 0.4), (1, 0.6))])
    write_json(made, tmp_path / "comparison.json")
    held = json.loads((tmp_path / "comparison.json").read_text())
    [system] = held["systems"]
    cell = system["rows"]["visual<-visual"]["cells"]["R@10"]
    assert cell["mean"] == pytest.approx(0.5)
    assert cell["values"] == [0.4, 0.6]
    assert system["runs"] == ["runs/slava-av-0", "runs/slava-av-1"]
    assert system["protocol"]["vision_clips"] == 29
    assert held["protocol"].startswith("test split")
    assert (held["kind"], held["format"]) == ("comparison", 3)


def test_runs_with_and_without_a_fusion_stand_side_by_side(report):
    made = compare([report("plain"), report("fused", fused=True)])
    assert tuple(made.rows("R@10"))[-3:] == ("clip<-visual", "clip<-audio", "clip<-audio_visual")
    assert made.rows("R@10")["clip<-visual"][0].sizes["gallery"] == 30
    lines = [line for line in printed(systems_table(made, "R@10")).splitlines() if "clip<-" in line]
    assert len(lines) == 3
    assert all(line.split()[4] == "–" for line in lines)  # after task, asked, clips and chance
    assert all("(" in line for line in lines)


def test_unlike_weights_are_refused(report):
    with pytest.raises(UserError, match="visual weight: 1 against 2"):
        compare([report(seed=0), report(seed=1, visual_weight=2.0)])


# Runs of one name that are not the same


SLOW = {"stages.0.optimizer.lr": "0.0003", "objective.temperature": "0.07", "clips": "a1b2c3d4e5"}


def named(report, seed, called="all.jsonl", **changes):
    """A report on a run with its settings, and the name of its manifest."""
    made = report(seed=seed, settings=SLOW | changes)
    return replace(made, provenance=replace(made.provenance, names={"clips": called}))


def test_runs_with_another_setting_are_no_seeds_of_the_same(report):
    fast = {"stages.0.optimizer.lr": "0.01", "objective.temperature": "1.0"}
    made = compare([named(report, 0), named(report, 7, **fast), named(report, 1)])
    assert [(one.name, one.seeds) for one in made.systems] == [
        ("slava-av", (0, 1)),
        ("slava-av", (7,)),
    ]
    assert [one.differs for one in made.systems] == [
        {"lr": "0.0003", "temperature": "0.07"},
        {"lr": "0.01", "temperature": "1.0"},
    ]
    shown = printed(systems_table(made, "R@10"))
    assert "temperature" in shown
    assert "lr 0.0003" in shown
    assert "lr 0.01" in shown
    assert [one.heading for one in made.systems] == [
        "slava-av (lr 0.0003, temperature 0.07)",
        "slava-av (lr 0.01, temperature 1.0)",
    ]


def test_runs_that_learnt_from_other_clips_are_no_seeds_of_the_same(report):
    made = compare([named(report, 0), named(report, 3, "quarter.jsonl", clips="ffff0000")])
    assert [one.heading for one in made.systems] == [
        "slava-av (clips all.jsonl)",
        "slava-av (clips quarter.jsonl)",
    ]
    same_name = compare([named(report, 0), named(report, 3, clips="ffff0000")])
    assert [one.differs for one in same_name.systems] == [{"clips": "a1b2c3"}, {"clips": "ffff00"}]


def test_the_same_seed_under_other_settings_is_no_repetition(report):
    made = compare([named(report, 0), named(report, 0, **{"hand-over": "last"})])
    assert [one.differs for one in made.systems] == [{}, {"hand-over": "last"}]


def test_runs_that_started_from_runs_of_other_seeds_are_repetitions(report):
    made = [report(), report()]
    starts = [
        replace(one, provenance=replace(one.provenance, seeds=(0, start)))
        for one, start in zip(made, (4, 5), strict=True)
    ]
    assert compare(starts).systems[0].seeds == (0, 0)


def test_settings_are_named_as_shortly_as_tells_them_apart(report):
    changes = {
        "stages.0.optimizer.lr": "0.1",
        "stages.1.optimizer.lr": "0.2",
        "stages.1.epochs": "3",
        "start.stages.0.epochs": "9",
        "model.text.name": "abcdef012345",
    }
    one, other = named(report, 0), named(report, 1, **changes)
    names = {"clips": "all.jsonl", "model.text.name": "my-clip"}
    other = replace(other, provenance=replace(other.provenance, names=names))
    first, second = compare([one, other]).systems
    assert first.differs == {"0.optimizer.lr": "0.0003"}
    assert second.differs == {
        "0.optimizer.lr": "0.1",
        "1.optimizer.lr": "0.2",
        "epochs": "3",
        "start epochs": "9",
        "text.name": "my-clip",
    }
    assert second.label == ("0.optimizer.lr 0.1", "1.optimizer.lr 0.2", "epochs 3", "2 more")


def test_headings_tell_as_much_as_it_takes_to_tell_systems_apart(report):
    many = {f"stages.0.{name}": "1" for name in "abcd"}
    made = compare([named(report, 0), named(report, 0, **many), named(report, 0, **many, last="2")])
    headings = [one.heading for one in made.systems]
    assert len(set(headings)) == 3
    assert headings[1] == "slava-av (a 1, b 1, c 1, d 1)"
    assert headings[2] == "slava-av (a 1, b 1, c 1, d 1, last 2)"


def test_a_selection_on_test_is_not_set_beside_an_honest_run(report):
    with pytest.raises(UserError) as refused:
        compare([report(), report(seed=1, selected_on_test=True)])
    assert str(refused.value) == (
        "runs/slava-av-0 and runs/slava-av-1 were measured under unlike protocols (selection on the test "
        "split: no against yes): train both with or both without --select-on-test."
    )
    both = compare([report(seed=s, selected_on_test=True) for s in (0, 1)])
    assert "SELECTION ON TEST" in printed(systems_table(both, "R@10"))


def test_the_table_says_how_large_each_task_is_and_what_chance_reaches(report):
    (line, *_) = [
        line
        for line in printed(systems_table(compare([report()]), "R@10")).splitlines()
        if "<-" in line
    ]
    assert line.split()[:5] == ["1", "visual<-visual", "87", "29", f"{10 / 29:.2f}"]


def test_sizes_are_those_of_runs_that_can_be_asked(report):
    whole, without = report(), report("zero-shot")
    gone = ReportRow(name=without.rows[6].name, sizes={"queries": 0, "gallery": 29})
    without = replace(without, rows=(*without.rows[:6], gone, *without.rows[7:]))
    for reports in ([whole, without], [without, whole]):
        rows = compare(reports).rows("R@10")
        assert [row.sizes for row in rows["visual<-sound"]] == [whole.rows[6].sizes]
    assert list(rows)[:2] == ["visual<-visual", "visual<-audio"]


def test_the_json_holds_every_recall_and_what_sets_systems_apart(report, tmp_path):
    reports = [named(report, 0), named(report, 1), named(report, 0, **{"hand-over": "last"})]
    write_json(compare(reports), tmp_path / "comparison.json")
    held = json.loads((tmp_path / "comparison.json").read_text())
    assert [one["differs"] for one in held["systems"]] == [{}, {"hand-over": "last"}]
    row = held["systems"][0]["rows"]["visual<-visual"]
    assert list(row["cells"])[:3] == ["R@1", "R@5", "R@10"]
    first = reports[0].rows[0]
    assert row["cells"]["R@1"]["mean"] == pytest.approx(first.estimates["R@1"].value)
    assert row["cells"]["median rank"]["values"] == [first.numbers["median rank"]] * 2
    assert row["sizes"]["queries"] == 87
    assert row["chance"]["R@10"] == pytest.approx(10 / 29)
    assert "hit@10" in held["systems"][0]["rows"]["visual->visual"]["cells"]
