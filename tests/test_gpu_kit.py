"""`studies/gpu.py`: what a card would be asked, in small, on the CPU."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import gpu
import gpu_speed
import pytest
import torch

from trichord.losses import objective
from trichord.models import decoding
from trichord.types.terms import TERMS

STUDIES = Path(__file__).parents[1] / "studies"
UNNEEDED = ("av", "lance", "pyarrow", "pydantic", "tyro", "rich", "trichord_world", "faiss")
"""What the kit must do without: none of it travels to the card's machine."""
PATIENT = ("--minutes", "80")
"""A loaded machine may take longer than a card."""
ALONE = """
import sys
sys.modules.update(dict.fromkeys({unneeded!r}))
sys.argv = ["gpu.py", "--tiny", "--minutes", "80", "--out", {out!r}]
sys.path.insert(0, {studies!r})
import torch
torch.set_num_threads(1)
from gpu import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The file of a whole run, in a process that has nothing but what travels."""
    out = tmp_path_factory.mktemp("gpu") / "gpu.json"
    script = ALONE.format(unneeded=UNNEEDED, out=str(out), studies=str(STUDIES))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(out.read_text())


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # the kit sets it where it is missing


def run(out, *options):
    """The exit code of a tiny run, and what its file holds."""
    code = gpu.main(["--tiny", "--out", str(out), *options])
    return code, json.loads(out.read_text())


def test_a_tiny_run_has_all_parts_and_is_correct(whole):
    assert {name: one["state"] for name, one in whole["parts"].items()} == dict.fromkeys(
        gpu.PARTS, "complete"
    )
    judged = {name for name, one in whole["parts"].items() if one.get("passed")}
    assert judged == {name for name, part in gpu.PARTS.items() if part.correctness}
    assert all(one["found"] for one in whole["parts"].values())
    assert whole["device"]["torch"]


def test_every_term_of_the_loss_is_compared(whole):
    compared = whole["parts"]["losses"]["found"]
    assert {name.partition(",")[0] for name in compared} == set(TERMS)
    # Single precision is not double: a comparison of something with itself would find no error.
    assert all(0 < one["float32"]["error"] < 1e-4 for one in compared.values())


def test_the_projection_is_that_of_the_fastest_step(whole):
    rates = [
        one["clips a second"]
        for one in whole["parts"]["pretraining"]["found"].values()
        if "clips a second" in one
    ]
    days = whole["parts"]["projection"]["found"]["small"]["days of this card"]
    assert days * 86_400 * max(rates) == pytest.approx(24 * 2 * 2_084_320)


def test_a_broken_loss_is_found(tmp_path, monkeypatch):
    right = objective.BUILT_IN["volume"]

    def broken(*vectors, **settings):
        value = right(*vectors, **settings)
        return value * 1.001 if vectors[0].itemsize == 4 else value  # in single precision alone

    monkeypatch.setitem(objective.BUILT_IN, "volume", broken)
    code, found = run(tmp_path / "gpu.json", "--parts", "losses", *PATIENT)
    failed = {name for name, one in found["parts"]["losses"]["found"].items() if not one["passed"]}
    assert code == 1
    assert not found["parts"]["losses"]["passed"]
    assert failed == {f"tva-volume, {way}" for way in ("one tile", "tiles", "equal texts")}


def test_a_broken_decoder_is_found(tmp_path, monkeypatch):
    right = decoding.CaptionScorer.rows

    def broken(scorer, indices):
        return right(scorer, indices.flip(0))  # beams go on with each other's caches

    monkeypatch.setattr(decoding.CaptionScorer, "rows", broken)
    code, found = run(tmp_path / "gpu.json", "--parts", "captions", *PATIENT)
    checks = found["parts"]["captions"]["found"]
    assert code == 1
    assert checks["teacher forcing"]["passed"]
    assert not checks["5 beams"]["passed"]


