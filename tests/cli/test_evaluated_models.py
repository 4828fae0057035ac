"""`trichord evaluate` and `compare` on models that are no runs."""

import json

import pytest

MODEL = "world-clip-clap"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_named_model_has_the_numbers_of_the_run_without_stages(
    small_world, runs, here, command, capsys
):
    line = f"evaluate {MODEL} {small_world}/clips.jsonl --to"
    assert command(f"{line} zero") == 0
    assert ".: zero.json and zero.png written." in capsys.readouterr().out
    report = json.loads((here / "zero.json").read_text())
    of_run = json.loads((runs / "clip-clap" / "evaluation.json").read_text())
    assert report.pop("run") == f"{MODEL}, before training"
    assert of_run.pop("run") == "clip-clap"
    assert report == of_run
    assert all(report["provenance"]["names"].values())
    assert command(f"{line} reports/zero.json --split val") == 0
    assert (here / "reports" / "zero.png").is_file()


def test_without_a_file_the_numbers_are_shown_and_nothing_is_written(
    small_world, here, command, capsys
):
    assert command(f"evaluate {MODEL} {small_world}/clips.jsonl") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Nothing written: name a file with --to." in shown
    assert f"{MODEL}, before training: zero-shot, seed 0" in shown
    left = "Left out: visual<-sound: this model does not compare audio with vision"
    assert left in shown
    assert list(here.iterdir()) == []


def test_a_report_file_stands_beside_runs(small_world, runs, here, command, capsys):
    clips = f"{small_world}/clips.jsonl"
    assert command(f"evaluate {MODEL} {clips} --to zero") == 0
    capsys.readouterr()
    assert command(f"compare {runs}/slava-av zero.json --json table.json") == 0
    systems = json.loads((here / "table.json").read_text())["systems"]
    assert [(one["name"], one["runs"]) for one in systems] == [
        ("slava-av", ["slava-av/seed-0", "slava-av/seed-1"]),
        ("zero-shot", [f"{MODEL}, before training"]),
    ]
    assert command(f"compare {runs}/clip-clap zero.json") == 2
    assert "are the same experiment (zero-shot)" in capsys.readouterr().err
    assert command("compare zero.json --split test") == 2
    assert "--split has no effect with report files" in capsys.readouterr().err
    for file in ("table.json", clips):
        assert command(f"compare zero.json {file}") == 2
        assert f"{file} is no report of retrieval or captions" in capsys.readouterr().err


def test_a_dual_softmax_has_a_report_of_its_own_which_no_other_stands_beside(
    small_world, runs, here, command, capsys
):
    run, clips = runs / "audio-visual" / "seed-0", f"{small_world}/clips.jsonl"
    before = (run / "evaluation.json").read_bytes()
    assert command(f"evaluate {run} {clips} --similarity dual-softmax") == 0
    assert (run / "evaluation.json").read_bytes() == before
    usual, dual = (
        json.loads((run / f"{name}.json").read_text())
        for name in ("evaluation", "evaluation-dual-softmax")
    )
    assert (usual["protocol"]["similarity"], dual["protocol"]["similarity"]) == (
        "pairwise",
        "dual-softmax",
    )
    assert usual["rows"] != dual["rows"]
    assert any(row["ceiling"] for row in usual["rows"])
    assert not any(row["ceiling"] for row in dual["rows"])  # a ranking by all queries may exceed it
    assert command(f"compare {run} --report evaluation-dual-softmax") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "dual softmax over all queries at temperature 0.01" in told
    assert command(f"compare {runs}/slava-av {run}/evaluation-dual-softmax.json") == 2
    assert "(similarity: pairwise against dual-softmax)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{model}p {clips}", "neither a run directory, a model, a folder of weights nor an"),
        ("odd {clips}", "'odd' is of type 'bert', which is of no known family"),
        ("missing.json {clips}", "missing.json"),
        ("{model} {clips} --to zero.png", "a report is JSON: give a name that ends in .json"),
        ("{model} {clips} --to odd/config.json", "is there and no report: choose another name"),
        ("{model} {clips} --to taken", "--to taken.json is a folder: name a file"),
        ("{model} {clips} --captions.beams 1", "--captions.beams has no effect with"),
        ("{model} {clips} --features odd", "run 'trichord extract' first, with the same --model"),
        (
            "clip4vla-caption {clips}",
            "has not learnt to write captions yet: train it, and evaluate",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(
    line, told, small_world, here, command, capsys
):
    (here / "odd").mkdir()
    (here / "taken.json").mkdir()
    (here / "odd" / "config.json").write_text('{"model_type": "bert"}')
    before = {path: path.is_dir() or path.read_bytes() for path in here.rglob("*")}
    filled = line.format(model=MODEL, clips=small_world / "clips.jsonl")
    assert command(f"evaluate {filled}") == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    assert told in complaint
    assert {path: path.is_dir() or path.read_bytes() for path in here.rglob("*")} == before
