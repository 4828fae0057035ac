"""`trichord caption`, and `evaluate` and `compare` on runs that write captions."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch

from trichord.checkpoint import Progress, Run
from trichord.cli.captioning import caption, ordinal
from trichord.cli.transcribing import transcribe
from trichord.corpora.manifest import read_manifest, write_manifest
from trichord.evaluation.captions.report import CaptionReport
from trichord.evaluation.named import PROTOCOLS, NamedProtocol
from trichord.evaluation.report import read_report
from trichord.experiments import load_experiment
from trichord.types import Caption, Clip, UserError

QUICK = "--beams 2 --longest 6"
MEASURE = (
    "--from media --captions.resamples 20 --captions.beams 2 --captions.longest 6 "
    "--captions.no-meteor --to captions.json"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes runs without training them."""
    root = tmp_path_factory.mktemp("writers")

    def make(name="world-clip4vla-caption", seed=0):
        run = Run(root / name / f"seed-{seed}")
        if not run.complete:
            experiment = replace(load_experiment(name), stages=(), seed=seed)
            run.start(experiment, "none")
            torch.manual_seed(seed)
            run.finish(experiment.model.build(), experiment.objective.build(), Progress())
        return run.path

    return make


@pytest.fixture(scope="module")
def film(small_world, tmp_path_factory):
    """A folder with three clips of the world, one of them damaged."""
    folder = tmp_path_factory.mktemp("film")
    videos = sorted((small_world / "world" / "test_videos").glob("*.mp4"))
    for name, video in zip(("a", "b", "c"), videos, strict=False):
        shutil.copy(video, folder / f"{name}.mp4")
    (folder / "c.mp4").write_bytes(videos[2].read_bytes()[:600])
    return folder


def call(line):
    caption(line.split())


def test_every_moment_is_told_with_its_time_and_what_cannot_be_read_on_the_side(
    made, film, capsys, tmp_path
):
    call(f"{made()} {film} {QUICK} --seconds 2 --json {tmp_path}/o.json --vtt-folder {tmp_path}/v")
    told = capsys.readouterr()
    rows = json.loads((tmp_path / "o.json").read_text())
    written = [row for row in rows if row["text"]]
    assert [(row["file"].rsplit("/", 1)[-1], row["start"]) for row in rows] == [
        ("a.mp4", 0.0), ("a.mp4", 2.0), ("b.mp4", 0.0), ("b.mp4", 2.0), ("c.mp4", 0.0),
    ]  # fmt: skip
    assert len(written) == 4
    assert f"{film}/a.mp4  0:00–0:02  {written[0]['text']}" in told.out.splitlines()
    assert rows[4]["status"] == "corrupt"
    assert f"{film}/c.mp4  corrupt: " in told.err
    assert "4 captions of 5 moments" in told.err
    first = rows[0]
    assert first["text"] == first["candidates"][0]["text"]
    assert first["log_likelihood"] < 0
    assert "rank" not in first
    lines = (tmp_path / "v" / "a.vtt").read_text().splitlines()
    assert lines[:3] == ["WEBVTT", "", "00:00:00.000 --> 00:00:02.000"]
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["a.vtt", "b.vtt"]


def test_a_check_says_how_well_captions_find_their_moments(made, film, capsys):
    call(f"{made()} {film} {QUICK} --seconds 2 --check")
    lines = [line for line in capsys.readouterr().out.splitlines() if "finds its moment" in line]
    assert len(lines) == 4
    assert all(line.endswith("of 4)") for line in lines)


def test_json_alone_can_be_printed(made, film, capsys):
    call(f"{made()} {film} {QUICK} --whole --check --json -")
    rows = json.loads(capsys.readouterr().out)
    assert [row["end"] for row in rows] == [pytest.approx(4.0, abs=0.1)] * 2 + [0.0]
    assert [row.get("of") for row in rows] == [2, 2, None]
    assert rows[0]["match"] == max(one["match"] for one in rows[0]["candidates"])


