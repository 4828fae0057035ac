"""`trichord evaluate` on runs that fuse sight and sound: weights, audio type token, silence, protocols."""

import json
from dataclasses import replace

import pytest
import torch

from trichord.checkpoint import Progress, Run
from trichord.config import Cross, GlobalToGlobal
from trichord.corpora.manifest import read_manifest, write_manifest
from trichord.evaluation.named import NamedProtocol
from trichord.experiments import load_experiment
from trichord_world.experiments import SMALL_SOUND

CLIP_TASKS = ["clip<-visual", "clip<-audio", "clip<-audio_visual", "clip<-composed"]
CROSS = {"from_text": False, "heads": 2, "layers": 1, "frame_slots": 64}


@pytest.fixture(scope="module")
def made(small_world, tmp_path_factory):
    """Makes runs without training them, whose frozen towers are cached."""
    root = tmp_path_factory.mktemp("fused")

    def make(name, **parts):
        experiment = load_experiment("world-slava-av")
        model = replace(experiment.model, **parts)
        experiment = replace(experiment, system=name, model=model, stages=())
        run = Run(root / name)
        if not run.complete:
            run.start(experiment, "none")
            torch.manual_seed(0)
            run.finish(model.build(), experiment.objective.build(), Progress())
        return run.path

    return make


@pytest.fixture
def measured(small_world, command):
    """Measures a run by a command line and gives its report."""

    def measure(run, options="", manifest=small_world / "clips.jsonl"):
        assert command(f"evaluate {run} {manifest} --to report.json {options}") == 0
        return json.loads((run / "report.json").read_text())

    return measure


def tasks(report):
    """Rows from text or sound to media, by task."""
    return {row["name"]: row for row in report["rows"] if "<-" in row["name"]}


def recalls(report):
    return {name: row["estimates"] for name, row in tasks(report).items()}


@pytest.fixture
def silent_test_clips(small_world):
    """Ids of the test clips that have no sound, as their cached features say."""
    from trichord.features.store import FeatureFolder

    model = load_experiment("world-slava-av").model.build()
    ids = [c.id for c in read_manifest(small_world / "clips.jsonl") if c.split == "test"]
    table = FeatureFolder(small_world / "clips.features").table("audio", model.audio)
    steps = table.load(ids)[0].starts.diff().tolist()
    return {clip for clip, count in zip(ids, steps, strict=True) if not count}


def test_a_run_without_a_fusion_reports_what_it_always_did(made, measured):
    report = measured(made("plain"))
    assert list(tasks(report))[-2:] == ["visual<-composed", "audio<-composed"]
    assert (report["protocol"]["visual_weight"], report["protocol"]["audio_type"]) == (1.0, None)


def test_weights_fuse_a_run_without_a_fusion_as_the_mean_does(made, measured):
    plain, fused = made("plain"), made("g2g", fusion=GlobalToGlobal())
    assert recalls(measured(plain, "--visual-weight 1")) == recalls(measured(fused))
    one_sided = measured(fused, "--visual-weight 3 --audio-weight 0")
    assert list(tasks(one_sided))[-4:] == CLIP_TASKS
    assert recalls(one_sided)["clip<-visual"] != recalls(measured(fused))["clip<-visual"]
    assert (one_sided["protocol"]["visual_weight"], one_sided["protocol"]["audio_weight"]) == (
        3.0,
        0.0,
    )


def test_every_fusion_can_be_measured_and_drawn(made, measured, capsys):
    for level in ("global_to_local", "tight"):
        run = made(level, fusion=Cross(level=level, **CROSS))
        report = measured(run)
        assert all(recalls(report)[name] for name in CLIP_TASKS)
        assert bool(recalls(report)["visual<-sound"]) == (level != "global_to_local")
        assert (run / "report.png").stat().st_size > 10_000
        assert "clip<-composed" in capsys.readouterr().out


