import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from trichord.api.model import device_of, embedder_of
from trichord.checkpoint import Run, fresh_model
from trichord.cli.sources import source_of
from trichord.cli.training import Training, lost, train_chosen
from trichord.config import Draw, Experiment, Stage
from trichord.corpora.manifest import write_manifest
from trichord.encoders import held
from trichord.features.extraction import extract_media, extract_texts
from trichord.features.source import FeatureSource, MediaSource, MixedSource
from trichord.features.store import FeatureFolder
from trichord.search.collection import Collection
from trichord.training.neighbours import Neighbours
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
        (signal.SIGINT, 130, "interrupted; nothing is lost, repeat the command to go on"),
        (signal.SIGTERM, 143, "terminated and saved; repeat the command to go on."),
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


def test_seeds_that_train_side_by_side_are_those_that_train_alone(
    whole, small_world, command, tmp_path, monkeypatch, capsys
):
    run, line = whole  # of seed 0
    both = f"{line} {tmp_path} {FEW} --seeds 1 0"

    class Patient(Neighbours):
        """Lets the process beside have the last seed, however long it takes to start."""

        def call(self, count):
            super().call(count)
            while self.row:
                time.sleep(0.01)

    monkeypatch.setattr("trichord.training.neighbours.Neighbours", Patient)
    assert command(f"{both} --at-once 2") == 0
    apart, alone = Run(tmp_path / "seed-0"), run
    assert apart.metrics() == alone.metrics()
    assert apart.weighting == alone.weighting
    one, other = (each.load().state_dict() for each in (apart, alone))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    said = capsys.readouterr().out
    assert f"{tmp_path}/seed-0: " in said
    assert f"{tmp_path}/seed-1: " in said


def test_seeds_and_their_reports_read_each_tower_once_a_command(
    whole, small_world, command, tmp_path, monkeypatch
):
    run, line = whole  # read all of it anew
    read = []
    load = held.load
    monkeypatch.setattr(
        held, "load", lambda kind, *a, **o: (read.append(kind), load(kind, *a, **o))[1]
    )
    for asked in (
        f"{line} {tmp_path} {FEW} --seeds 0 1 --at-once 1",
        f"evaluate {tmp_path} {small_world}/clips.jsonl",
    ):
        read.clear()
        assert command(asked) == 0
        assert len(read) == len(set(read)) >= 5
    one, other = (each.load().state_dict() for each in (Run(tmp_path / "seed-0"), run))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_no_seed_trains_beside_another_on_a_gpu(whole, small_world, command, tmp_path, monkeypatch):
    _, line = whole
    called = []
    monkeypatch.setattr("trichord.cli.training.device_of", lambda name: "meta")
    monkeypatch.setattr("trichord.training.neighbours.Neighbours.call", called.append)
    monkeypatch.setattr("trichord.cli.training.train_one", lambda *_: None)
    assert command(f"{line} {tmp_path} {FEW} --seeds 1 0 --at-once 2") == 0
    assert not called


def test_less_than_one_seed_at_once_is_refused(whole, command, tmp_path, capsys):
    _, line = whole
    assert command(f"{line} {tmp_path} --at-once 0") == 2
    assert "--at-once 0: name at least 1." in capsys.readouterr().err


def test_a_complete_run_of_another_manifest_is_not_taken_for_this_ones(
    whole, small_world, command, capsys
):
    run, _ = whole
    clips = (small_world / "clips.jsonl").read_text().splitlines(keepends=True)
    (small_world / "fewer.jsonl").write_text("".join(clips[:-1]))
    features = f"--features {small_world}/clips.features"
    line = f"train world-wav2clip-trainable-text {small_world}/fewer.jsonl {run.path} {features}"
    assert command(f"{line} {FEW}") == 2
    assert "other settings or another manifest" in capsys.readouterr().err