def test_a_sheet_shows_captions_beside_what_people_said(made, film, tmp_path, capsys):
    said = (Caption(text="said by people", about="visual"),)
    clips = [Clip(id="a", path=str(film / "a.mp4"), captions=said)]
    write_manifest(tmp_path / "m.jsonl", clips)
    call(f"{made()} {film} {QUICK} --sheet {tmp_path}/s.png --metadata {tmp_path}/m.jsonl")
    assert (tmp_path / "s.png").stat().st_size > 5_000
    assert f"Drawn: {tmp_path}/s.png" in capsys.readouterr().out


def test_webvtt_is_not_overwritten_unless_that_is_asked_for(made, film, tmp_path):
    for name in ("a", "b"):
        shutil.copy(film / f"{name}.mp4", tmp_path)
    (tmp_path / "a.vtt").write_text("mine")
    with pytest.raises(UserError, match=r"a\.vtt is there already: .* --force"):
        call(f"{made()} {tmp_path}/a.mp4 {tmp_path}/b.mp4 --vtt")
    assert (tmp_path / "a.vtt").read_text() == "mine"
    assert not (tmp_path / "b.vtt").exists()
    call(f"{made()} {tmp_path}/a.mp4 {QUICK} --vtt --force")
    assert (tmp_path / "a.vtt").read_text().startswith("WEBVTT\n\n00:00:00.000 -->")
    shutil.copy(film / "a.mp4", tmp_path / "a.mkv")
    with pytest.raises(UserError, match=r"would both be .*a\.vtt"):
        call(f"{made()} {tmp_path}/a.mp4 {tmp_path}/a.mkv --vtt-folder {tmp_path}/v")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("", "name at least one file or folder, or a --collection"),
        ("FILM --replace", "--replace goes with --collection"),
        ("--collection there --whole", "--whole has no effect with --collection: leave it out"),
        ("--collection there --vtt", "--vtt goes with files"),
        ("FILM --seconds 0.5", "--seconds"),
        ("FILM --seconds 5 --hop 6", "--hop"),
        ("FILM --sheet s.jpg", r"ends in \.png"),
        ("FILM --metadata m.jsonl", "--metadata goes with --sheet"),
        ("FILM --beams 0", "--beams 0: give a number from 1 to 256"),
        ("FILM --longest 1000", r"--longest 1000: the run has room for 77 tokens"),
        ("nothing.mp4", r"nothing\.mp4: no such file or folder"),
    ],
)
def test_options_without_sense_are_refused(made, film, options, told):
    with pytest.raises(UserError, match=told):
        call(f"{made()} {options.replace('FILM', str(film))}")


def test_a_run_that_writes_nothing_is_refused(film, tmp_path):
    run = Run(tmp_path / "run")
    experiment = load_experiment("world-slava-av")
    run.start(experiment, "none")
    with pytest.raises(UserError, match="writes no captions: train a run that does"):
        call(f"{run.path} {film}")
    with pytest.raises(UserError, match="is no run"):
        call(f"world-clip4vla-caption {film}")


def test_a_collection_is_captioned_once_and_searched_by_it(made, film, tmp_path, command, capsys):
    held = tmp_path / "collection"
    assert (
        command(f"index {film} {held} --model world-clip-clap --seconds 2 --hop 2 --no-speech") == 0
    )
    capsys.readouterr()
    call(f"{made()} --collection {held} {QUICK}")
    told = capsys.readouterr()
    assert "4 captions of 4 moments" in told.err
    lines = [line for line in told.out.splitlines() if line.startswith(str(film))]
    text = lines[0].split("  ")[2]
    assert "--caption-weight 1" in told.out
    call(f"{made()} --collection {held} {QUICK}")
    assert "0 captions of 0 moments (nothing to do)" in capsys.readouterr().err
    call(f"{made()} {film}/a.mp4 --collection {held} {QUICK} --replace --check")
    assert "2 captions of 2 moments" in capsys.readouterr().err
    assert command(f"search {held} --caption-weight 1 --json {text.split()[-1]}") == 0
    assert text.split()[-1] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rank", "said"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (11, "11th"), (12, "12th"), (22, "22nd")]
)
def test_ranks_are_said_as_people_say_them(rank, said):
    assert ordinal(rank) == said