def test_silent_clips_are_counted_and_lent_the_sounds_of_training_clips(
    small_world, made, measured, silent_test_clips, capsys
):
    run = made("g2g", fusion=GlobalToGlobal())
    masked = measured(run)
    assert masked["silent"] == dict.fromkeys(silent_test_clips)
    assert silent_test_clips
    assert f"Silent: {len(silent_test_clips)} clips." in " ".join(capsys.readouterr().out.split())
    assert any(row["ceiling"] for row in masked["rows"])
    training = {c.id for c in read_manifest(small_world / "clips.jsonl") if c.split == "train"}
    for rule, word in (("borrowed", "borrowed"), ("random", "drawn")):
        lent = measured(run, f"--silent {rule}")
        assert set(lent["silent"]) == silent_test_clips
        donors = {donor for donor in lent["silent"].values() if donor}
        assert donors <= training
        assert f"sound {word} from" in lent["protocol"]["missing"]
        more, fewer = (tasks(one)["audio<-composed"]["sizes"]["gallery"] for one in (lent, masked))
        assert more > fewer
        assert not any(row["ceiling"] for row in lent["rows"])  # nobody knows it for lent sounds


def test_sounds_are_borrowed_from_another_manifest_if_one_is_named(
    small_world, made, measured, tmp_path, command, capsys
):
    clips = read_manifest(small_world / "clips.jsonl")
    write_manifest(tmp_path / "test.jsonl", [c for c in clips if c.split == "test"])
    run, test = made("g2g", fusion=GlobalToGlobal()), tmp_path / "test.jsonl"
    features = f"--features {small_world}/clips.features"
    assert command(f"evaluate {run} {test} {features} --silent borrowed") == 2
    assert "no training clips to lend" in capsys.readouterr().err
    named = f"{features} --silent borrowed --train-manifest {small_world}/clips.jsonl"
    assert measured(run, named, test)["silent"] == measured(run, "--silent borrowed")["silent"]


def test_another_sound_token_is_heard_from_the_media_themselves(made, measured, command, capsys):
    sound = replace(SMALL_SOUND, token=0.5, head="pretrained")
    run = made("token", audio=sound, fusion=GlobalToGlobal())
    verbal, nonverbal = (measured(run, f"--audio-type {token}") for token in ("0", "1"))
    assert verbal["protocol"]["audio_type"] == 0.0
    assert recalls(verbal)["visual<-visual"] == recalls(nonverbal)["visual<-visual"]
    assert recalls(verbal)["audio<-audio"] != recalls(nonverbal)["audio<-audio"]
    assert measured(run, "--audio-type none")["protocol"]["audio_type"] == "none"


def test_a_tower_without_sound_tokens_refuses_them(small_world, made, command, capsys):
    assert command(f"evaluate {made('plain')} {small_world}/clips.jsonl --audio-type 0.5") == 2
    assert "takes no audio type token" in capsys.readouterr().err


@pytest.fixture
def tiny_protocol(monkeypatch, silent_test_clips):
    """Published protocols as small as the world."""
    whole = NamedProtocol(
        listed=16,
        clips=16,
        captions=3,
        kind="composed",
        tasks=("clip<-composed", "audio<-composed"),
        silent="borrowed",
        source="here",
    )
    heard = replace(whole, clips=16 - len(silent_test_clips), silent="out")
    known = {"tiny-16": whole, "tiny-out": heard, "tiny-17": replace(whole, listed=17, clips=17)}
    monkeypatch.setattr("trichord.evaluation.named.PROTOCOLS", known)
    return heard.clips


