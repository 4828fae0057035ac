import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trichord.api.model import device_of, embedder_of
from trichord.checkpoint import Run, fresh_model
from trichord.cli.training import lost, outcome, train
from trichord.config import Draw, Experiment, Stage, read_experiment, write_experiment
from trichord.corpora.manifest import write_manifest
from trichord.encoders import clap, weight_cache
from trichord.encoders import clip as clip_encoders
from trichord.features.extraction import extract_media, extract_texts
from trichord.features.reading import source_of
from trichord.features.source import FeatureSource, MediaSource
from trichord.features.store import FeatureFolder
from trichord.search.collection import StoredCollection
from trichord.types import Caption, Clip, UserError

SCRIPT = """
import sys
from trichord.training import session
session.SECONDS_BETWEEN_SAVES = 0.0
from trichord.cli import main
sys.exit(main(sys.argv[1:]))
"""


FEW = "--stages.0.epochs 6 --stages.1.epochs 6 --stages.0.batch-size 16 --stages.1.batch-size 16"


@pytest.fixture(scope="module")
def whole(small_world, command, tmp_path_factory):
    """A run of two stages, and the command line before its directory."""
    line = f"train world-wav2clip-trainable-text {small_world}/clips.jsonl"
    run = tmp_path_factory.mktemp("whole") / "run"
    assert command(f"{line} {run} {FEW}") == 0
    return Run(run), line