# evaluate, compare


@pytest.fixture(scope="module")
def measured(made, small_world, command):
    """Two seeds of one system, measured on the world's test clips."""
    runs = [made(), made(seed=1)]
    for run in runs:
        assert command(f"evaluate {run} {small_world}/clips.jsonl {MEASURE}") == 0
    return runs


def test_a_run_that_writes_is_measured_on_its_captions(measured, small_world):
    report = read_report(measured[0] / "captions.json", CaptionReport)
    clips = {c.id: c for c in read_manifest(small_world / "clips.jsonl") if c.split == "test"}
    assert {one.id for one in report.captions} == clips.keys()
    assert [one.name for one in report.rows] == ["audio", "visual", "audio_visual", "composed"]
    visual = report.rows[1]
    for one in visual.clips:
        said = {caption.text for caption in clips[one.id].captions if caption.kind == "visual"}
        assert set(one.references) == said
    assert "METEOR" not in visual.estimates
    assert visual.estimates["CIDEr"].low <= visual.estimates["CIDEr"].value
    assert report.invention is not None
    assert report.invention.captions == len(clips)
    assert (measured[0] / "captions.png").stat().st_size > 10_000
    assert not (measured[0] / "evaluation.json").exists()


def test_without_the_metrics_nothing_is_written_but_reports_are_read(
    measured, small_world, command, capsys, monkeypatch
):
    run = measured[0]
    monkeypatch.setitem(sys.modules, "caption_metrics", None)
    monkeypatch.delitem(sys.modules, "trichord.evaluation.captions.writing")
    assert command(f"evaluate {run} {small_world}/clips.jsonl {MEASURE} --to other.json") == 2
    assert "caption_metrics, which is not installed: pip install 'trichord[captions]'" in (
        capsys.readouterr().err
    )
    assert not (run / "other.json").exists()
    assert command(f"compare {run}") == 0


def test_kinds_and_words_can_be_chosen_and_the_papers_values_shown(
    made, small_world, command, capsys
):
    run = made("world-clip4vla-caption-vision")
    line = f"evaluate {run} {small_world}/clips.jsonl {MEASURE} --captions.meteor --paper"
    chosen = "--captions.kind visual --captions.tokens blanks --captions.references as_published"
    assert command(f"{line} {chosen}") == 0
    report = read_report(run / "captions.json", CaptionReport)
    assert [one.name for one in report.rows] == ["visual"]
    assert "METEOR" in report.rows[0].estimates
    assert (report.protocol.scoring.tokens, report.protocol.scoring.kept) == (
        "blanks", "as_published",
    )  # fmt: skip
    told = " ".join(capsys.readouterr().out.split())
    assert "58.0" in told
    assert "These values are of other clips" in told


def test_empty_captions_and_very_long_ones_are_counted(made, small_world, command, tmp_path):
    clips = [c for c in read_manifest(small_world / "clips.jsonl") if c.split == "test"][:2]
    texts = ("...", " ".join(["mot"] * 10_000), "une cloche dorée", "鐘 rings")
    odd = tuple(Caption(text=text, about="visual") for text in texts)
    clips[0] = replace(clips[0], captions=odd)
    clips[1] = replace(clips[1], captions=odd[:1])
    write_manifest(tmp_path / "m.jsonl", clips)
    run = made(seed=2)
    line = f"evaluate {run} {tmp_path}/m.jsonl {MEASURE} --captions.kind visual"
    assert command(line) == 0
    report = read_report(run / "captions.json", CaptionReport)
    assert (report.blank, report.longer) == (2, 1)
    assert [one.id for one in report.rows[0].clips] == [clips[0].id]  # the other has no words
    assert len(report.captions) == 2
    assert any("single clip" in note for note in report.rows[0].notes)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--captions.beams 0", "--captions.beams"),
        ("--captions.longest 1000", "room for 77"),
        ("--visual-weight 1", "--visual-weight and --audio-weight: this run writes captions"),
    ],
)
def test_measurements_without_sense_are_refused(made, small_world, command, capsys, options, told):
    code = command(f"evaluate {made(seed=3)} {small_world}/clips.jsonl {MEASURE} {options}")
    assert code == 2
    assert told in capsys.readouterr().err