def test_a_named_protocol_chooses_clips_captions_tasks_and_silence(
    made, measured, tiny_protocol, silent_test_clips, capsys
):
    run = made("g2g", fusion=GlobalToGlobal())
    report = measured(run, "--protocol tiny-16")
    assert list(tasks(report)) == ["clip<-composed", "audio<-composed"]
    assert tasks(report)["clip<-composed"]["sizes"]["gallery"] == 16
    assert report["protocol"]["captions"] == 48
    assert report["protocol"]["name"] == "tiny-16"
    assert "borrowed" in report["protocol"]["missing"]
    assert "Protocol: tiny-16: test split" in " ".join(capsys.readouterr().out.split())
    report = measured(run, "--protocol tiny-out")
    assert tasks(report)["clip<-composed"]["sizes"]["gallery"] == tiny_protocol
    assert tasks(report)["clip<-composed"]["sizes"]["queries"] == 3 * tiny_protocol
    assert report["protocol"]["captions"] == 3 * tiny_protocol
    assert report["silent"] == dict.fromkeys(silent_test_clips)


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("g2g", "--protocol tiny-17", "is of 17 test clips, the manifest has 16"),
        ("g2g", "--protocol tiny-16 --split val", "measures the split 'test'"),
        ("g2g", "--protocol tiny-out --silent random", "leave --silent out"),
        ("g2g", "--protocol tiny-99", "did you mean"),
        ("plain", "--protocol tiny-16", "has no fusion: give --visual-weight 1 --audio-weight 1"),
        ("g2g", "--visual-weight 0 --audio-weight 0", "both 0"),
        ("g2g", "--audio-type loud", "--audio-type loud"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    name, options, told, small_world, made, tiny_protocol, command, capsys
):
    run = made(name, fusion=GlobalToGlobal() if name == "g2g" else None)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert command(f"evaluate {run} {small_world}/clips.jsonl {options}") == 2
    complaint = capsys.readouterr().err.strip()
    assert told in complaint
    assert "Traceback" not in complaint
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_two_spaces_cannot_be_fused(small_world, runs, command, capsys):
    assert command(f"evaluate {runs}/clip-clap {small_world}/clips.jsonl --visual-weight 1") == 2
    assert (
        "--visual-weight and --audio-weight: this model does not compare audio with vision: their encoders"
        in (capsys.readouterr().err)
    )


def test_the_validation_split_leaves_the_report_on_the_test_split_alone(
    small_world, made, command, capsys
):
    run = made("splits")
    clips = small_world / "clips.jsonl"
    assert command(f"evaluate {run} {clips}") == 0
    before = (run / "evaluation.json").read_bytes()
    assert command(f"evaluate {run} {clips} --split val") == 0
    assert command(f"evaluate {run} {clips} --ties expected --visual-weight 2") == 0
    assert "evaluation-val.json and evaluation-val.png written" in capsys.readouterr().out
    assert (run / "evaluation.json").read_bytes() == before
    assert {path.name for path in run.glob("evaluation*")} == {
        f"{name}.{end}"
        for name in ("evaluation", "evaluation-val", "evaluation-visual-2-audio-1-ties-expected")
        for end in ("json", "png")
    }
    assert command(f"compare {run}") == 0
    assert "Protocol: test split" in " ".join(capsys.readouterr().out.split())
    assert command(f"compare {run} --split val") == 0
    assert "Protocol: val split" in " ".join(capsys.readouterr().out.split())
    assert command(f"compare {run} --report evaluation-visual-2-audio-1-ties-expected") == 0
    assert "ties expected" in capsys.readouterr().out


def test_a_report_of_other_clips_is_said_to_be_replaced(
    small_world, made, measured, tmp_path, capsys
):
    run = made("replaced")
    measured(run)
    measured(run)
    assert "takes the place" not in capsys.readouterr().err
    clips = [c for c in read_manifest(small_world / "clips.jsonl") if c.split == "test"]
    write_manifest(tmp_path / "fewer.jsonl", clips[:9])
    measured(run, f"--features {small_world}/clips.features", tmp_path / "fewer.jsonl")
    told = " ".join(capsys.readouterr().err.split())
    assert "takes the place of a report that was measured otherwise (vision gallery: " in told
    assert "--to keeps both" in told


def test_both_ways_are_shown_with_their_sizes_and_chance(made, measured, capsys):
    report = measured(made("plain"))
    shown = capsys.readouterr().out
    measured_rows = [row for row in report["rows"] if row["estimates"]]
    assert len(measured_rows) > 7
    for row in measured_rows:
        name, sizes = row["name"], row["sizes"]
        (cells,) = [line.split() for line in shown.splitlines() if line.split()[:1] == [name]]
        assert cells[1:3] == [str(sizes["queries"]), str(sizes["gallery"])]
        measures = ("R@10",) if "<-" in name else ("hit@10", "recall@10")
        assert all(f"{row['chance'][measure]:.2f}" in cells for measure in measures)
