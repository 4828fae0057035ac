"""What a command loads before it answers: counted in modules, not in seconds."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from text_graphs import text_graphs

from trichord.checkpoint import Progress, Run
from trichord.cli import main
from trichord.config import Experiment
from trichord.config.towers import CLAP, CLIP

HEAVY = {
    "torch", "transformers", "huggingface_hub", "safetensors", "scipy", "sympy", "sklearn", "matplotlib",
    "faiss", "usearch", "onnxruntime", "fastapi", "PIL",
}  # fmt: skip
"""None of it is needed to turn a text into a vector and to compare it."""
LIGHT = {"numpy", "lance", "pyarrow", "tyro", "rich", "pydantic", "av", "jaxtyping"}
"""What listing the commands does without, too."""


def loaded(*lines):
    """What each of some command lines prints in one process, and the packages loaded by its end."""
    code = (
        "import json, sys\nfrom trichord.cli import main\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    code = main(line)\n"
        "    print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(lines)], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 2), done.stderr
    found, shown = [], []
    for line in done.stdout.splitlines():
        if line.startswith('["'):
            found.append((set(json.loads(line)), "\n".join(shown)))
            shown = []
        else:
            shown.append(line)
    return found


@pytest.fixture(scope="module")
def hub(tiny_towers, tmp_path_factory):
    """The towers of `untrained` at their names in the hub's cache on this machine."""
    cache = tmp_path_factory.mktemp("hub")
    for name, place in ((CLIP, "clip"), (CLAP, "clap")):
        held = cache / f"models--{name.replace('/', '--')}"
        shutil.copytree(tiny_towers / place, held / "snapshots" / "abc")
        (held / "refs").mkdir()
        (held / "refs" / "main").write_text("abc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        yield cache


@pytest.fixture(scope="module")
def collections(tiny_trimodal, tiny_towers, hub, tmp_path_factory):
    """Three pictures, indexed by a run, by the towers as they come, and by graphs."""
    root = tmp_path_factory.mktemp("startup")
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 40, 200)), ("grey", (90, 90, 90))):
        (root / "media").mkdir(exist_ok=True)
        Image.new("RGB", (48, 48), colour).save(root / "media" / f"{name}.png")
    runs = {"run": tiny_trimodal, "graphs": replace(tiny_trimodal, **text_graphs(tiny_towers))}
    for name, model in runs.items():
        experiment = Experiment(system="made", model=model)
        torch.manual_seed(1)
        run = Run(root / name)
        run.start(experiment, "none")
        run.finish(model.build().eval(), experiment.objective.build(), Progress())
    models = (str(root / "run"), "untrained", str(root / "graphs"))
    places = [root / f"collection-{number}" for number in range(len(models))]
    for model, place in zip(models, places, strict=True):
        assert main(["index", model, str(root / "media"), str(place), "--workers", "1"]) == 0
    return places


def test_a_search_by_a_text_loads_no_torch_and_finds_what_the_model_finds(collections, capsys):
    lines = [["search", str(place), "a red thing", "--json"] for place in collections]
    aligned, apart, graphs = found = loaded(*lines)
    assert not aligned[0] & HEAVY
    assert not apart[0] & HEAVY
    assert graphs[0] & HEAVY == {"onnxruntime"}
    for place, line, (_, shown) in zip(collections, lines, found, strict=True):
        shutil.rmtree(place / "cache")
        capsys.readouterr()
        assert main(line) == 0
        short, whole = json.loads(shown), json.loads(capsys.readouterr().out)
        assert [hit["moment"] for hit in short] == [hit["moment"] for hit in whole]
        scores = [hit["score"] for hit in whole]
        assert [hit["score"] for hit in short] == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("line", [[], ["--help"], ["--version"], ["serach", "x"]])
def test_what_needs_no_command_loads_none(line):
    [(packages, _)] = loaded(line)
    assert not packages & (HEAVY | LIGHT)
