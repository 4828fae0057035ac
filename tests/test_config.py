import json
import subprocess
import sys
from dataclasses import replace

import pytest

from trichord.config import AdamW, ClapText, Experiment, read_experiment, write_experiment
from trichord.experiments import EXPERIMENTS
from trichord.types import UserError


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_read_back_equal(name, tmp_path):
    _, experiment = EXPERIMENTS[name]
    write_experiment(tmp_path / "experiment.json", experiment)
    assert read_experiment(tmp_path / "experiment.json") == experiment


def test_the_right_member_of_a_union_comes_back(tmp_path):
    _, untrained = EXPERIMENTS["untrained"]
    write_experiment(tmp_path / "e.json", untrained)
    assert read_experiment(tmp_path / "e.json").model.sound_text == ClapText()


def test_another_format_version_is_refused_with_both_numbers(tmp_path):
    path = tmp_path / "experiment.json"
    write_experiment(path, Experiment(system="x"))
    path.write_text(path.read_text().replace('"format": 1', '"format": 7'))
    with pytest.raises(UserError, match=r"format 7.*reads 1"):
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
    with pytest.raises(UserError, match="is not an experiment"):
        read_experiment(tmp_path / "experiment.json")


def test_experiments_differ_after_an_override():
    stage = EXPERIMENTS["slava-av"][1].stages[0]
    assert replace(stage, optimizer=AdamW(lr=1.0)) != stage


def test_reading_experiments_does_not_load_torch():
    code = "import sys, trichord.experiments; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
