"""Training that is killed, and checkpoints that are damaged, by the dozen."""

import json
import pickle
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
from processes import script
from safetensors.torch import save_file

from trichord.checkpoint import Progress, Run, Saved
from trichord.config import Experiment

PLACES = ((1, 0, 17), (2, 0, 13), (1, 2, 10), (2, 2, 10))
"""Ranks, workers that decode, and how many kills."""
KINDS = ("step", "save", "rename", "any time")


def planned(kinds, places):
    """So many trials of each place, the kinds in turn."""
    return [
        {"ranks": ranks, "workers": workers, "kind": kinds[i % len(kinds)]}
        for ranks, workers, count in places
        for i in range(count)
    ]


def carried_out(plan, towers, folder):
    done = subprocess.run(
        [sys.executable, script("killed_training"), towers, folder],
        input=json.dumps(plan).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=3600,
    )
    return json.loads(done.stdout)


@pytest.mark.torture
def test_fifty_killed_trainings_end_bit_for_bit_as_if_they_had_not_been(
    tiny_towers, tmp_path, tally
):
    trials = carried_out(planned(KINDS, PLACES), tiny_towers, tmp_path)
    kinds = Counter(one["kind"] for one in trials)
    tally(
        "kill -9 in training",
        tried=len(trials),
        resumed=sum(one["resumed"] for one in trials),
        equal=sum(one["equal"] for one in trials),
        most_steps_lost=max(one["steps lost"] for one in trials),
        **{f"in_a_{kind}".replace("in_a_any time", "at_any_time"): n for kind, n in kinds.items()},
    )
    assert len(trials) == 50
    assert [one for one in trials if not one["equal"]] == []
    # Who dies at any time may have ended by then.
    assert [one for one in trials if -9 not in one["codes"] and one["kind"] != "any time"] == []
    # Saved after each step: at most the one at hand is taken again.
    assert max(one["steps lost"] for one in trials) <= 1


@pytest.mark.torture
def test_trainings_that_are_asked_to_stop_are_saved_and_end_the_same(tiny_towers, tmp_path, tally):
    trials = carried_out(
        planned(("asked",), ((1, 0, 4), (2, 0, 4), (2, 2, 2))), tiny_towers, tmp_path
    )
    tally(
        "SIGTERM in training",
        tried=len(trials),
        saved_and_ended_with_143=sum(set(one["codes"]) == {143} for one in trials),
        equal=sum(one["equal"] for one in trials),
        steps_lost=sum(one["steps lost"] for one in trials),
    )
    assert [one for one in trials if set(one["codes"]) != {143} or not one["equal"]] == []
    assert [one for one in trials if one["steps lost"] or "Traceback" in one["said"]] == []


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


def damages(whole, foreign, trap):
    """Contents that a checkpoint may have instead of its own, by name."""
    chance = random.Random(0)
    for offset in sorted(chance.sample(range(1, len(whole)), 20)):
        yield f"cut off at {offset}", whole[:offset]
    for place in chance.sample(range(len(whole)), 100):
        flipped = bytearray(whole)
        flipped[place] ^= chance.randrange(1, 256)
        yield f"flipped at {place}", bytes(flipped)
    yield "nothing in it", b""
    yield "a picture", b"\x89PNG\r\n\x1a\n" + bytes(500)
    yield "longer than it was", whole + b"\0"
    yield "a huge header", (2**60).to_bytes(8, "little") + whole[8:]
    yield "nested without end", (40_000).to_bytes(8, "little") + b"[" * 40_000
    yield "without a digest", foreign
    yield "a pickle", pickle.dumps(Trap(trap))


@pytest.mark.torture
def test_every_damaged_checkpoint_is_detected_and_the_one_before_is_used(
    tiny_trimodal, tmp_path, tally
):
    def begun(name, experiment):
        run = Run(tmp_path / name)
        run.start(experiment, "m")
        return run

    experiment = Experiment(system="x", model=tiny_trimodal)
    run, other = begun("run", experiment), begun("other", replace(experiment, seed=1))
    for step in (1, 2):
        for one in (run, other):
            one.save(
                Saved(Progress(step=step), {"now.x": torch.randn(40, 40), "n": torch.tensor(1)})
            )
    newest = run.path / "checkpoint.safetensors"
    plain, archive, trap = tmp_path / "plain", tmp_path / "archive", tmp_path / "trap"
    save_file({"now.x": torch.randn(40, 40)}, plain)
    torch.save({"now.x": Trap(trap)}, archive)
    whole = newest.read_bytes()
    asked = dict(damages(whole, plain.read_bytes(), trap))
    asked["a pickle in an archive"] = archive.read_bytes()
    asked["of another experiment"] = (other.path / newest.name).read_bytes()
    used = {}
    for name, content in asked.items():
        newest.write_bytes(content)
        found = run.saved()
        aside = [p for p in run.path.iterdir() if ".damaged-" in p.name or ".foreign-" in p.name]
        used[name] = found is not None and found.progress.step == 1 and len(aside) == 1
        for one in aside:
            one.unlink()
    tally(
        "damaged checkpoints",
        tried=len(asked),
        detected_and_the_one_before_used=sum(used.values()),
        unpickled=int(trap.exists()),
    )
    assert [name for name, well in used.items() if not well] == []
    assert not trap.exists()
    newest.write_bytes(whole)
    assert run.saved().progress.step == 2
