"""Several processes train what one process trains."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from processes import script, spread
from spread_training import Task, carry_out

from trichord.checkpoint import Run, fresh_model
from trichord.config import (
    AdamW,
    BertAdam,
    Clap,
    Cross,
    Draw,
    Experiment,
    InfoNCE,
    Lora,
    Muon,
    Stage,
)
from trichord.training.fit import fit

AUDIO = Draw(captions=("audio",), terms=("av", "at"))
VISUAL = Draw(captions=("visual",), terms=("av", "vt"))
SILENT = ("c1", "c2", "c5", "c8", "c9", "c13", "c21")


def stage(**changes):
    settings = {
        "name": "s",
        "trains": ("text", "vision", "audio"),
        "draws": (AUDIO, VISUAL),
        "criterion": ("visual<-sound",),
        "batch_size": 8,
        "epochs": 2,
        "optimizer": AdamW(lr=3e-3, weight_decay=0.1),
    }
    return Stage(**settings | changes)


@pytest.fixture(scope="module")
def experiments(tiny_trimodal, tiny_clip4vla, tmp_path_factory):
    """What is trained in several ways, by name: 24 clips in threes of mini-batches, two epochs."""
    listening = stage(
        towers=("audio",),
        draws=(Draw(captions=("audio",), terms=("at", "ct", "aa")),),
        criterion=("clip<-audio",),
        batch_size=9,
    )
    fused = Cross(layers=1, heads=2, from_text=False, dropout=0.3)
    clip4vla = replace(tiny_clip4vla, fusion=fused)
    seeing = stage(
        towers=("audio", "vision"), draws=(Draw(captions=("visual",), terms=("vt", "av")),)
    )
    both = {"stages": (stage(), stage(name="t", trains=("audio",), draws=(AUDIO,), epochs=1))}
    heads = {"model": tiny_trimodal, "hand_over": "best", **both}
    heads["objective"] = InfoNCE(temperature=0.01)  # begins at the bound and leaves it
    media = {"model": tiny_clip4vla, "hand_over": "last"}
    # Its audio head is new, so it has something to teach.
    linear = replace(
        tiny_trimodal, audio=Clap(name=tiny_trimodal.audio.name, head="linear", dim=24)
    )
    published = Experiment(system="teacher", model=linear, seed=9)
    teacher = Run(tmp_path_factory.mktemp("teacher") / "run")
    fit(published, fresh_model(published), [], teacher, manifest="m", after_epoch=print)
    imitating = Draw(captions=("audio",), terms=("at-distil", "av-distil", "a-distil", "at"))
    taught = stage(draws=(imitating,), negatives=2, captions_per_clip=2)
    moving = replace(seeing, optimizer=BertAdam(lr=1e-3))
    adapting = replace(seeing, lora=Lora(rank=2))
    muon = replace(seeing, optimizer=Muon(lr=3e-3))
    return {
        "heads": Experiment(system="heads", **heads),
        "fused": Experiment(system="fused", model=clip4vla, stages=(listening,), hand_over="last"),
        "towers": Experiment(system="towers", stages=(seeing,), **media),
        "chunks": Experiment(system="chunks", stages=(replace(seeing, chunk=2),), **media),
        "bert": Experiment(system="bert", stages=(moving,), **media),
        "lora": Experiment(system="lora", stages=(adapting,), **media),
        "muon": Experiment(system="muon", stages=(muon,), **media),
        "taught": replace(
            Experiment(system="taught", model=tiny_trimodal, stages=(taught,), hand_over="last"),
            teacher=teacher.path,
        ),
    }


SHARDED = ("towers", "chunks", "bert", "lora", "muon")
MORTAL = ("heads", "towers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, experiments, learnable_in):
    """What each process is to do, as files."""
    path = tmp_path_factory.mktemp("spread")
    for name, experiment in experiments.items():
        cache = path / f"{name}-cache"
        clips, _ = learnable_in(fresh_model(experiment), cache, SILENT)
        asked = {name: {}} | ({f"{name}-sharded": {"sharded": True}} if name in SHARDED else {})
        for key, how in asked.items():
            task = Task(experiment=experiment, clips=tuple(clips), features=cache, **how)
            task.write(path / f"{key}.json")
        if name in MORTAL:
            dying = replace(task, sharded=name in SHARDED, dies_after=5)
            dying.write(path / f"{name}-dying.json")
    return path


@pytest.fixture(scope="module")
def alone(folder):
    """Losses of one process by name; trains when it is first asked for one."""

    class Alone(dict):
        def __missing__(self, name):
            self[name] = carry_out(Task.read(folder / f"{name}.json"), folder / f"{name}-1")
            return self[name]

    return Alone()


DEFAULT = ("heads", "towers-sharded")
"""What two processes train where there is little time; the rest is slow."""


@pytest.fixture(scope="module")
def two(folder):
    spread("spread_training", 2, folder, *DEFAULT)


@pytest.fixture(scope="module")
def others(folder):
    spread(
        "spread_training",
        2,
        folder,
        "towers",
        "bert",
        "chunks-sharded",
        "lora",
        "lora-sharded",
        "muon",
        "muon-sharded",
    )


@pytest.fixture
def trained(request):
    """Has two processes train the one of a name; gives the name."""
    request.getfixturevalue("two" if request.param in DEFAULT else "others")
    return request.param


def names(*all_of_them):
    """The names as parameters of a test, those that are not trained by default as slow ones."""
    return [
        name if name in DEFAULT else pytest.param(name, marks=pytest.mark.slow)
        for name in all_of_them
    ]


@pytest.fixture(scope="module")
def four(folder):
    spread("spread_training", 4, folder, "heads", "fused", "chunks")


def weights(run):
    held = Run(run).load().state_dict()
    return {name: value for name, value in held.items() if value.is_floating_point()}


def losses_of(folder, name, count, rank=0):
    return json.loads((folder / f"{name}-{count}-losses-{rank}.json").read_text())


def agree(folder, name, count, expected):
    """Losses of all steps, numbers of all epochs and weights are those of one process."""
    first = losses_of(folder, name, count)
    # Muon iterates in bfloat16, which makes of a rounding error a hundred times that.
    coarse = name.startswith("muon")
    assert first == pytest.approx(expected, rel=3e-4 if coarse else 1e-5)
    for rank in range(1, count):
        assert losses_of(folder, name, count, rank) == pytest.approx(first, rel=1e-6)
    one, several = (weights(folder / run) for run in (f"{name.split('-')[0]}-1", f"{name}-{count}"))
    for key, value in one.items():
        # A bias of keys changes no attention: Adam makes steps of the noise that is its gradient.
        if not (coarse or key.endswith("k_proj.bias")):
            assert torch.allclose(value, several[key], atol=5e-5), key


@pytest.mark.parametrize(
    "trained",
    names("heads", "fused", "taught", "towers", "chunks", "bert", "lora", "muon"),
    indirect=True,
)
def test_two_processes_train_what_one_trains(trained, folder, alone):
    losses = alone[trained]
    assert len(losses) == {"heads": 9, "fused": 4}.get(trained, 6)
    agree(folder, trained, 2, losses)


def test_temperatures_that_start_at_their_bound_learn_alike_in_all_processes(folder, alone, two):
    assert alone["heads"]
    one, several = (Run(folder / f"heads-{count}").metrics() for count in (1, 2))
    for before, after in zip(one, several, strict=True):
        assert after["scales"] == pytest.approx(before["scales"], rel=1e-5)
    assert one[0]["scales"]["av"] == pytest.approx(100.0, rel=1e-6)
    assert one[2]["scales"]["av"] < 99.9  # two epochs of three steps


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heads", "fused", "chunks"])
def test_four_processes_train_what_one_trains(name, folder, alone, four):
    agree(folder, name, 4, alone[name])


@pytest.mark.parametrize("trained", names(*(f"{name}-sharded" for name in SHARDED)), indirect=True)
def test_sharded_towers_train_as_whole_ones_do(trained, folder, alone):
    agree(folder, trained, 2, alone[trained.removesuffix("-sharded")])


def torchrun(*arguments):
    """Two processes under torchrun; gives its exit code."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run([*launcher, *map(str, arguments)], timeout=240, check=False).returncode


def exactly(one, other):
    one, other = weights(one), weights(other)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.slow
def test_a_killed_process_is_started_again_and_nothing_is_lost(folder, two):
    assert torchrun("--max-restarts=1", script("spread_training"), folder, "heads-dying") == 0
    assert len(losses_of(folder, "heads-dying", 2)) == 4  # those after the restart, of nine
    exactly(folder / "heads-dying-2", folder / "heads-2")
    assert Run(folder / "heads-dying-2").metrics() == Run(folder / "heads-2").metrics()


@pytest.mark.slow
def test_what_two_sharded_processes_began_another_number_ends(folder, alone, two):
    assert (
        torchrun("--max-restarts=0", script("spread_training"), folder, "towers-dying") == 1
    )  # ends the other, too
    run = folder / "towers-dying-2"
    assert Run(run).saved().progress.epoch == 2
    task = Task.read(folder / "towers-dying.json")
    losses = carry_out(replace(task, dies_after=None), run)
    assert losses == pytest.approx(alone["towers"][5:], rel=1e-5)
    assert Run(run).complete
