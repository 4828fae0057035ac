"""Where reports go, and which of them `trichord compare` reads."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from trichord.cli.measurement import Measurement
from trichord.cli.reports import Choice, name_of, place_of, reports_of, require_place
from trichord.evaluation.captions.protocol import CaptionRules
from trichord.types import UserError

RUN = Path("runs/a")


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        ({}, "evaluation"),
        ({"split": "val"}, "evaluation-val"),
        ({"protocol": "msrvtt-1ka-1000"}, "evaluation-msrvtt-1ka-1000"),
        ({"protocol": "msrvtt-1ka-1000", "silent": "borrowed"}, "evaluation-msrvtt-1ka-1000"),
        (
            {"protocol": "msrvtt-1ka-1000", "silent": "masked"},
            "evaluation-msrvtt-1ka-1000-silent-masked",
        ),
        ({"silent": "masked"}, "evaluation"),
        ({"silent": "random"}, "evaluation-silent-random"),
        ({"visual_weight": 2.0}, "evaluation-visual-2-audio-1"),
        ({"visual_weight": 1.0}, "evaluation"),
        ({"audio_weight": 0.5}, "evaluation-visual-1-audio-0.5"),
        ({"audio_type": "0"}, "evaluation-token-0.0"),
        ({"audio_type": "both"}, "evaluation-token-both"),
        ({"ties": "expected"}, "evaluation-ties-expected"),
        ({"split": "val", "ties": "optimistic"}, "evaluation-val-ties-optimistic"),
        ({"similarity": "dual-softmax"}, "evaluation-dual-softmax"),
        ({"source": "media", "device": "cpu"}, "evaluation"),
    ],
)
def test_each_way_of_measuring_has_a_file_of_its_own(chosen, name):
    assert name_of(Measurement(**chosen), "evaluation") == name
    assert place_of(RUN, Measurement(**chosen), "evaluation") == RUN / f"{name}.json"


def test_captions_are_named_by_how_they_are_written_and_scored():
    captions = CaptionRules(kind=("audio", "visual"), beams=1, tokens="blanks", resamples=9)
    named = name_of(Measurement(captions=captions, split="val"), "captions")
    assert named == "captions-val-kind-audio-visual-beams-1-tokens-blanks"
    usual = CaptionRules(meteor=False)
    assert name_of(Measurement(captions=usual), "captions") == "captions"
    assert name_of(Measurement(captions=captions), "evaluation") == "evaluation"


@pytest.mark.parametrize(
    ("to", "place"),
    [
        ("mine.json", "runs/a/mine.json"),
        ("mine", "runs/a/mine.json"),
        ("out/mine.json", "out/mine.json"),
        ("/tmp/out/mine", "/tmp/out/mine.json"),
    ],
)
def test_a_name_lies_in_the_run_and_a_path_where_it_says(to, place):
    chosen = Measurement(to=Path(to), split="val")
    assert place_of(RUN, chosen, "evaluation") == Path(place)
    require_place([RUN], chosen)


@pytest.mark.parametrize(
    ("to", "place"),
    [(None, None), ("mine", "mine.json"), ("mine.json", "mine.json"), ("out/a.json", "out/a.json")],
)
def test_a_model_without_a_folder_has_a_report_where_it_is_said_to_be(to, place):
    chosen = Measurement(to=to and Path(to), split="val")
    assert place_of(None, chosen, "evaluation") == (place and Path(place))
    require_place([None], chosen)


@pytest.mark.parametrize(
    ("to", "runs", "told"),
    [
        ("mine.png", 1, "ends in .json"),
        ("experiment.json", 1, "this file of a run is something else"),
        ("weighting", 1, "this file of a run is something else"),
        ("out/mine.json", 2, "one file for 2 runs: give a name without a folder"),
    ],
)
def test_a_place_without_sense_is_refused(to, runs, told):
    with pytest.raises(UserError, match=told):
        require_place([RUN] * runs, Measurement(to=Path(to)))


def test_no_file_but_a_report_is_replaced(tmp_path):
    (tmp_path / "mine.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match="is there and no report: choose another name"):
        require_place([tmp_path], Measurement(to=Path("mine.json")))
    (tmp_path / "mine.json").write_text('{"kind": "retrieval", "format": 1}')
    require_place([tmp_path], Measurement(to=Path("mine.json")))


# What is compared


@pytest.fixture
def run_with(tmp_path):
    """Makes a folder with files that say they are reports, and gives it."""

    def make(name, **files):
        for file, kind in files.items():
            path = tmp_path / name / f"{file.replace('_', '-')}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({"kind": kind}))
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (Choice(), "evaluation"),
        (Choice(split="test"), "evaluation"),
        (Choice(split="val"), "evaluation-val"),
        (Choice(protocol="audiocaps-a"), "evaluation-audiocaps-a"),
        (Choice(report="mine"), "mine"),
        (Choice(report="mine.json"), "mine"),
    ],
)
def test_the_report_that_is_chosen_is_read(choice, name, run_with):
    files = ("evaluation", "evaluation_val", "evaluation_audiocaps_a", "mine")
    run = run_with("run", **dict.fromkeys(files, "retrieval"))
    assert reports_of([run], choice) == ("evaluation", [run / f"{name}.json"])


def test_reports_on_captions_are_found_by_the_same_choice(run_with):
    run = run_with("run", captions="captions", captions_val="captions", odd="captions")
    assert reports_of([run], Choice()) == ("captions", [run / "captions.json"])
    assert reports_of([run], Choice(split="val")) == ("captions", [run / "captions-val.json"])
    assert reports_of([run], Choice(report="odd")) == ("captions", [run / "odd.json"])


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (
            Choice(),
            r"run 'trichord evaluate .*/run MANIFEST'; it has evaluation-val, which --report",
        ),
        (Choice(protocol="audiocaps-a"), "MANIFEST --protocol audiocaps-a'; it has"),
        (Choice(report="mine"), "MANIFEST --to mine'; it has"),
    ],
)
def test_a_report_that_is_not_there_is_named_by_the_command_that_makes_it(choice, told, run_with):
    run = run_with("run", evaluation_val="retrieval")
    with pytest.raises(UserError, match=f"has not been evaluated so: .*{told}"):
        reports_of([run], choice)


def test_a_run_without_any_report_says_nothing_of_others(run_with):
    with pytest.raises(UserError, match=r"MANIFEST --split val'\.$"):
        reports_of([run_with("run", metrics="x")], Choice(split="val"))


def test_reports_of_two_kinds_are_refused(run_with):
    runs = [run_with("a", captions="captions"), run_with("b", evaluation="retrieval")]
    with pytest.raises(UserError, match=r"a was measured on captions, .*b on retrieval"):
        reports_of(runs, Choice())


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        (Choice(split="val", protocol="audiocaps-a"), "each choose the report: give one"),
        (Choice(split="val", report="mine"), "each choose the report: give one"),
        (Choice(protocol="audiocaps"), "--protocol: there is no 'audiocaps'"),
    ],
)
def test_choices_without_sense_are_refused(choice, told, run_with):
    with pytest.raises(UserError, match=told):
        reports_of([run_with("run", evaluation="retrieval")], choice)


def test_files_stand_beside_runs_whatever_report_of_these_is_chosen(run_with):
    run = run_with("run", evaluation_val="retrieval", zero="retrieval", captions="captions")
    zero, val = run / "zero.json", run / "evaluation-val.json"
    assert reports_of([run, zero], Choice(split="val")) == ("evaluation", [val, zero])
    assert reports_of([zero], Choice()) == ("evaluation", [zero])
    with pytest.raises(UserError, match="--report has no effect with report files"):
        reports_of([zero, val], Choice(report="mine"))
    with pytest.raises(UserError, match=r"captions\.json was measured on captions"):
        reports_of([zero, run / "captions.json"], Choice())


def test_what_evaluate_calls_a_report_compare_finds_under_that_name(run_with):
    chosen = Measurement(split="val", ties="expected")
    for to in (None, Path("mine.json")):
        name = name_of(replace(chosen, to=to), "evaluation")
        run = run_with(f"run-{to}", **{name: "retrieval"})
        assert reports_of([run], Choice(report=name)) == ("evaluation", [run / f"{name}.json"])
