"""An archive, its library and its model in new places, on the command line."""

import json
import shutil

import pytest
from PIL import Image

from trichord.checkpoint import Progress, Run
from trichord.cli import console, main
from trichord.config import Experiment
from trichord.config.experiment import read_experiment
from trichord.models.embedder import Embedder
from trichord.search.collection import StoredCollection


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder that is the working directory, with two folders of pictures."""
    home = tmp_path / "home"
    for name, colour in (
        ("day/red", (200, 30, 30)),
        ("day/blue", (30, 40, 200)),
        ("night/x", (9, 9, 9)),
    ):
        file = home / "media" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (48, 48), colour).save(file)
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def run(place, tiny_trimodal):
    """A run as training would leave it."""
    run = Run(place / "runs" / "mine")
    experiment = Experiment(system="made", model=tiny_trimodal)
    run.start(experiment, "none")
    run.finish(tiny_trimodal.build().eval(), experiment.objective.build(), Progress())
    return run.path


@pytest.fixture
def archive(place, run, command):
    """An indexed archive."""
    assert command(f"index media archive --model {run} --no-speech") == 0
    return place / "archive"


@pytest.fixture
def found(capsys):
    """Searches; gives the file and score of each hit."""

    def found(archive, *options):
        capsys.readouterr()
        assert main(["search", str(archive), "a red thing", "--json", *options]) == 0
        hits = json.loads(capsys.readouterr().out)
        return {hit["moment"]["file"]: round(hit["score"], 4) for hit in hits}

    return found


@pytest.fixture
def no_towers(monkeypatch):
    """From here on no tower can be loaded."""

    def refuse(*_):
        raise AssertionError("a tower was loaded")

    def forbid():
        monkeypatch.setattr("trichord.cli.archive_model.load_embedder", refuse)

    return forbid


def test_an_archive_is_relocated(archive, place, command, capsys, found):
    before = found(archive)
    (place / "media").rename(place / "films")
    assert command("relocate archive media films") == 0
    assert "3 files are in films now" in capsys.readouterr().out
    assert found(archive) == {
        file.replace("/media/", "/films/"): score for file, score in before.items()
    }
    assert command("relocate archive media films") == 2
    assert "archive has no files there: name one of its folders" in capsys.readouterr().err


def test_a_relocation_that_cannot_be_right_is_refused_unless_forced(
    archive, place, command, capsys
):
    (place / "empty").mkdir()
    assert command("relocate archive media empty") == 2
    assert "empty lacks 3 of the 3 files of media" in capsys.readouterr().err
    assert command("relocate archive media empty --force") == 0


def test_missing_files_are_kept_said_and_left_out(archive, place, command, capsys, found):
    before = found(archive)
    (place / "media" / "night").rename(place / "away")
    (place / "media" / "day" / "red.png").unlink()
    capsys.readouterr()
    assert command("index media archive") == 0
    printed = capsys.readouterr()
    assert "1 unchanged, 2 missing" in printed.out.replace(
        "2 missing, 1 unchanged", "1 unchanged, 2 missing"
    )
    said = " ".join(printed.err.split())
    assert f"{place}/media/night is missing or empty, and the archive has 1 of its files" in said
    assert "missing from folders that are there: " in said
    assert "--prune removes them" in said
    assert [*found(archive)] == [str(place / "media/day/blue.png")]
    assert found(archive, "--missing") == before
    assert main(["search", "archive", "a red thing", "--missing"]) == 0
    assert capsys.readouterr().out.count("missing)") == 2
    assert main(["search", "archive", "a red thing", "--missing", "--json"]) == 0
    marks = {hit["moment"]["file"]: hit["missing"] for hit in json.loads(capsys.readouterr().out)}
    assert [file for file, mark in marks.items() if not mark] == [str(place / "media/day/blue.png")]
    assert command("index media archive --prune") == 0
    assert "2 removed" in capsys.readouterr().out
    assert [*found(archive, "--missing")] == [str(place / "media/day/blue.png")]


def test_a_root_that_is_not_there_is_named_by_a_search(archive, place, command, capsys):
    (place / "more").mkdir()
    Image.new("RGB", (48, 48), (1, 99, 1)).save(place / "more" / "green.png")
    assert command("index more archive") == 0
    (place / "media").rename(place / "away")
    capsys.readouterr()
    assert main(["search", "archive", "a red thing"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert (
        f"{place}/media is missing or empty: its moments are left out; --missing shows them" in said
    )


def test_a_call_without_work_loads_no_tower(archive, place, run, command, capsys, no_towers, found):
    before = found(archive)
    no_towers()
    capsys.readouterr()
    assert command("index media archive") == 0
    assert command(f"index media archive --model {run}") == 0
    assert capsys.readouterr().out.count("3 unchanged; 3 no_audio.") == 2
    (place / "media").rename(place / "films")
    assert command("index films archive") == 0
    assert "3 moved" in capsys.readouterr().out
    assert {file.replace("/films/", "/media/") for file in found(archive)} == before.keys()


def test_a_run_that_moved_is_named_once(archive, place, run, command, capsys, found, monkeypatch):
    before = found(archive)
    moved = run.rename(place / "kept")
    shutil.rmtree(archive / "cache")
    assert main(["search", "archive", "a red thing"]) == 2
    [complaint] = capsys.readouterr().err.splitlines()
    assert f"its model {run} is not there any more" in complaint
    monkeypatch.setattr(Embedder, "embed_media", None)
    assert command("index media archive --model kept") == 0
    assert "3 unchanged" in capsys.readouterr().out
    assert StoredCollection.open(archive).run == str(moved)
    assert found(archive) == before
    assert command("index media archive") == 0


def test_an_archive_and_its_run_are_copied_together(archive, place, command, found, tmp_path):
    before = found(archive)
    shutil.rmtree(archive / "cache")
    place.rename(tmp_path / "copy")
    hits = found(tmp_path / "copy" / "archive")
    assert {file.replace("/copy/", "/home/"): score for file, score in hits.items()} == before


def test_an_archive_is_made_from_folders_of_weights(
    place, tiny_towers, command, capsys, found, no_towers, tmp_path, monkeypatch
):
    shutil.copytree(tiny_towers, place / "models")
    options = "--model.vision.name models/clip --model.audio.name models/clap --no-speech"
    assert command(f"index media zero --model clip-clap {options}") == 0
    assert command(f"index media other {options}") == 0
    before = found("zero")
    assert found("other") == before
    towers = read_experiment(place / "zero" / "model" / "experiment.json").model.towers()
    assert {role: tower.name for role, tower in towers.items()} == {
        "text": str(place / "models" / "clip"),
        "vision": str(place / "models" / "clip"),
        "audio": str(place / "models" / "clap"),
        "sound_text": str(place / "models" / "clap"),
    }
    # The folders move: the same command with their new place repairs the archive.
    (place / "models").rename(place / "weights")
    moved = options.replace("models/", "weights/")
    assert command(f"index media zero {moved}") == 0
    shutil.rmtree(place / "zero" / "cache")
    monkeypatch.chdir(tmp_path)
    assert found(place / "zero") == before
    monkeypatch.chdir(place)
    no_towers()
    assert command(f"index media zero {moved}") == 0
    assert command("index media zero") == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--model.vision.name nowhere", "--model.vision.name"),
        ("--model runs/mine --model.vision.name media", "runs/mine is a run, which has its own"),
        ("--reembed --model.audio.name media", "--model.audio.name has no effect with --reembed"),
        ("--remove --prune", "--prune has no effect with --remove"),
    ],
)
def test_weights_that_cannot_be_are_refused(options, said, place, run, command, capsys):
    assert command(f"index media new {options}") == 2
    [complaint] = capsys.readouterr().err.splitlines()
    assert said in complaint
    assert not (place / "new").exists()


def test_a_bucket_keeps_no_folders_of_weights(place, command, capsys, bucket):
    assert command(f"index media {bucket} --model.vision.name media") == 2
    assert "an archive in a bucket has no place for a model" in capsys.readouterr().err


def test_towers_of_a_relative_folder_are_found_from_the_run(
    place, tiny_towers, command, capsys, tmp_path, monkeypatch
):
    shutil.copytree(tiny_towers, place / "models")
    (place / "clips.jsonl").write_text(
        json.dumps({"id": "a", "path": "media/day/red.png", "split": "train"}) + "\n"
    )
    names = {"text": "clip", "vision": "clip", "audio": "clap", "sound-text": "clap"}
    options = " ".join(f"--model.{role}.name models/{name}" for role, name in names.items())
    line = f"train clip-clap clips.jsonl runs/zero {options}"
    assert command(line) == 0
    stored = json.loads((place / "runs" / "zero" / "experiment.json").read_text())
    assert "../../models/clip" in json.dumps(stored)
    fingerprint = Run(place / "runs" / "zero").load().fingerprint
    assert command(line) == 0
    assert "already trained" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    assert Run(place / "runs" / "zero").load().fingerprint == fingerprint
    assert command(f"index {place}/media {tmp_path}/archive --model {place}/runs/zero") == 0
    moved = place.rename(tmp_path / "moved")
    assert Run(moved / "runs" / "zero").load().fingerprint == fingerprint


def test_a_run_of_an_earlier_version_finds_a_relative_tower_above_it(
    place, tiny_towers, tiny_trimodal, tmp_path, monkeypatch
):
    shutil.copytree(tiny_towers, place / "models")
    names = {str(tiny_towers / name): f"models/{name}" for name in ("clip", "clap")}
    experiment = Experiment(system="made", model=tiny_trimodal.renamed(names))
    run = Run(place / "runs" / "old")
    run.start(experiment, "none")  # as it is typed
    assert read_experiment(run.path / "experiment.json") == experiment
    run.finish(experiment.model.build().eval(), experiment.objective.build(), Progress())
    monkeypatch.chdir(tmp_path)
    found = {tower.name for tower in run.experiment().model.towers().values()}
    assert found == {str(place / "models" / "clip"), str(place / "models" / "clap")}
    assert run.load().fingerprint


def test_a_log_has_a_line_a_minute(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(console, "monotonic", lambda: now[0])
    with console.bar("files", 9) as moving:
        for seconds, name in (
            (59, "a.mp4"),
            (1, "b.mp4"),
            (30, "c.mp4"),
            (29, "d.mp4"),
            (2, "e.mp4"),
        ):
            now[0] += seconds
            moving.advance(note=name)
    first, second = filter(None, capsys.readouterr().err.splitlines())
    assert first.startswith("files: 2 of 9, ")
    assert first.endswith("b.mp4")
    assert second.startswith("files: 5 of 9, ")


def test_prune_says_what_it_keeps_and_what_removes_it(archive, place, command, capsys):
    for file in (place / "media" / "day").iterdir():
        file.unlink()
    capsys.readouterr()
    assert command("index media archive --prune") == 0
    printed = capsys.readouterr()
    assert "2 missing" in printed.out
    said = " ".join(printed.err.split())
    assert f"{place}/media/day is missing or empty, and the archive has 2 of its files" in said
    assert "--remove FOLDER removes them" in said
    assert command("index media/day archive --remove") == 0
    assert "2 files removed" in capsys.readouterr().out


def test_an_update_cuts_as_the_archive_does(place, run, command, capsys, no_towers):
    options = "--seconds 4 --hop 1 --cut shots --frames keyframe --audio-track eng"
    assert command(f"index media archive --model {run} --no-speech {options}") == 0
    no_towers()
    for same in ("", "--seconds 4", "--hop 1", options):
        assert command(f"index media archive {same}") == 0
    capsys.readouterr()
    for other, named in (
        ("--seconds 10", "not by shots, of 10 s every 5 s"),
        ("--hop 2", "not by shots, of 4 s every 2 s"),
        ("--cut window", "not of 4 s"),
        ("--frames exact", "not by shots, of 4 s every 1 s, of audio track eng"),
        ("--audio-track deu", "of audio track deu"),
    ):
        assert command(f"index media archive {other}") == 2
        complaint = capsys.readouterr().err
        assert named in complaint
        assert complaint.count("\n") == 1
    own = StoredCollection.open(place / "archive").description
    assert (own.seconds, own.hop, own.cut, own.frames) == (4.0, 1.0, "shots", "keyframe")


@pytest.mark.parametrize(
    ("options", "seconds", "hop"),
    [("", 10.0, 5.0), ("--seconds 8", 8.0, 4.0), ("--hop 1", 10.0, 1.0)],
)
def test_a_new_archive_has_moments_of_ten_seconds(options, seconds, hop, place, run, command):
    assert command(f"index media new --model {run} --no-speech {options}") == 0
    own = StoredCollection.open(place / "new").description
    assert (own.seconds, own.hop, own.cut, own.frames) == (seconds, hop, "window", "exact")
    assert own.audio_track == ""


def test_an_update_names_files_that_could_not_be_read_before(archive, place, command, capsys):
    for number in range(7):
        (place / "media" / f"broken {number}.mp4").write_bytes(b"no film")
    capsys.readouterr()
    assert command("index media archive --no-speech") == 0
    first = capsys.readouterr().err
    assert all(f"broken {number}.mp4: unsupported: " in first for number in range(7))
    assert "still not readable" not in first
    assert command("index media archive") == 0
    again = capsys.readouterr().err
    assert "Unchanged, and still not readable:" in again
    for number in range(7):
        assert (f"{place}/media/broken {number}.mp4: unsupported: " in again) == (number < 5)
    assert "and 2 more: 'trichord doctor FOLDER' lists all." in again


def test_lines_are_not_wrapped_in_a_log(archive, place, command, capsys):
    deep = place / "media" / ("a folder with a long name " * 4).strip()
    deep.mkdir()
    (place / "media" / "day" / "red.png").rename(deep / "red.png")
    (deep / "no film.mp4").write_bytes(b"no film")
    capsys.readouterr()
    assert command("index media archive --no-speech") == 0
    printed = capsys.readouterr()
    assert "1 moved" in printed.out
    lines = printed.err.splitlines()
    assert any(line.startswith(f"  {deep}/no film.mp4: unsupported: its content") for line in lines)