@pytest.mark.parametrize(
    ("stop", "code", "said"),
    [
        pytest.param(
            signal.SIGINT,
            130,
            "interrupted; nothing is lost, repeat the command to go on",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            signal.SIGTERM,
            143,
            "terminated and saved; repeat the command to go on.",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_training_that_is_stopped_ends_as_if_it_had_not_been(
    stop, code, said, whole, command, tmp_path
):
    run, line = whole
    stopped = tmp_path / "stopped"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *f"{line} {stopped} {FEW}".split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as child:
        while not (stopped / "checkpoint.safetensors").exists() and child.poll() is None:
            time.sleep(0.005)
        child.send_signal(stop)
        complaint = child.communicate()[1].decode()
    assert child.returncode == code
    assert said in complaint
    assert "Traceback" not in complaint
    assert command(f"{line} {stopped} {FEW}") == 0
    one, other = (held.load().state_dict() for held in (run, Run(stopped)))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert Run(stopped).metrics() == run.metrics()
    assert Run(stopped).weighting == run.weighting


def test_a_complete_run_is_said_to_be_and_left(whole, command, capsys):
    run, line = whole
    before = {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()}
    assert command(f"{line} {run.path} {FEW}") == 0
    assert "already trained." in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()} == before


def test_seeds_and_their_reports_read_each_tower_once_a_command(
    whole, small_world, command, tmp_path, monkeypatch
):
    run, line = whole  # read all of it anew
    read = []

    def noting(load):
        return lambda kind, *arguments: (read.append(kind), load(kind, *arguments))[1]

    monkeypatch.setattr(weight_cache, "load", noting(weight_cache.load))
    for family in (clap, clip_encoders):
        monkeypatch.setattr(family, "load_model", noting(family.load_model))
    for asked in (
        f"{line} {tmp_path} {FEW} --seeds 0 1",
        f"evaluate {tmp_path} {small_world}/clips.jsonl",
    ):
        read.clear()
        assert command(asked) == 0
        assert len(read) == len(set(read)) >= 5
    one, other = (each.load().state_dict() for each in (Run(tmp_path / "seed-0"), run))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_complete_run_of_another_manifest_is_not_taken_for_this_ones(
    whole, small_world, command, capsys
):
    run, _ = whole
    clips = (small_world / "clips.jsonl").read_text().splitlines(keepends=True)
    (small_world / "fewer.jsonl").write_text("".join(clips[:-1]))
    features = f"--features {small_world}/clips.features"
    line = f"train world-wav2clip-trainable-text {small_world}/fewer.jsonl {run.path} {features}"
    assert command(f"{line} {FEW}") == 2
    assert "other settings, other parts or another manifest" in capsys.readouterr().err


def test_what_was_skipped_is_told_in_words():
    epochs = [{"skipped": 2, "empty": 0}, {"skipped": 1, "empty": 4}, {"epoch": 0}]
    assert lost(epochs) == (
        ", 3 steps skipped whose loss was not finite"
        ", 4 steps skipped without anything to learn from"
    )
    assert lost(epochs[2:]) == ""
    counted = [{"skipped": 0, "empty": 0, "steps": 0}, {"skipped": 0, "empty": 1, "steps": 3}]
    assert lost(counted * 2) == ", 2 of 6 steps skipped without anything to learn from"


def epochs_of(*criteria, **besides):
    """Numbers of a stage's epochs as the log keeps them."""
    told = {"measure": "R@10", "validation": {"a<-a": 0.0, "b<-b": 0.0}} | besides
    return [{"epoch": i, "criterion": value} | told for i, value in enumerate(criteria)]


MRR = {"measure": "MRR", "candidates": {"a<-a": 10, "b<-b": 14}}
BEFORE = "; 0.100 before training"
WORDS = {"measure": "likelihood of a word", "validation": {"words<-audio": 0.0}}


@pytest.mark.parametrize(
    ("epochs", "said"),
    [
        (
            epochs_of(0.1, 0.25, 0.2),
            "epoch 1, validation R@10 0.250 (mean of 2 tasks)" + BEFORE,
        ),
        (
            epochs_of(0.3, 0.25, 0.3),
            "epoch 0 (before training: no later epoch was better), validation R@10 0.300 "
            "(mean of 2 tasks)",
        ),
        (
            epochs_of(1.0, 1.0, 1.0),
            "epoch 2 (the last: all epochs reached the same), validation R@10 1.000 (mean of 2 tasks)",
        ),
        (
            epochs_of(0.1, 0.25, **MRR),
            "epoch 1, validation MRR 0.250 (2 tasks by their queries, 10–14 candidates)" + BEFORE,
        ),
        (
            epochs_of(0.1, 0.25, **MRR | {"candidates": {"a<-a": 10, "b<-b": 10}}),
            "epoch 1, validation MRR 0.250 (2 tasks by their queries, 10 candidates)" + BEFORE,
        ),
        (
            epochs_of(0.1, 0.25, **WORDS),
            "epoch 1, validation likelihood of a word 0.250 (words<-audio)" + BEFORE,
        ),
        (epochs_of(None, None, measure=None, validation={}), "epoch 1, no validation clips"),
    ],
)
def test_the_epoch_that_was_kept_is_told_with_what_it_reached(epochs, said):
    assert outcome(epochs, keeps_last=False, split="validation") == said
    old = [{k: v for k, v in one.items() if k != "measure"} for one in epochs]
    if "MRR" not in said:  # what earlier versions did not know
        assert outcome(old, keeps_last=False, split="validation") == said


def test_an_epoch_that_is_kept_for_being_the_last_is_told_without_more():
    said = outcome(epochs_of(0.3, 0.2), keeps_last=True, split="test")
    assert said == "epoch 1, test R@10 0.200 (mean of 2 tasks); 0.300 before training"


FIRST = "train world-slava-a-and-v {world}/clips.jsonl {run}"


def test_ten_validation_clips_choose_an_epoch_that_was_learnt(
    small_world, command, tmp_path, capsys
):
    clips = (small_world / "clips.jsonl").read_text().splitlines(keepends=True)
    held = [line for line in clips if '"val"' in line]
    (small_world / "ten.jsonl").write_text("".join(set(clips) - set(held[10:])))
    features = f"--features {small_world}/clips.features --stages.0.epochs 15"
    run = tmp_path / "run"
    assert command(f"train world-slava-a-and-v {small_world}/ten.jsonl {run} {features}") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "all: epoch 0" not in said
    assert "validation MRR 0." in said
    assert "(7 tasks by their queries, 10 candidates)" in said or "–10 candidates)" in said
    numbers = Run(run).metrics()
    assert numbers[0]["measure"] == "MRR"
    assert max(one["criterion"] for one in numbers) > numbers[0]["criterion"]


def test_choosing_on_the_test_split_is_said(small_world, command, tmp_path, capsys):
    line = FIRST.format(world=small_world, run=tmp_path / "run")
    assert command(f"{line} --stages.0.epochs 1 --select-on-test") == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert "SELECTION ON TEST: test MRR 0." in said
    assert "validation" not in said


def test_a_temperature_that_starts_at_its_bound_learns(small_world, command, tmp_path):
    run = tmp_path / "run"
    line = f"train world-audio-visual {small_world}/clips.jsonl {run} --stages.0.epochs 6"
    assert command(f"{line} --objective.temperature 0.01 --objective.learned") == 0
    scales = [one["scales"]["av"] for one in Run(run).metrics()]
    assert scales[0] == pytest.approx(100.0, rel=1e-6)
    assert scales[-1] < 99.99


def test_a_training_that_diverges_is_one_line_and_no_run(small_world, command, tmp_path, capsys):
    run = tmp_path / "run"
    line = FIRST.format(world=small_world, run=run)
    assert command(f"{line} --stages.0.optimizer.lr 1e6") == 2
    (said,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert said.startswith("trichord train: Stage 'all', epoch ")
    assert "training has diverged" in said
    assert not Run(run).complete
    assert command(f"{line} --stages.0.epochs 1") == 0


def test_a_refused_start_leaves_nothing_in_the_way_of_its_own_remedy(
    small_world, command, tmp_path, capsys
):
    run = tmp_path / "run"
    line = f"train world-clip4vla-pretrain {small_world}/clips.jsonl {run} --from media"
    few = "--stages.0.epochs 1 --stages.0.batch-size 8"
    assert command(f"{line} {few}") == 2
    complaint = capsys.readouterr().err
    assert "wants 4 nonverbal clips in every batch, but there are 0" in complaint
    assert not run.exists()
    assert command(f"{line} {few} --stages.0.nonverbal-share None") == 0


@pytest.mark.parametrize(
    "seconds", [0.0, *(pytest.param(one, marks=pytest.mark.slow) for one in (0.05, 0.5))]
)
def test_a_start_that_was_killed_leaves_nothing_in_the_way_of_another(
    seconds, small_world, command, tmp_path
):
    run = tmp_path / "run"
    line = FIRST.format(world=small_world, run=run)
    long = "--stages.0.epochs 900 --stages.0.patience 900"
    with subprocess.Popen(
        [sys.executable, "-m", "trichord", *f"{line} {long}".split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as child:
        while not run.exists() and child.poll() is None:
            time.sleep(0.001)
        time.sleep(seconds)
        child.kill()
    assert not Run(run).complete
    assert command(f"{line} --stages.0.epochs 1 --seed 3") == 0
    assert Run(run).experiment().seed == 3


@pytest.fixture
def moved(small_world, tmp_path):
    """The manifest in another folder, without the media; gives it, and puts some of them there."""
    (tmp_path / "clips.jsonl").write_text((small_world / "clips.jsonl").read_text())

    def bring(*splits):
        for split in splits:
            name = f"{split}_videos"
            shutil.copytree(small_world / "world" / name, tmp_path / "world" / name)
        return tmp_path / "clips.jsonl"

    return bring


def test_a_manifest_whose_media_are_gone_is_refused_where_they_are_needed(
    moved, whole, command, tmp_path, capsys
):
    manifest, (trained, _) = moved(), whole
    for line, first in (
        (f"train world-slava-a-and-v {manifest} {tmp_path}/run --from media", "40 of 40 {}/train"),
        (f"extract {manifest} --model world-clip-clap", "68 of 68 {}/"),
        (f"evaluate {trained.path} {manifest} --from media", "16 of 16 {}/test"),
    ):
        assert command(line) == 2
        (said,) = capsys.readouterr().err.strip().splitlines()
        there = f"clips have no media file, such as {tmp_path}/world"
        assert first.format(there) in said
        assert "correct the paths in the manifest" in said
    assert {path.name for path in tmp_path.iterdir()} == {"clips.jsonl"}


def test_features_that_were_read_while_the_media_were_there_go_on_to_serve(
    moved, small_world, command, tmp_path
):
    manifest = moved()
    shutil.copytree(small_world / "clips.features", tmp_path / "clips.features")
    line = f"train world-slava-a-and-v {manifest} {tmp_path}"
    assert command(f"{line}/before --stages.0.epochs 1") == 0
    assert command(f"extract {manifest} --model world-clip-clap") == 0  # must not empty them
    assert command(f"{line}/after --stages.0.epochs 1") == 0
    one, other = (Run(tmp_path / name).metrics() for name in ("before", "after"))
    assert one == other


def test_a_few_media_that_are_gone_are_counted_and_named(moved, command, tmp_path, capsys, caplog):
    manifest = moved("train", "val")
    assert command(f"extract {manifest} --model world-clip-clap") == 0
    said = capsys.readouterr()
    expected = f"16 of 68 clips have no media file, such as {tmp_path}/world/test_videos/test_"
    assert expected in caplog.text
    assert "they count as clips without audio and visual" in caplog.text
    assert "16 corrupt" in said.out.replace("\n", " ")


CLIPS = [
    Clip(
        id=f"c{i}",
        path=f"/made/up/c{i}.mp4",
        captions=(Caption(text=f"sound {i}", about="audio"),),
        split="train" if i < 6 else "val",
    )
    for i in range(10)
]


@pytest.fixture
def listening(tiny_clip4vla):
    """CLIP4VLA's audio tower, frozen: only its head trains, on sound alone."""
    stage = Stage(
        name="listening",
        trains=("audio",),
        draws=(Draw(captions=("audio",), terms=("at",)),),
        criterion=("audio<-audio",),
        batch_size=4,
        epochs=1,
    )
    return Experiment(system="listening", model=tiny_clip4vla, stages=(stage,))


@pytest.fixture
def train_seeds(listening, made_up, tmp_path):
    """Train seeds on features that were extracted with the towers of some seeds."""

    def train_them(seeds, *, extracted):
        write_manifest(tmp_path / "clips.jsonl", CLIPS)
        folder = FeatureFolder.beside(tmp_path / "clips.jsonl")
        for seed in extracted:
            model = fresh_model(replace(listening, seed=seed))
            list(extract_texts(model, [clip.captions[0].text for clip in CLIPS], folder))
            list(extract_media(model, CLIPS, folder, made_up, ("audio",)))
        write_experiment(tmp_path / "listening.json", listening)
        words = ["listening.json", "clips.jsonl", "runs"]
        chosen = ["--device", "cpu", "--seeds", *map(str, seeds)]
        train([*(str(tmp_path / word) for word in words), *chosen])
        return tmp_path / "runs"

    return train_them


def test_a_run_without_sight_needs_no_features_of_it(train_seeds):
    runs = train_seeds((0,), extracted=(0,))
    assert Run(runs / "seed-0").complete


def test_each_seed_learns_from_what_its_own_tower_hears(train_seeds):
    # An audio type token that was never trained is drawn from the seed: features of another one's tower
    # are not those that the run will be measured with.
    with pytest.raises(UserError, match="audio features"):
        train_seeds((1,), extracted=(0,))


@pytest.mark.parametrize(
    ("kind", "towers", "made", "read"),
    [
        ("features", (), FeatureSource, {"text", "audio"}),
        ("features", ("audio",), MediaSource, {"text"}),
        ("features", ("text", "audio"), MediaSource, set()),
        ("media", (), MediaSource, set()),
    ],
)
def test_towers_that_train_are_fed_from_media(
    kind, towers, made, read, listening, made_up, tmp_path
):
    clips = [replace(clip, path=str(tmp_path / f"{clip.id}.mp4")) for clip in CLIPS]
    for clip in clips:
        Path(clip.path).touch()
    model, folder = fresh_model(listening), FeatureFolder(tmp_path)
    list(extract_texts(model, [clip.captions[0].text for clip in clips], folder))
    list(extract_media(model, clips, folder, made_up, ("audio",)))
    found = source_of(model, clips, kind, folder, made_up, towers, ("text", "audio"))
    assert isinstance(found, made)
    assert set(found.precomputed) == read


def test_a_model_is_a_run_or_an_experiment_and_a_slip_is_mended():
    with pytest.raises(UserError, match="did you mean 'clip-clap'"):
        embedder_of("clip-clp")
    assert not embedder_of("world-clip-clap").compares("audio", "vision")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_named():
    assert device_of("auto") == device_of("AUTO") == "cpu"
    for name in ("cuda", "CUDA:0"):
        with pytest.raises(UserError, match=f"--device {name}: there is no GPU"):
            device_of(name)


def test_a_device_is_named_in_whatever_case(monkeypatch):
    assert device_of("CPU") == device_of("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [device_of(name) for name in ("auto", "Cuda", "cuda:1")] == ["cuda", "cuda", "cuda:1"]
    with pytest.raises(UserError, match=r"--device cuda:2: the last of 2 GPUs is cuda:1\."):
        device_of("cuda:2")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device_of("MPS") == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"--device mps: this torch can use no Apple GPU"):
        device_of("mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", "", "cuda:-1"])
def test_what_is_no_device_is_one_line(name):
    with pytest.raises(UserError, match=f"^--device {name}: give auto, cpu, cuda, cuda:N") as told:
        device_of(name)
    assert "\n" not in str(told.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_training_on_a_gpu_gives_a_run_that_loads(small_world, command, tmp_path):
    line = f"train world-slava-av {small_world}/clips.jsonl {tmp_path}/run --device cuda"
    assert command(f"{line} --stages.0.epochs 2 --stages.0.batch-size 16") == 0
    assert Run(tmp_path / "run").load().compares("audio", "vision")


def test_a_run_learns_how_sight_and_sound_are_weighed_and_its_collections_know(runs, command):
    for seed in (0, 1):
        run = runs / "slava-av" / f"seed-{seed}"
        learnt = json.loads((run / "weighting.json").read_text())
        assert learnt["visual"] + learnt["audio"] == pytest.approx(2)
        assert learnt["clips"] > 1
        assert Run(run).weighting == (learnt["visual"], learnt["audio"])
    (run / "weighting.json").write_text(json.dumps({"sight": 0.5, "sound": 1.5}))
    media = runs.parent / "world" / "test_videos" / "test_00000.mp4"
    made = runs.parent / "weighed"
    assert command(f"index {media} {made} --model {run} --no-speech") == 0
    assert StoredCollection.open(made).description.weighting == (0.5, 1.5)
    (run / "weighting.json").write_text("{")
    with pytest.raises(UserError, match=r"weighting\.json is damaged"):
        _ = Run(run).weighting
    (run / "weighting.json").write_text(json.dumps(learnt))  # the runs are those of other tests too


def test_without_pictures_there_is_nothing_to_weigh(small_world, command, tmp_path):
    line = f"train world-clip4vla-retrieval-audio {small_world}/clips.jsonl {tmp_path}/run"
    assert command(f"{line} --stages.0.epochs 1 --stages.0.batch-size 16") == 0
    assert Run(tmp_path / "run").weighting is None


def test_a_selection_on_test_is_said_wherever_its_numbers_stand(
    small_world, runs, command, capsys, tmp_path
):
    few = "--stages.0.epochs 1 --stages.0.batch-size 16"
    clips = small_world / "clips.jsonl"
    line = f"train world-audio-visual {clips} {tmp_path}/selected --seed 7 {few} --select-on-test"
    assert command(line) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "SELECTION ON TEST: test MRR" in told
    assert "validation" not in told
    assert {numbers["split"] for numbers in Run(tmp_path / "selected").metrics()} == {"test"}
    honest = Run(runs / "audio-visual" / "seed-0")
    assert {numbers["split"] for numbers in honest.metrics()} == {"val"}
    assert command(f"evaluate {tmp_path}/selected {clips}") == 0
    assert "Protocol: SELECTION ON TEST: the run's" in " ".join(capsys.readouterr().out.split())
    held = json.loads((tmp_path / "selected" / "evaluation.json").read_text())
    assert held["protocol"]["selected_on_test"] is True
    assert command(f"compare {honest.path} {tmp_path}/selected") == 2
    complaint = " ".join(capsys.readouterr().err.split())
    assert "selection on the test split: no against yes" in complaint
    # What starts from it has seen the test clips choose, too.
    start = f"train world-slava-av {clips} {tmp_path}/after --start {tmp_path}/selected {few}"
    assert command(start) == 0
    assert command(f"evaluate {tmp_path}/after {clips}") == 0
    held = json.loads((tmp_path / "after" / "evaluation.json").read_text())
    assert held["protocol"]["selected_on_test"] is True


def test_losses_are_chosen_by_options_and_a_run_keeps_them(small_world, command, tmp_path):
    line = f"train world-slava-av {small_world}/clips.jsonl {tmp_path}/run --stages.0.epochs 1"
    terms = ("vt", "at-sigmoid", "tva-volume", "tva-area")
    options = f"--stages.0.draws.0.terms {' '.join(terms)} --objective.matryoshka 8 4"
    assert command(f"{line} {options} --objective.matryoshka-weights 0.5 2") == 0
    run = Run(tmp_path / "run")
    experiment = read_experiment(run.path / "experiment.json")
    assert experiment.terms == terms
    assert experiment.objective.matryoshka == (8, 4)
    assert experiment.objective.matryoshka_weights == (0.5, 2.0)
    assert "objective.weights.at-sigmoid:bias" in run.weights()[0]
    assert run.metrics()[-1]["weights"]["at-sigmoid:bias"] != -10
    again = f"train {run.path}/experiment.json {small_world}/clips.jsonl {tmp_path}/again"
    assert command(again) == 0
    assert Run(tmp_path / "again").metrics() == run.metrics()


def test_a_width_that_no_vector_has_is_refused_before_training(
    small_world, command, tmp_path, capsys
):
    line = f"train world-slava-av {small_world}/clips.jsonl {tmp_path}/run"
    assert command(f"{line} --objective.matryoshka 5000") == 2
    said = capsys.readouterr().err.splitlines()[-1]  # features were read before
    assert "--objective.matryoshka 5000: the vectors have" in said
    assert not (tmp_path / "run").exists()


def test_a_student_learns_from_a_teacher_and_hard_negatives_by_option(
    small_world, command, tmp_path, capsys
):
    few = "--stages.0.epochs 2 --stages.0.batch-size 16"
    line = f"train world-slava-a-and-v {small_world}/clips.jsonl"
    assert command(f"{line} {tmp_path}/teacher {few}") == 0
    terms = "--stages.0.draws.0.terms av at-distil --stages.0.draws.1.terms vt vt-distil"
    taught = f"{line} {tmp_path}/student {few} --teacher {tmp_path}/teacher"
    assert command(taught) == 2
    assert "no term learns from it" in capsys.readouterr().err
    assert command(f"{taught} {terms} --stages.0.negatives 2") == 0
    shutil.rmtree(tmp_path / "teacher")
    (last,) = [one for one in Run(tmp_path / "student").metrics() if one["epoch"] == 2]
    assert set(last["terms"]) == {"av", "at-distil", "vt", "vt-distil"}
    assert set(last["negatives"]) == {"near duplicates", "clips without"}
    assert command(f"evaluate {tmp_path}/student {small_world}/clips.jsonl") == 0
