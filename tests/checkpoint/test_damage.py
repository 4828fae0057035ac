"""Checkpoints and weights that are not what was written."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from trichord.checkpoint import Progress, Run, Saved
from trichord.types import UserError


@pytest.fixture
def twice_saved(experiment, tmp_path):
    run = Run(tmp_path / "run")
    run.start(experiment, "abc")
    for step in (1, 2):
        run.save(Saved(Progress(step=step), {"now.x": torch.full((4,), float(step))}))
    return run


def checkpoints(run):
    return sorted(path.name for path in run.path.iterdir() if path.suffix == ".safetensors")


def test_two_generations_of_checkpoints_are_kept_and_the_newest_is_used(twice_saved):
    assert checkpoints(twice_saved) == ["checkpoint-before.safetensors", "checkpoint.safetensors"]
    twice_saved.save(Saved(Progress(step=3), {}))
    assert checkpoints(twice_saved) == ["checkpoint-before.safetensors", "checkpoint.safetensors"]
    assert twice_saved.saved().progress.step == 3
    (twice_saved.path / "checkpoint.safetensors").unlink()  # as killed between two renames
    assert twice_saved.saved().progress.step == 2


SPOILT = {
    "cut off": lambda whole: whole[: len(whole) // 2],
    "flipped": lambda whole: whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:],
    "of another type": lambda whole: whole.replace(b'"F32"', b'"I32"'),
    "without its digest's name": lambda whole: whole.replace(b'"digest"', b'"dihest"'),
    "empty": lambda whole: b"",
    "foreign": lambda whole: b"dear diary",
    "a pickle": lambda whole: b"\x80\x04\x95 c__main__\nno_such_thing\n",
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_damaged_checkpoint_is_set_aside_and_named_and_the_one_before_is_used(
    kind, twice_saved, caplog
):
    newest = twice_saved.path / "checkpoint.safetensors"
    whole = newest.read_bytes()
    newest.write_bytes(SPOILT[kind](whole))
    assert newest.read_bytes() != whole
    assert twice_saved.saved().progress.step == 1
    (said,) = caplog.messages
    assert str(newest) in said
    assert "\n" not in said
    assert "set aside as checkpoint.damaged-1.safetensors. The one before it is used." in said
    assert checkpoints(twice_saved) == [
        "checkpoint-before.safetensors",
        "checkpoint.damaged-1.safetensors",
    ]


def test_another_experiments_or_manifests_checkpoint_is_not_gone_on_with(
    twice_saved, experiment, tmp_path, caplog
):
    newest = twice_saved.path / "checkpoint.safetensors"
    for number, other, manifest in ((1, replace(experiment, seed=1), "abc"), (2, experiment, "d")):
        stranger = Run(tmp_path / f"other-{number}")
        stranger.start(other, manifest)
        stranger.save(Saved(Progress(step=9), {}))
        shutil.copy(stranger.path / newest.name, newest)
        assert twice_saved.saved().progress.step == 1
        assert f"set aside as checkpoint.foreign-{number}.safetensors" in caplog.messages[-1]


def test_without_any_whole_checkpoint_training_begins_anew_and_says_so(twice_saved, caplog):
    for name in checkpoints(twice_saved):
        (twice_saved.path / name).write_bytes(b"")
    assert twice_saved.saved() is None
    assert caplog.messages[-1].endswith("There is no other: training starts again.")
    twice_saved.save(Saved(Progress(step=4), {}))
    assert twice_saved.saved().progress.step == 4


@pytest.mark.parametrize("place", [9, 30, -1])
def test_one_changed_byte_of_the_weights_is_noticed(place, finished):
    run, _ = finished
    path = run.path / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 2
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"weights.safetensors is damaged.*delete that file and train"
    ):
        run.load()


def test_weights_without_a_digest_load_as_long_as_their_notes_are_ours(finished):
    run, model = finished
    path = run.path / "weights.safetensors"
    tensors = load_file(path)
    save_file(tensors, path, {"text": model.text.fingerprint})
    assert run.load().fingerprint == model.fingerprint
    save_file(tensors, path, {"tezt": model.text.fingerprint})
    with pytest.raises(UserError, match="it names 'tezt'"):
        run.load()


def test_a_run_killed_at_its_first_files_is_begun_again(experiment, tmp_path):
    run = Run(tmp_path / "run")
    run.start(experiment, "abc")
    (run.path / "experiment.json").unlink()
    (run.path / ".0123456789abcdef.part").write_text("half of i")
    run.start(experiment, "abc")
    assert sorted(p.name for p in run.path.iterdir()) == ["environment.json", "experiment.json"]


def test_what_killed_saves_left_is_removed(twice_saved, experiment):
    (twice_saved.path / ".0123456789abcdef.part").write_text("half of i")
    twice_saved.start(experiment, "abc")
    assert not [p for p in twice_saved.path.iterdir() if p.suffix == ".part"]


def test_a_damaged_note_is_one_line_that_names_it(finished, experiment):
    run, _ = finished
    for name, read in (
        ("metrics.jsonl", run.metrics),
        ("environment.json", lambda: run.start(experiment, "abc")),
    ):
        (run.path / name).write_text('{"manif')
        with pytest.raises(UserError, match=rf"{name} is damaged"):
            read()


# What fills the disk


@pytest.fixture
def full_disk(tmp_path):
    """Files of 100 kB at most, and a function that gives it room again."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_no_checkpoint(twice_saved, full_disk):
    large = Saved(Progress(step=3), {"now.x": torch.zeros(50_000)})
    before = checkpoints(twice_saved)
    with pytest.raises(
        UserError, match=r"cannot be written: .*The last checkpoint is kept"
    ) as told:
        twice_saved.save(large)
    assert "\n" not in str(told.value)
    assert checkpoints(twice_saved) == before
    assert twice_saved.saved().progress.step == 2
    assert not [path for path in twice_saved.path.iterdir() if path.suffix == ".part"]
    full_disk()
    twice_saved.save(large)
    assert twice_saved.saved().progress.step == 3
