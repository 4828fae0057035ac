import json
from dataclasses import replace
from importlib.metadata import version

import pytest
from rich.console import Console

from trichord.evaluation.report import RetrievalReport, read_report, write_json
from trichord.evaluation.tables import back_table, retrieval_table
from trichord.types import UserError


def printed(renderable):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_a_report_comes_back_from_json_equal(report, tmp_path):
    made = report(ceiling={"visual<-visual": {1: 0.5, 10: 0.9}})
    write_json(made, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json", RetrievalReport) == made
    assert made.trichord == version("trichord")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_the_file_says_what_it_is_in_words(report, tmp_path):
    write_json(report(), tmp_path / "report.json")
    held = json.loads((tmp_path / "report.json").read_text())
    assert (held["kind"], held["format"], held["protocol"]["ties"]) == (
        "retrieval",
        3,
        "pessimistic",
    )
    assert held["rows"][0]["estimates"]["R@10"]["low"] <= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "is not JSON"),
        ("[1, 2]", "is not a retrieval report"),
        ('{"kind": "captioning"}', "is not a retrieval report"),
        ('{"kind": "retrieval", "format": 99}', "is of format 99, this Trichord reads 3"),
        ('{"kind": "retrieval", "format": 3, "run": 3}', "is broken at run"),
    ],
)
def test_another_file_is_refused_in_one_line_with_the_remedy(tmp_path, text, words):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as refused:
        read_report(path, RetrievalReport)
    assert str(path) in str(refused.value)
    assert "trichord evaluate" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"gone\.json: cannot be read"):
        read_report(tmp_path / "gone.json", RetrievalReport)


def test_the_table_holds_a_line_a_task_with_intervals_and_the_protocol(report):
    made = report()
    shown = printed(retrieval_table(made))
    first = made.rows[0]
    assert str(first.estimates["R@10"]) in shown
    (line,) = [line for line in shown.splitlines() if first.name in line]
    assert line.split()[1:3] == [str(size) for size in first.sizes.values()] == ["87", "29"]
    assert f"{10 / 29:.2f}" in line.split()  # chance
    assert sum("<-" in line for line in shown.splitlines()) == 9
    assert "Ceiling" not in shown
    assert made.protocol.vision_gallery in shown


def test_an_absent_task_says_so(report):
    (line,) = [
        row for row in printed(retrieval_table(report())).splitlines() if "visual<-composed" in row
    ]
    assert "absent" in line
    assert "0.00" not in line


def test_the_ceiling_stands_beside_the_number(report):
    shown = printed(retrieval_table(report(ceiling={"visual<-visual": {10: 0.77}})))
    assert "Ceiling R@10" in shown
    (line,) = [row for row in shown.splitlines() if "visual<-visual" in row]
    assert "0.77" in line


def test_silent_clips_are_listed_with_their_donors_and_counted(report, tmp_path):
    made = replace(report(), silent={"a": "t7", "b": None, "c": "t1"})
    write_json(made, tmp_path / "report.json")
    held = json.loads((tmp_path / "report.json").read_text())
    assert held["silent"] == {"a": "t7", "b": None, "c": "t1"}
    assert read_report(tmp_path / "report.json", RetrievalReport) == made
    shown = " ".join(printed(retrieval_table(made)).split())
    assert "Silent: 3 clips, 2 with the sound of a training clip." in shown
    assert "Silent: 1 clips." in " ".join(
        printed(retrieval_table(replace(made, silent={"b": None}))).split()
    )
    assert "Silent" not in printed(retrieval_table(report()))


@pytest.mark.parametrize("token", [0.25, "both"])
def test_a_sound_token_comes_back_as_it_was(report, tmp_path, token):
    write_json(report(audio_type=token), tmp_path / "report.json")
    assert read_report(tmp_path / "report.json", RetrievalReport).protocol.audio_type == token


def test_tasks_that_ask_for_clips_have_their_lines_where_something_fuses_them(report):
    shown = printed(retrieval_table(report(fused=True)))
    assert sum("clip<-" in line for line in shown.splitlines()) == 4
    assert sum("<-" in line for line in shown.splitlines()) == 13


def test_the_way_back_has_its_sizes_intervals_and_chance(report):
    made = report()
    shown = printed(back_table(made))
    assert sum("->" in line for line in shown.splitlines()) == 7  # those that are answered
    (back,) = [row for row in made.rows if row.name == "visual->visual"]
    (line,) = [line for line in shown.splitlines() if back.name in line]
    assert line.split()[1:3] == [str(size) for size in back.sizes.values()] == ["29", "87"]
    for told in (back.estimates["hit@10"], back.estimates["recall@10"], f"{10 / 87:.2f}"):
        assert str(told) in line
    assert f"{back.chance['hit@10']:.2f}" in line.split()
    assert back.chance["hit@10"] > 2 * back.chance["recall@10"]


def test_a_run_selected_on_test_says_so_beneath_its_table(report):
    shown = " ".join(printed(retrieval_table(report(selected_on_test=True))).split())
    assert (
        "Protocol: SELECTION ON TEST: the run's epoch was chosen on the test split; test split"
        in shown
    )
    assert "SELECTION" not in printed(retrieval_table(report()))


def test_reports_of_before_are_refused_with_the_remedy(report, tmp_path):
    path = tmp_path / "report.json"
    write_json(report(), path)
    held = json.loads(path.read_text())
    path.write_text(json.dumps(held | {"format": 2}))
    with pytest.raises(
        UserError, match=r"of format 2, .* reads 3; make one with `trichord evaluate RUN"
    ):
        read_report(path, RetrievalReport)
    del held["provenance"]
    path.write_text(json.dumps(held))
    with pytest.raises(UserError, match="is broken at provenance"):
        read_report(path, RetrievalReport)
