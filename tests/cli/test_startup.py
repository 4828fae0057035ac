"""What a command loads before it answers: counted in modules, not in seconds."""

import json
import subprocess
import sys

import pytest
import torch
from PIL import Image

from trichord.checkpoint import Progress, Run
from trichord.cli import main
from trichord.config import Experiment

HEAVY = {
    "torch", "transformers", "huggingface_hub", "safetensors", "scipy", "sympy", "sklearn", "matplotlib",
    "faiss", "usearch", "onnxruntime", "fastapi", "PIL",
}  # fmt: skip
"""None of it is needed to turn a text into a vector and to compare it."""
LIGHT = {"numpy", "lance", "pyarrow", "tyro", "rich", "pydantic", "av", "jaxtyping"}
"""What listing the commands does without, too."""


def loaded(line):
    """The packages that a command line has loaded by its end, and what it printed."""
    code = (
        "import json, sys\nfrom trichord.cli import main\n"
        "code = main(sys.argv[1:])\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *line], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 2), done.stderr
    *shown, packages = done.stdout.splitlines()
    return set(json.loads(packages)), "\n".join(shown)


@pytest.fixture(scope="module")
def collection(tiny_trimodal, tmp_path_factory):
    """Three pictures, indexed by a run."""
    root = tmp_path_factory.mktemp("startup")
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 40, 200)), ("grey", (90, 90, 90))):
        (root / "media").mkdir(exist_ok=True)
        Image.new("RGB", (48, 48), colour).save(root / "media" / f"{name}.png")
    experiment = Experiment(system="made", model=tiny_trimodal)
    torch.manual_seed(1)
    run = Run(root / "run")
    run.start(experiment, "none")
    run.finish(tiny_trimodal.build().eval(), experiment.objective.build(), Progress())
    assert main(["index", str(run.path), str(root / "media"), str(root / "collection")]) == 0
    return root / "collection"


def test_a_search_by_a_text_loads_no_torch(collection, capsys):
    line = ["search", str(collection), "a red thing", "--json"]
    packages, shown = loaded(line)
    assert not packages & HEAVY
    capsys.readouterr()
    assert main([*line, "--rerank", "0"]) == 0
    assert shown.strip() == capsys.readouterr().out.strip()


@pytest.mark.parametrize("line", [[], ["--help"], ["--version"], ["serach", "x"]])
def test_what_needs_no_command_loads_none(line):
    packages, _ = loaded(line)
    assert not packages & (HEAVY | LIGHT)
