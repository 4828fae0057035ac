"""`trichord probe` and `trichord classify` on small files: tones and noise, some of them broken."""

import json
import shutil
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trichord.checkpoint import Progress, Run
from trichord.cli.probing import Probing, Prompting, classify, probe
from trichord.config import Experiment, Stage
from trichord.corpora.manifest import write_manifest
from trichord.types import Clip, UserError
from trichord.types.rules import require_legal


def write_wave(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((20_000 * samples).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Twenty clips, tones and noise by turns, of which one is broken and one silent, in two splits."""
    root = tmp_path_factory.mktemp("sounds")
    random, clips = np.random.default_rng(0), []
    for i in range(20):
        tone = np.sin(2 * np.pi * random.uniform(300, 400) * np.arange(8_000) / 16_000)
        noise = random.uniform(-1, 1, 8_000)
        write_wave(root / f"{i}.wav", noise if i % 2 else 0.7 * tone)
        clips.append(
            Clip(
                id=f"{i % 5 + 1}-{i}-A-0",
                path=str(root / f"{i}.wav"),
                labels=(("a_tone", "Noise")[i % 2],),
                split="test" if i >= 14 else "train",
            )
        )
    (root / "18.wav").write_bytes(b"")
    write_wave(root / "3.wav", np.zeros(8_000))
    write_manifest(root / "clips.jsonl", clips)
    return root


@pytest.fixture(scope="module")
def run(sounds, tiny_towers, tiny_clip4vla):
    """A finished run with CLIP4VLA's tiny tower, nothing trained."""
    made = Run(sounds / "run")
    experiment = Experiment(system="tiny", model=tiny_clip4vla, stages=())
    made.start(experiment, "none")
    torch.manual_seed(0)
    made.finish(tiny_clip4vla.build(), experiment.objective.build(), Progress())
    return made.path


def newest(folder, name):
    """The report that was written last."""
    paths = sorted(folder.glob(f"{name}*.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(paths[-1].read_text())


@pytest.fixture
def measured(sounds, run, tmp_path):
    """Runs a command on the sounds and gives its report."""

    def measure(command, options="", name="clips.jsonl"):
        line = f"{run} {sounds / name} --from media --to {tmp_path} {options}"
        command(line.split())
        return newest(tmp_path, command.__name__)

    return measure


def test_a_probe_tells_tones_from_noise_and_names_what_it_could_not_read(
    measured, tmp_path, capsys
):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    report = measured(probe, "--modality audio --folds esc50")
    assert [fold["name"] for fold in report["rows"]] == ["1", "2", "3", "4", "5"]
    assert [fold["sizes"]["tested"] for fold in report["rows"]] == [4] * 5
    assert [fold["sizes"]["unread"] for fold in report["rows"]] == [0, 0, 0, 2, 0]
    assert report["missing"] == {"4-3-A-0": "silent", "4-18-A-0": "corrupt"}
    assert report["classes"] == ["Noise", "a_tone"]
    readable = report["every"]["estimates"]["of those read"]["value"]
    assert readable >= 0.9
    assert report["every"]["estimates"]["accuracy"]["value"] == pytest.approx(readable * 18 / 20)
    assert [line[-1] for line in report["every"]["confusion"]] == [1, 1]
    assert report["protocol"]["audio_type"] == "0.5, the run's own"
    assert (tmp_path / "probe-audio-folds-esc50.png").stat().st_size > 10_000
    text = " ".join(capsys.readouterr().out.split())
    assert "2 clips cannot be read as asked; tested, they count as wrong: 4-3-A-0 (silent)" in text


def test_the_manifests_split_is_one_fold_and_the_published_classifier_says_how_it_chose(
    measured, capsys
):
    report = measured(probe, "--modality audio --method as_paper --paper")
    (fold,) = report["rows"]
    assert fold["sizes"] == {"learnt": 13, "tested": 6, "unread": 1}
    assert "SELECTION ON TEST" in report["protocol"]["method"]
    text = " ".join(capsys.readouterr().out.split())
    assert "VATT-Medium" in text
    last = measured(probe, "--modality audio --method as_paper_last")
    assert last["rows"][0]["chosen"] == ["epoch 10"]
    assert "VATT-Medium" not in capsys.readouterr().out


def test_the_same_command_gives_the_same_numbers(measured):
    line = "--modality audio --folds 3 --method as_paper"
    first, again, other = (measured(probe, f"{line} --seed {seed}") for seed in (1, 1, 2))
    assert first == again
    assert first["rows"] != other["rows"]


def test_the_sound_token_is_heard_and_stamped(measured):
    one = measured(classify, "--modality audio --split all --audio-type 1")
    assert one["protocol"]["audio_type"] == "1.0"
    assert one["kind"] == "classification"


def test_prompts_classify_without_teaching(measured, tmp_path, capsys):
    report = measured(classify, "--modality audio --split all --prompts {}! {}?")
    assert report["protocol"]["kind"] == "zero-shot"
    assert report["protocol"]["clips"] == 20
    assert report["rows"] == []
    assert "audio: {}! | {}?" in report["protocol"]["method"]
    assert sum(map(sum, report["every"]["confusion"])) == 20
    assert [line[-1] for line in report["every"]["confusion"]] == [1, 1]
    assert len(list(tmp_path.glob("classify-audio-all-prompts-*.png"))) == 1
    alone = measured(classify, "--modality audio")
    assert alone["protocol"]["folds"] == "test split"
    assert sum(map(sum, alone["every"]["confusion"])) == 6


def test_clips_with_neither_sight_nor_sound_are_the_only_ones_missing_from_both(measured):
    for command in (probe, classify):
        report = measured(command, "--method as_paper" if command is probe else "--split all")
        assert set(report["missing"]) == {"4-3-A-0", "4-18-A-0"}
        assert (
            "mean (0 clips by the picture alone, 18 by the sound alone)"
            in report["protocol"]["features"]
        )


def test_without_sight_sight_has_nothing_to_teach(measured):
    with pytest.raises(UserError, match="training clips that can be read are of fewer than two"):
        measured(probe, "--modality vision")


def test_a_class_that_no_training_clip_has_is_counted_and_no_error(sounds, measured, capsys):
    from trichord.corpora.manifest import read_manifest

    clips = read_manifest(sounds / "clips.jsonl")
    odd = [replace(c, labels=("Owl",)) if i >= 18 else c for i, c in enumerate(clips)]
    write_manifest(sounds / "odd.jsonl", odd)
    report = measured(probe, "--modality audio --method as_paper", "odd.jsonl")
    assert report["rows"][0]["unseen"] == {"Owl": 2}
    assert report["every"]["recall"]["Owl"] == {"clips": 2, "recall": 0.0}
    told = "class 'Owl' has no training clip in fold test split: its 2 test clips there count as"
    assert told in " ".join(capsys.readouterr().out.split())


def test_features_that_were_extracted_are_read_and_give_the_same_numbers(
    sounds, run, command, tmp_path, measured
):
    cached = tmp_path / "cached"
    assert command(f"extract {sounds}/clips.jsonl --model {run} --features {cached}") == 0
    fresh = measured(probe, "--modality audio --folds esc50 --method as_paper")
    line = f"{run} {sounds}/clips.jsonl --features {cached} --to {tmp_path}"
    probe([*line.split(), "--modality", "audio", "--folds", "esc50", "--method", "as_paper"])
    read = newest(tmp_path, "probe")
    assert read["every"]["confusion"] == fresh["every"]["confusion"]
    assert read["missing"] == fresh["missing"]
    with pytest.raises(UserError, match=r"run 'trichord extract' first"):
        probe([str(run), str(sounds / "clips.jsonl"), "--modality", "audio"])


def test_untrained_towers_of_two_spaces_are_measured_one_by_one_or_end_to_end(
    small_world, tmp_path
):
    from trichord.corpora.manifest import read_manifest

    clips = read_manifest(small_world / "clips.jsonl")
    labels = [replace(c, labels=(("low", "high")[i % 2],)) for i, c in enumerate(clips)]
    write_manifest(tmp_path / "labelled.jsonl", labels)
    line = ["world-clip-clap", str(tmp_path / "labelled.jsonl"), "--to", str(tmp_path)]
    line += ["--features", str(small_world / "clips.features")]
    with pytest.raises(
        UserError, match="--join mean: this model does not compare audio with vision"
    ):
        probe([*line, "--method", "as_paper"])
    with pytest.raises(UserError, match="choose vision or audio"):
        classify(line)
    probe([*line, "--method", "as_paper", "--join", "concatenated"])
    report = newest(tmp_path, "probe")
    assert report["run"] == "world-clip-clap, before training"
    assert "concatenated (" in report["protocol"]["features"]
    for sense in ("vision", "audio"):
        classify([*line, "--modality", sense])
        assert newest(tmp_path, "classify")["protocol"]["clips"] == 16


def test_nothing_is_written_for_an_experiment_without_a_folder(
    sounds, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    line = ["world-clip4vla-pretrain", str(sounds / "clips.jsonl"), "--from", "media"]
    probe([*line, "--modality", "audio", "--method", "as_paper"])
    assert "Nothing written: name a folder with --to." in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (Probing(folds="five"), "--folds five: give split, manifest, esc50, ucf101, or a number"),
        (Probing(folds="1"), "--folds 1: give"),
        (Probing(audio_type="loud"), "--audio-type loud"),
        (Probing(audio_type="1", modality="vision"), "nothing is listened to"),
        (Probing(join="concatenated", modality="vision"), "--join has no effect with --modality"),
        (Probing(source="media", features=Path()), "--features are not read with --from media"),
        (Prompting(prompts=("a photo",)), "--prompts a photo: write"),
    ],
)
def test_options_without_sense_are_refused_before_anything_is_read(chosen, told):
    with pytest.raises(UserError, match=told):
        look_at(chosen)


def look_at(chosen):
    require_legal(chosen)
    chosen.require_sense()


@pytest.mark.parametrize(
    ("options", "labels", "told"),
    [
        ("", None, "none of its 20 clips has a label"),
        ("", "one", "all labelled clips are of the class 'one'"),
        ("--folds 21", "two", "lie in 20 files"),
        ("--folds ucf101", "two", "tells no fold"),
    ],
)
def test_manifests_that_cannot_be_probed_are_refused_in_one_line(
    options, labels, told, sounds, run, tmp_path
):
    from trichord.corpora.manifest import read_manifest

    known = {None: ((), ()), "one": (("one",), ("one",)), "two": (("one",), ("two",))}[labels]
    clips = read_manifest(sounds / "clips.jsonl")
    path = tmp_path / "odd.jsonl"
    write_manifest(path, [replace(c, labels=known[i % 2]) for i, c in enumerate(clips)])
    with pytest.raises(UserError, match=told) as refused:
        probe([str(run), str(path), *options.split()])
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("command", [probe, classify])
def test_classes_told_by_a_run_that_was_selected_on_test_say_so(
    command, sounds, run, tiny_clip4vla, tmp_path, capsys
):
    selected = Run(tmp_path / "selected")
    stage = Stage(name="x", trains=("audio",), draws=(), criterion=())
    experiment = Run(run).experiment()
    selected.start(replace(experiment, stages=(stage,), select_on_test=True), "none")
    shutil.copy(run / "weights.safetensors", selected.path)
    line = f"{sounds}/clips.jsonl --from media --modality audio --to {tmp_path}"
    method = ["--method", "as_paper_last"] if command is probe else []
    for path, said in ((run, False), (selected.path, True)):
        command([str(path), *line.split(), *method])
        report = newest(tmp_path, command.__name__)
        assert report["protocol"]["selected_on_test"] is said
        assert ("SELECTION ON TEST: the run's epoch" in capsys.readouterr().out) is said


@pytest.mark.parametrize(
    ("chosen", "parts"),
    [
        (Probing(), []),
        (Probing(modality="audio", folds="esc50"), ["audio", "folds-esc50"]),
        (
            Probing(folds="5", method="as_paper", join="concatenated", seed=3),
            ["folds-5", "as_paper", "concatenated", "seed-3"],
        ),
        (Probing(audio_type="1", device="cpu", source="media"), ["token-1.0"]),
        (Prompting(), []),
        (Prompting(split="val", modality="vision"), ["vision", "val"]),
        (Prompting(split="all", prompts=("sound",)), ["all", "prompts-sound"]),
    ],
)
def test_each_way_of_measuring_has_a_report_of_its_own(chosen, parts):
    assert [part for part in chosen.parts if part] == parts


def test_other_sentences_have_another_report():
    one, other, turned = (
        Prompting(prompts=prompts).parts for prompts in (("a {}",), ("the {}",), ("a {}", "the {}"))
    )
    assert len({tuple(one), tuple(other), tuple(turned)}) == 3


def test_a_report_of_other_clips_is_said_to_be_replaced(sounds, measured, capsys):
    from trichord.corpora.manifest import read_manifest

    clips = read_manifest(sounds / "clips.jsonl")
    write_manifest(sounds / "fewer.jsonl", clips[:-2])
    line = "--modality audio --split all"
    measured(classify, line)
    measured(classify, line)
    assert "takes the place" not in capsys.readouterr().err
    measured(classify, line, "fewer.jsonl")
    said = " ".join(capsys.readouterr().err.split())
    assert "measured otherwise (clips and classes: 20 clips of 2 classes" in said