def test_what_was_skipped_is_told_in_words():
    epochs = [{"skipped": 2, "empty": 0}, {"skipped": 1, "empty": 4}, {"epoch": 0}]
    assert lost(epochs) == (
        ", 3 steps skipped whose loss was not finite"
        ", 4 steps skipped without anything to learn from"
    )
    assert lost(epochs[2:]) == ""


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

    def train(seeds, *, extracted):
        write_manifest(tmp_path / "clips.jsonl", CLIPS)
        folder = FeatureFolder.beside(tmp_path / "clips.jsonl")
        for seed in extracted:
            model = fresh_model(replace(listening, seed=seed))
            list(extract_texts(model, [clip.captions[0].text for clip in CLIPS], folder))
            list(extract_media(model, CLIPS, folder, made_up, ("audio",)))
        train_chosen(
            Training(
                manifest=tmp_path / "clips.jsonl",
                run=tmp_path / "runs",
                experiment=listening,
                seeds=seeds,
                source="features",
                features=None,
                device="cpu",
            )
        )
        return tmp_path / "runs"

    return train


def test_a_run_without_sight_needs_no_features_of_it(train_seeds):
    runs = train_seeds((0,), extracted=(0,))
    assert Run(runs / "seed-0").complete


def test_each_seed_learns_from_what_its_own_tower_hears(train_seeds):
    # A sound token that was never trained is drawn from the seed: features of another one's tower
    # are not those that the run will be measured with.
    with pytest.raises(UserError, match="audio features"):
        train_seeds((1,), extracted=(0,))


@pytest.mark.parametrize(
    ("kind", "towers", "made", "read"),
    [
        ("features", (), FeatureSource, {"text", "audio"}),
        ("features", ("audio",), MixedSource, {"text"}),
        ("features", ("text", "audio"), MediaSource, set()),
        ("media", (), MediaSource, set()),
    ],
)
def test_towers_that_train_are_fed_from_media(
    kind, towers, made, read, listening, made_up, tmp_path
):
    model, folder = fresh_model(listening), FeatureFolder(tmp_path)
    list(extract_texts(model, [clip.captions[0].text for clip in CLIPS], folder))
    list(extract_media(model, CLIPS, folder, made_up, ("audio",)))
    found = source_of(model, CLIPS, kind, folder, made_up, towers, ("text", "audio"))
    assert isinstance(found, made)
    assert set(found.read) == read


def test_a_model_is_a_run_or_an_experiment_and_a_slip_is_mended():
    with pytest.raises(UserError, match="did you mean 'untrained'"):
        embedder_of("untraind")
    assert not embedder_of("world-untrained").aligned


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_named():
    assert device_of("auto") == "cpu"
    with pytest.raises(UserError, match="no GPU"):
        device_of("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
def test_training_on_a_gpu_gives_a_run_that_loads(small_world, command, tmp_path):
    line = f"train world-slava-av {small_world}/clips.jsonl {tmp_path}/run --device cuda"
    assert command(f"{line} --stages.0.epochs 2 --stages.0.batch-size 16") == 0
    assert Run(tmp_path / "run").load().aligned


def test_a_run_learns_how_sight_and_sound_are_weighed_and_its_collections_know(runs, command):
    for seed in (0, 1):
        run = runs / "slava-av" / f"seed-{seed}"
        learnt = json.loads((run / "weighting.json").read_text())
        assert learnt["sight"] + learnt["sound"] == pytest.approx(2)
        assert learnt["clips"] > 1
        assert Run(run).weighting == (learnt["sight"], learnt["sound"])
    (run / "weighting.json").write_text(json.dumps({"sight": 0.5, "sound": 1.5}))
    media = runs.parent / "world" / "test_videos" / "test_00000.mp4"
    made = runs.parent / "weighed"
    assert command(f"index {run} {media} {made} --no-speech") == 0
    assert Collection.open(made).description.weighting == (0.5, 1.5)
    (run / "weighting.json").write_text("{")
    with pytest.raises(UserError, match=r"weighting\.json is damaged"):
        _ = Run(run).weighting


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
    assert "SELECTION ON TEST: test R@10" in told
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
