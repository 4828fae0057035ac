import pytest

from trichord.checkpoint import Progress, Run
from trichord.config import Experiment, InfoNCE


@pytest.fixture
def experiment(tiny_trimodal):
    return Experiment(system="x", model=tiny_trimodal)


@pytest.fixture
def finished(experiment, tmp_path):
    run = Run(tmp_path / "run")
    run.start(experiment, "abc")
    model = experiment.model.build()
    model.text.head.weight.data += 1
    run.finish(model, InfoNCE().build(), Progress(metrics=({"epoch": 0},)))
    return run, model