def test_clips_without_captions_of_a_kind_are_refused(made, small_world, command, tmp_path, capsys):
    clips = [c for c in read_manifest(small_world / "clips.jsonl") if c.split == "test"][:2]
    bare = [replace(c, captions=(Caption(text="a bell", about="audio"),)) for c in clips]
    write_manifest(tmp_path / "m.jsonl", bare)
    line = f"evaluate {made(seed=3)} {tmp_path}/m.jsonl {MEASURE} --captions.kind visual"
    assert command(line) == 2
    assert "have no captions of the kinds visual" in capsys.readouterr().err


def test_seeds_are_compared_as_one_system_and_unlike_ones_refused(
    made, measured, command, capsys, tmp_path, runs
):
    line = f"compare {measured[0]} {measured[1]} --paper"
    assert command(f"{line} --json {tmp_path}/c.json --figure {tmp_path}/c.png") == 0
    told = capsys.readouterr().out
    assert "±" in told
    assert "Table 3: MSR-VTT, as published" in told
    [system] = json.loads((tmp_path / "c.json").read_text())["systems"]
    assert system["seeds"] == [0, 1]
    other = made(seed=4)
    held = json.loads((measured[0] / "captions.json").read_text())
    held["protocol"]["beams"], held["seed"] = 1, 4
    (other / "captions.json").write_text(json.dumps(held))
    assert command(f"compare {measured[0]} {other}") == 2
    assert "beams: 2 against 1" in capsys.readouterr().err
    assert command(f"compare {measured[0]} {runs}/slava-av") == 2
    assert "was measured on captions" in capsys.readouterr().err


def test_captions_of_a_run_that_was_selected_on_test_say_so(
    made, measured, small_world, command, tmp_path, capsys
):
    selected = Run(tmp_path / "selected")
    experiment = replace(load_experiment("world-clip4vla-caption"), select_on_test=True)
    selected.start(experiment, "none")
    shutil.copy(measured[0] / "weights.safetensors", selected.path)
    assert command(f"evaluate {selected.path} {small_world}/clips.jsonl {MEASURE}") == 0
    assert "SELECTION ON TEST: the run's epoch" in " ".join(capsys.readouterr().out.split())
    assert read_report(selected.path / "captions.json", CaptionReport).protocol.selected_on_test
    assert command(f"compare {measured[0]} {selected.path}") == 2
    assert "train both with or both without --select-on-test" in capsys.readouterr().err


def test_captions_on_the_validation_split_leave_those_on_the_test_split_alone(
    made, small_world, command, capsys
):
    run, clips = made(seed=5), f"{small_world}/clips.jsonl"
    quick = "--from media --captions.resamples 20 --captions.no-meteor --captions.kind visual"
    assert command(f"evaluate {run} {clips} {quick} --captions.longest 4 --split val") == 0
    name = "captions-val-kind-visual-longest-4"
    assert f"{name}.json and {name}.png written" in capsys.readouterr().out
    assert {path.stem for path in run.glob("captions*")} == {name}
    assert command(f"compare {run} --report {name}") == 0
    assert "val split" in capsys.readouterr().out


@pytest.fixture
def tiny_captions(monkeypatch):
    """A published protocol of captions as small as the world: two of its 16 test clips are silent."""
    wanted = NamedProtocol(
        listed=16, clips=14, captions=3, kind="composed", tasks=(), silent="out", source="here",
        others={"train": 40, "val": 12},
    )  # fmt: skip
    known = {
        "tiny-captions-14": wanted,
        "tiny-captions-13": replace(wanted, clips=13),
        "tiny-captions-41": replace(wanted, others={"train": 41}),
        "tiny-retrieval": PROTOCOLS["audiocaps-a"],
    }
    monkeypatch.setattr("trichord.evaluation.named.PROTOCOLS", known)
    monkeypatch.setattr("trichord.cli.caption_measurement.PROTOCOLS", known)


