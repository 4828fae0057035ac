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
from trichord.cli.main import COMMANDS, OTHERS
from trichord.config import Experiment
from trichord.config.towers import CLAP, CLIP
from trichord.experiments import load_experiment
from trichord.search.collection import StoredCollection
from trichord.types.extras import TOWERS

HEAVY = {
    "torch", "transformers", "huggingface_hub", "safetensors", "scipy", "sympy", "sklearn", "matplotlib",
    "faiss", "onnx", "onnxscript", "fastapi", "PIL",
}  # fmt: skip
"""None of it is needed to turn a text into a vector and to compare it."""
READING = {"onnxruntime", "tokenizers"}
"""What is needed for it."""
LIGHT = {"numpy", "lance", "pyarrow", "tyro", "rich", "pydantic", "av", "jaxtyping"}
"""What listing the commands does without, too."""


WITHOUT = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.machinery import PathFinder
absent, lines = json.loads(sys.argv[1])

class Others(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in absent else super().find_spec(name, path, target)

    @classmethod
    def find_distributions(cls, *context):
        for one in super().find_distributions(*context):
            if one.name.replace("-", "_") not in absent:
                yield one

sys.meta_path[sys.meta_path.index(PathFinder)] = Others
import trichord
from trichord.cli import main
told = []
for line in lines:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main(line)
        except SystemExit as end:
            code = end.code
    told.append([code, out.getvalue(), err.getvalue()])
sys.__stdout__.write(json.dumps(told))
"""


SEARCH = frozenset({"tokenizers", "huggingface_hub", "onnxruntime", "onnx", "onnxscript"})
"""What the extra `search` brings, some of it also an extra of the towers."""


def without_towers(*lines, extras=frozenset()):
    """As `without`, where no package of the towers is installed; `extras`: what is besides the core."""
    return without((TOWERS | SEARCH) - extras, *lines)


def without(absent, *lines):
    """Exit code, output and errors of command lines where some packages are not installed."""
    asked = json.dumps([sorted(absent), lines])
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, asked], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


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
    """The towers of `clip-clap` at their names in the hub's cache on this machine."""
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
    models = (str(root / "run"), "clip-clap", str(root / "graphs"))
    places = [root / f"collection-{number}" for number in range(len(models))]
    for model, place in zip(models, places, strict=True):
        assert (
            main(["index", str(root / "media"), str(place), "--model", model, "--workers", "1"])
            == 0
        )
    return places


def test_a_search_by_a_text_loads_no_torch_and_finds_what_the_model_finds(collections, capsys):
    lines = [["search", str(place), "a red thing", "--json"] for place in collections]
    aligned, apart, graphs = found = loaded(*lines)
    for packages in (aligned[0], apart[0], graphs[0]):
        assert not packages & HEAVY
        assert packages >= READING
    for place, line, (_, shown) in zip(collections, lines, found, strict=True):
        shutil.rmtree(place / "cache")
        capsys.readouterr()
        assert main(line) == 0
        printed = capsys.readouterr()
        assert printed.err.startswith("Writing its text encoders as ONNX graphs")
        short, whole = json.loads(shown), json.loads(printed.out)
        assert [hit["moment"] for hit in short] == [hit["moment"] for hit in whole]
        scores = [hit["score"] for hit in whole]
        assert [hit["score"] for hit in short] == pytest.approx(scores, abs=1e-4)


def test_an_indexing_without_work_loads_no_towers(collections):
    media = str(collections[0].parent / "media")
    lines = [["index", media, str(place)] for place in collections]
    lines.append(["relocate", str(collections[0]), media, media])
    for packages, shown in loaded(*lines):
        assert not packages & (HEAVY - {"PIL"})
        assert "3 unchanged" in shown or "3 files are in" in shown


def test_weights_that_cannot_be_fetched_are_reported_before_torch_is_loaded(
    collections, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    media = str(collections[0].parent / "media")
    [(packages, _)] = loaded(["index", media, str(tmp_path / "new"), "--model", "clip-clap"])
    assert "huggingface_hub" in packages
    assert not packages & {"torch", "transformers"}
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("option", "package", "said"),
    [
        ("--watch", "watchfiles", "pip install 'trichord[watch]'"),
        ("--portable", "onnxscript", "pip install 'trichord[search]'"),
        ("--runner ray", "ray", "pip install 'trichord[ray]'"),
    ],
)
def test_an_extra_that_an_indexing_lacks_is_named_before_any_work(
    collections, tmp_path, option, package, said
):
    media, place = str(collections[0].parent / "media"), str(tmp_path / "new")
    run = str(collections[0].parent / "run")
    [told] = without({package}, ["index", media, place, "--model", run, *option.split()])
    assert said in one_line(told)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("line", [[], ["--help"], ["--version"], ["serach", "x"]])
def test_what_needs_no_command_loads_none(line):
    [(packages, _)] = loaded(line)
    assert not packages & (HEAVY | LIGHT)


@pytest.mark.parametrize(
    "number",
    [pytest.param(0, marks=pytest.mark.slow, id="one text tower"), pytest.param(1, id="two")],
)
def test_a_portable_collection_is_searched_by_words_where_no_towers_are(
    collections, tmp_path, capsys, number
):
    place, usual = tmp_path / "portable", tmp_path / "usual"
    for made in (place, usual):
        shutil.copytree(collections[number], made, ignore=shutil.ignore_patterns("cache"))
    media = str(collections[0].parent / "media")
    model = str(collections[0].parent / "run") if number == 0 else "clip-clap"
    assert main(["index", media, str(place), "--model", model, "--portable", "--workers", "1"]) == 0
    line = ["search", str(place), "a red thing", "--json"]
    capsys.readouterr()
    assert main(line) == 0
    whole = json.loads(capsys.readouterr().out)

    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(place, elsewhere, ignore=shutil.ignore_patterns("cache"))
    line[1] = str(elsewhere)
    plain_line = ["search", str(usual), "a red thing"]
    first, again, plain, picture = without_towers(
        line,
        line,
        plain_line,
        ["search", str(elsewhere), "--image", f"{media}/red.png"],
        extras=SEARCH,
    )
    bare, none = without_towers(line, plain_line)
    for code, shown, wrong in (first, again):
        assert (code, wrong) == (0, "")
        short = json.loads(shown)
        assert [hit["moment"] for hit in short] == [hit["moment"] for hit in whole]
        scores = [hit["score"] for hit in whole]
        assert [hit["score"] for hit in short] == pytest.approx(scores, abs=1e-4)
    assert one_line(picture) == "trichord search: This needs torch" + REMEDY
    assert one_line(plain).startswith(f"trichord search: {usual} holds no text encoders")
    assert one_line(plain).endswith(REMEDY)
    assert (
        "needs onnxruntime to read its text encoders: pip install 'trichord[search]'"
        in one_line(bare)
    )
    assert one_line(none).startswith(f"trichord search: {usual} holds no text encoders")


def test_a_model_that_cannot_be_bundled_is_refused_before_files_are_read(
    collections, tiny_trimodal, tmp_path, capsys
):
    root = collections[0].parent
    text = replace(tiny_trimodal.text, arithmetic="bfloat16")
    experiment = Experiment(system="made", model=replace(tiny_trimodal, text=text))
    run = Run(tmp_path / "run")
    run.start(experiment, "none")
    run.finish(experiment.model.build().eval(), experiment.objective.build(), Progress())
    line = [
        "index",
        str(root / "media"),
        str(tmp_path / "new"),
        "--model",
        str(run.path),
        "--workers",
        "1",
    ]
    capsys.readouterr()
    assert main([*line, "--portable"]) == 2
    shown, said = capsys.readouterr()
    assert said.startswith("trichord index: --portable: ")
    assert (shown, said.count("\n")) == ("", 1)
    assert not StoredCollection.open(tmp_path / "new").counts()

    assert main(line) == 0
    said = capsys.readouterr().err
    assert said.count("Text queries load torch: its text encoder computes in half precision") == 1
    assert main(["search", str(tmp_path / "new"), "a red thing"]) == 0
    assert "Text queries load torch: its text encoder" in capsys.readouterr().err


REMEDY = ", which is not installed: pip install 'trichord[towers]'."


def one_line(told):
    """What a command says that fails."""
    code, shown, wrong = told
    assert (code, shown) == (2, "")
    assert wrong.count("\n") == 1
    return wrong.rstrip("\n")


@pytest.mark.parametrize(
    "extras",
    [
        pytest.param(frozenset(), id="the core"),
        pytest.param(SEARCH, id="with search", marks=pytest.mark.slow),
    ],
)
def test_without_towers_commands_show_their_help_and_say_what_is_missing(tmp_path, extras):
    Image.new("RGB", (32, 32)).save(tmp_path / "one.png")
    manifest = tmp_path / "clips.jsonl"
    manifest.write_text(json.dumps({"id": "one", "path": "one.png", "split": "train"}) + "\n")
    media, clips, place = str(tmp_path / "one.png"), str(manifest), str(tmp_path / "made")
    lines = [
        ["train", "clip-clap", clips, place],
        ["index", media, place, "--model", "clip-clap"],
        ["extract", clips, "--model", "clip-clap"],
        ["export", "clip-clap", place],
    ]
    names = [*COMMANDS, *OTHERS.kinds()]
    told = without_towers(
        *([name, "--help"] for name in names), *lines, ["doctor", media], extras=extras
    )
    assert [code for code, _, _ in told[: len(names)]] == [0] * len(names)
    assert all(
        f"trichord {name}" in shown for name, (_, shown, _) in zip(names, told, strict=False)
    )
    for line, one in zip(lines, told[len(names) : -1], strict=True):
        assert one_line(one).startswith(f"trichord {line[0]}: This needs ")
        assert one_line(one).endswith(REMEDY)
    assert told[-1][0] == 0
    assert "one.png" in told[-1][1]
    assert not (tmp_path / "made").exists()


OF_WORLD = "it is part of trichord-world: pip install 'trichord[world]'."


def test_without_the_world_its_parts_say_what_to_install(tmp_path):
    """By the real look-up of packages, in a process that does not find this one."""
    model = load_experiment("world-slava-av").model
    run = Run(tmp_path / "run")
    experiment = Experiment(system="made", model=model)
    run.start(experiment, "none")
    run.finish(model.build().eval(), experiment.objective.build(), Progress())
    (tmp_path / "clips.jsonl").write_text("")
    (tmp_path / "media").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "media" / "one.png")
    clips, media, place = f"{tmp_path}/clips.jsonl", f"{tmp_path}/media", f"{tmp_path}/new"
    lines = {
        "demo": "there is no command 'demo'",
        "world x": "there is no command 'world'",
        f"train world-slava-av {clips} {place}": "there is no experiment 'world-slava-av'",
        f"index {media} {place} --model world-clip-clap": "'world-clip-clap' is neither a run",
        f"prepare world-speech {media} {place}": "There is no dataset 'world-speech' here",
        f"index {media} {place} --model {run.path}": "The model 'stand-in-clip' is not installed",
    }
    *told, (code, shown, _) = without({"trichord_world"}, *map(str.split, lines), ["--help"])
    for line, one in zip(lines, told, strict=True):
        assert lines[line] in one_line(one)
        assert one_line(one).endswith(OF_WORLD)
    assert (code, "  world  " in shown, "  demo  " in shown) == (0, False, False)
    assert not (tmp_path / "new").exists()
