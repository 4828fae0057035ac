import json
import subprocess
import sys
from dataclasses import replace

import pytest

from trichord.config import (
    AdamW,
    BertAdam,
    Clap,
    ClapText,
    ClipAudio,
    Cross,
    Draw,
    Experiment,
    GlobalToGlobal,
    LogMel,
    Stage,
    TriModal,
    read_experiment,
    write_experiment,
)
from trichord.experiments import EXPERIMENTS
from trichord.types import UserError


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_read_back_equal(name, tmp_path):
    _, experiment = EXPERIMENTS[name]
    write_experiment(tmp_path / "experiment.json", experiment)
    assert read_experiment(tmp_path / "experiment.json") == experiment
    assert hash(read_experiment(tmp_path / "experiment.json")) == hash(experiment)


def test_the_right_member_of_a_union_comes_back(tmp_path):
    _, untrained = EXPERIMENTS["clip-clap"]
    write_experiment(tmp_path / "e.json", untrained)
    assert read_experiment(tmp_path / "e.json").model.sound_text == ClapText()


def test_another_format_version_is_refused_with_both_numbers(tmp_path):
    path = tmp_path / "experiment.json"
    write_experiment(path, Experiment(system="x"))
    path.write_text(path.read_text().replace('"format": 3', '"format": 7'))
    with pytest.raises(UserError, match=r"format 7.*reads 3"):
        read_experiment(path)


def test_an_unknown_field_is_named(tmp_path):
    path = tmp_path / "experiment.json"
    write_experiment(path, Experiment(system="x"))
    document = json.loads(path.read_text())
    document["experiment"]["objective"]["tempertaure"] = 3
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"objective\.tempertaure"):
        read_experiment(path)


def test_no_run_and_no_json_are_told_apart(tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        read_experiment(tmp_path / "experiment.json")
    (tmp_path / "experiment.json").write_text("nonsense")
    with pytest.raises(UserError, match="is damaged: restore it"):
        read_experiment(tmp_path / "experiment.json")


def test_experiments_differ_after_an_override():
    stage = EXPERIMENTS["slava-av"][1].stages[0]
    assert replace(stage, optimizer=AdamW(lr=1.0)) != stage


def test_reading_experiments_does_not_load_torch():
    code = "import sys, trichord.experiments; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def stage(**changes):
    return Stage(name="s", trains=(), **{"draws": (), "criterion": ()} | changes)


@pytest.mark.parametrize("token", [0.0, 0.25, 1.0, "none", "both", "clip"])
def test_every_sound_token_comes_back_as_it_was(token, tmp_path):
    audio = ClipAudio(token=token, log_mel=LogMel(shape="hamming", window=1024))
    experiment = Experiment(system="x", model=TriModal(audio=audio))
    write_experiment(tmp_path / "e.json", experiment)
    held = read_experiment(tmp_path / "e.json").model.audio
    assert held == audio
    assert type(held.token) is type(token)


@pytest.mark.parametrize("audio", [Clap(), ClipAudio()])
@pytest.mark.parametrize("fusion", [None, GlobalToGlobal(absent="zeros"), Cross(level="tight")])
@pytest.mark.parametrize("optimizer", [AdamW(lr=1.0), BertAdam(slow=("audio",))])
def test_every_member_of_every_union_comes_back(audio, fusion, optimizer, tmp_path):
    experiment = Experiment(
        system="x",
        model=TriModal(audio=audio, fusion=fusion),
        stages=(stage(optimizer=optimizer, nonverbal_share=0.5, towers=("audio", "text")),),
        start=tmp_path / "run",
    )
    write_experiment(tmp_path / "e.json", experiment)
    held = read_experiment(tmp_path / "e.json")
    assert held == experiment
    assert held.start == tmp_path / "run"
    assert type(held.model.fusion) is type(fusion)


@pytest.mark.parametrize(
    ("terms", "criterion", "expected"),
    [
        (("at",), ("audio<-audio",), {"text", "audio"}),
        (("vt",), ("visual<-visual",), {"text", "vision"}),
        (("vt",), ("audio<-visual",), {"text", "vision", "audio"}),
        (("at", "aa"), ("audio<-audio",), {"text", "audio"}),
        (("mt",), ("visual<-visual",), {"text", "audio", "vision"}),
        (("aa",), (), {"text", "audio"}),
        (("tt",), (), {"text"}),
        (("vv",), (), {"text", "vision"}),
        (("av",), ("visual<-sound",), {"text", "vision", "audio"}),
        (("ct",), ("visual<-visual",), {"text", "vision", "audio"}),
        (("at",), ("clip<-audio",), {"text", "vision", "audio"}),
    ],
)
def test_an_experiment_needs_what_its_terms_and_its_criterion_compare(terms, criterion, expected):
    draws = (Draw(terms=terms),)
    experiment = Experiment(system="x", stages=(stage(draws=draws, criterion=criterion),))
    assert set(experiment.modalities) == expected
    assert experiment.terms == terms


def test_what_trains_nothing_needs_everything():
    assert set(Experiment(system="x").modalities) == {"text", "vision", "audio"}


def test_terms_of_all_stages_and_draws_are_named_once():
    first = stage(draws=(Draw(terms=("av", "at")), Draw(terms=("av", "vt"))))
    second = stage(draws=(Draw(terms=("at", "aa")),))
    assert Experiment(system="x", stages=(first, second)).terms == ("av", "at", "vt", "aa")


@pytest.mark.parametrize(
    ("base", "given"),
    [("EncoderConfig", ()), ("FusionConfig", (None,)), ("CaptionerConfig", (None,))],
)
def test_a_config_that_says_nothing_of_what_it_builds_is_named(base, given):
    import trichord.config as config

    class Mine(getattr(config, base)):
        kind = "mine"

    with pytest.raises(UserError, match=r"Mine has no build\(\)"):
        Mine().build(*given)