QUICK_PROTOCOL = "--from media --captions.resamples 9 --captions.no-meteor --captions.longest 4"


def test_a_named_protocol_chooses_clips_captions_and_leaves_silent_clips_out(
    made, small_world, command, capsys, tiny_captions
):
    run, clips = made("world-clip4vla-caption-vision", seed=6), f"{small_world}/clips.jsonl"
    assert command(f"evaluate {run} {clips} {QUICK_PROTOCOL} --protocol tiny-captions-14") == 0
    assert "Protocol: tiny-captions-14: test split" in " ".join(capsys.readouterr().out.split())
    [path] = run.glob("captions-tiny-captions-14*.json")
    report = read_report(path, CaptionReport)
    [row] = report.rows
    assert (row.name, row.sizes["clips"], row.sizes["references"]) == ("composed", 14, 42)
    assert report.protocol.name == "tiny-captions-14"
    assert len(report.silent) == 2
    assert not set(report.silent) & {one.id for one in report.captions}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            "--protocol tiny-captions-13",
            "is of 13 clips with sound, the manifest has 14: leave out",
        ),
        ("--protocol tiny-captions-41", "is of 41 train clips, the manifest has 40: complete it"),
        ("--protocol tiny-captions-14 --split val", "measures the split 'test'"),
        ("--protocol tiny-captions-14 --silent masked", "leave --silent out too"),
        (
            "--protocol tiny-captions-14 --captions.kind visual",
            "is of composed captions: leave --c",
        ),
        ("--protocol tiny-retrieval", "writes captions: choose one of tiny-captions-14, tiny-cap"),
        ("--ranks {folder}/r.jsonl", "--ranks has no effect with a run that writes captions"),
        ("--worst {folder}/r.html", "--worst has no effect with a run that writes captions"),
    ],
)
def test_other_counts_and_what_is_of_retrieval_are_refused(
    made, small_world, command, capsys, tiny_captions, tmp_path, options, told
):
    run = made("world-clip4vla-caption-vision", seed=7)
    line = f"evaluate {run} {small_world}/clips.jsonl {QUICK_PROTOCOL} "
    assert command(line + options.format(folder=tmp_path)) == 2
    assert told in capsys.readouterr().err
    assert not [*run.glob("captions*"), *tmp_path.iterdir()]


def test_runs_that_write_none_refuse_protocols_of_captions(
    runs, small_world, command, capsys, tiny_captions
):
    line = f"evaluate {runs}/slava-av/seed-0 {small_world}/clips.jsonl --protocol tiny-captions-14"
    assert command(line) == 2
    assert "is of captions, and " in capsys.readouterr().err


def test_captions_are_not_paired(measured, command, capsys):
    assert command(f"compare {measured[0]} --paired") == 2
    assert "--paired is of retrieval, and these runs write captions" in capsys.readouterr().err


def test_webvtt_takes_what_is_said_from_transcripts(made, film, tmp_path, capsys):
    for name in ("a", "b"):
        shutil.copy(film / f"{name}.mp4", tmp_path)
    (tmp_path / "a.srt").write_text("1\n00:00:00,500 --> 00:00:01,000\nhello there\n")
    transcribe(["transcribe", str(tmp_path / "a.mp4"), "--output", str(tmp_path / "said")][1:])
    both = f"{tmp_path}/a.mp4 {tmp_path}/b.mp4 {QUICK} --vtt-folder {tmp_path}/v"
    call(f"{made()} {both} --transcripts {tmp_path}/said")
    cues = (tmp_path / "v" / "a.vtt").read_text().split("\n\n")[1:]
    assert "00:00:00.500 --> 00:00:01.000\nhello there" in [cue.strip() for cue in cues]
    assert sum("\n[" in cue for cue in cues) == len(cues) - 1
    assert f"{tmp_path}/b.mp4: no transcript" in " ".join(capsys.readouterr().err.split())