def test_a_stop_loses_nothing_and_parts_are_made_up_for(tmp_path, monkeypatch):
    out = tmp_path / "gpu.json"

    def stopped(_):
        yield "first", {"rate": 1.0}
        raise KeyboardInterrupt

    def whole_part(_):
        yield "first", {"rate": 2.0}
        yield "second", {"rate": 3.0}

    parts = {"one": gpu.Part(30, whole_part), "two": gpu.Part(30, stopped)}
    monkeypatch.setattr(gpu, "PARTS", parts)
    with pytest.raises(KeyboardInterrupt):
        run(out)
    left = json.loads(out.read_text())["parts"]
    assert left["one"]["state"] == "complete"
    assert left["two"] == {"state": "running", "found": {"first": {"rate": 1.0}}}
    monkeypatch.setattr(gpu, "PARTS", {**parts, "two": gpu.Part(30, whole_part)})
    code, found = run(out, "--parts", "two")
    assert code == 0
    assert found["parts"]["one"] == left["one"]
    assert found["parts"]["two"]["found"] == left["one"]["found"]


def test_a_part_that_fails_or_takes_too_long_is_noted_and_the_rest_goes_on(tmp_path, monkeypatch):
    def failing(_):
        yield "first", {"passed": True}
        raise ValueError("of its own")

    def endless(_):
        yield "first", {"rate": 1.0}
        while True:
            time.sleep(0.01)

    def fine(_):
        yield "first", {"passed": True}

    parts = {
        "failing": gpu.Part(60, failing, correctness=True),
        "endless": gpu.Part(1, endless),
        "fine": gpu.Part(60, fine, correctness=True),
    }
    monkeypatch.setattr(gpu, "PARTS", parts)
    code, found = run(tmp_path / "gpu.json")
    states = {name: one["state"] for name, one in found["parts"].items()}
    assert code == 1
    assert states == {
        "failing": "failed: ValueError: of its own",
        "endless": "out of time after 1 s",
        "fine": "complete",
    }
    assert found["parts"]["endless"]["found"] == {"first": {"rate": 1.0}}
    assert [found["parts"][name]["passed"] for name in ("failing", "fine")] == [False, True]


@pytest.mark.parametrize(
    ("most", "tried"),
    [(600, [256, 512, 1024]), (70, [256, 128, 64]), (9000, [256, 512, 1024, 2048])],
)
def test_batches_double_until_they_do_not_fit_or_halve_until_they_do(most, tried):
    def measure(size):
        if size > most:
            raise torch.OutOfMemoryError
        return {"rate": size}

    found = dict(gpu_speed.until_largest(measure, replace(gpu_speed.FULL, largest=2048)))
    assert list(found) == tried
    assert all(("does not fit" in one) == (size > most) for size, one in found.items())


def test_a_measurement_that_fails_is_named(tmp_path, monkeypatch):
    def measure(size):
        raise RuntimeError(f"no compiler for {size}")

    def part(_):
        yield from gpu_speed.until_largest(measure, gpu_speed.TINY)

    monkeypatch.setattr(gpu, "PARTS", {"one": gpu.Part(60, part)})
    code, found = run(tmp_path / "gpu.json")
    assert code == 0
    assert found["parts"]["one"]["state"] == "complete but for 4"
    assert found["parts"]["one"]["found"] == {"4": {"failed": "RuntimeError: no compiler for 4"}}


def test_correctness_that_was_not_reached_is_no_success(tmp_path, monkeypatch):
    parts = {"nothing": gpu.Part(60, lambda _: iter(()), correctness=True)}
    monkeypatch.setattr(gpu, "PARTS", parts)
    assert run(tmp_path / "gpu.json")[0] == 1


def test_parts_of_another_device_are_not_mixed_in(tmp_path):
    out = tmp_path / "gpu.json"
    out.write_text(json.dumps({"device": {"name": "another"}, "tiny": True, "parts": {}}))
    with pytest.raises(SystemExit, match="of another device"):
        run(out, "--parts", "losses")
    assert json.loads(out.read_text())["device"] == {"name": "another"}
