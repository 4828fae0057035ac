import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from trichord.checkpoint import Run
from trichord.cli.runs import device_of, model_of
from trichord.types import UserError

SCRIPT = """
import sys
from trichord.training import session
session.SECONDS_BETWEEN_SAVES = 0.0
from trichord.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("stop", "after"), [(signal.SIGKILL, 0.02), (signal.SIGINT, 0.3)])
def test_training_that_is_stopped_ends_as_if_it_had_not_been(
    stop, after, small_world, command, tmp_path
):
    few = (
        "--stages.0.epochs 6 --stages.1.epochs 6 --stages.0.batch-size 16 --stages.1.batch-size 16"
    )
    line = f"train world-wav2clip-trainable-text {small_world}/clips.jsonl"
    assert command(f"{line} {tmp_path}/whole {few}") == 0
    stopped = tmp_path / "stopped"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *f"{line} {stopped} {few}".split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as child:
        while not (stopped / "checkpoint.safetensors").exists() and child.poll() is None:
            time.sleep(0.005)
        time.sleep(after)
        child.send_signal(stop)
        complaint = child.communicate()[1].decode()
    assert "Traceback" not in complaint
    assert command(f"{line} {stopped} {few}") == 0
    one, other = (Run(path).load().state_dict() for path in (tmp_path / "whole", stopped))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert Run(stopped).metrics() == Run(tmp_path / "whole").metrics()


def test_a_model_is_a_run_or_an_experiment_and_a_slip_is_mended():
    with pytest.raises(UserError, match="did you mean 'untrained'"):
        model_of("untraind")
    assert not model_of("world-untrained").aligned


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
