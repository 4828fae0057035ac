"""Parts from outside the package: installed, or in a file of the user's."""

import json
import re

import pytest
from installed_plugin import installed
from PIL import Image

import trichord
from trichord.experiments import load_experiment
from trichord.search.nearest import settings_for_backend
from trichord.types import UserError, plugins

FEW = "--stages.0.epochs 2 --stages.0.batch-size 16"
MINE = '''
import torch
from dataclasses import replace

from trichord.config import Draw, Stage, Term
from trichord.experiments import load_experiment


def triangle(audio, vision, text, **_):
    """Area of the triangle of three unit vectors: a loss over three modalities at once."""
    u, v = audio - text, vision - text
    return ((u @ u.T).diagonal() * (v @ v.T).diagonal() - (u * v).sum(1) ** 2).clamp(min=1e-9).sqrt().mean()


TRIANGLE = Term(kind="triangle", sides=("audio", "vision", "text"), loss=triangle)
BASE = load_experiment("world-slava-av")
STAGE = replace(BASE.stages[0], epochs=2, batch_size=16,
                draws=(Draw(captions=("composed",), terms=("av", "triangle")),))
MINE = replace(BASE, system="mine", stages=(STAGE,))
'''


@pytest.fixture
def forget():
    """Parts that a test passes are gone after it."""
    yield
    plugins._PROVIDED.clear()


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def epochs_of(run):
    return [json.loads(one) for one in (run / "metrics.jsonl").read_text().splitlines()]


def test_an_installed_loss_is_named_like_ours_and_noted_with_its_package(
    small_world, command, tmp_path
):
    with installed(tmp_path / "site", "margin-loss"):
        line = f"train world-slava-a-and-v {small_world}/clips.jsonl {tmp_path}/run {FEW}"
        assert command(f"{line} --stages.0.draws.0.terms av at-margin") == 0
    noted = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert noted["parts"] == {"losses.at-margin": "trichord-margin-loss 0.1"}
    epochs = epochs_of(tmp_path / "run")
    assert epochs[1]["loss"] != epochs[2]["loss"]
    assert "at-margin" in epochs[1]["scales"]


def test_an_installed_fusion_is_chosen_on_the_command_line_and_scores_clips(
    small_world, command, tmp_path, capsys
):
    with installed(tmp_path / "site", "text-weighted-fusion"):
        line = f"train world-slava-av {small_world}/clips.jsonl {tmp_path}/run {FEW}"
        assert command(f"{line} --model.fusion text-weighted --model.fusion.sharpness 5") == 0
        held = json.loads((tmp_path / "run" / "experiment.json").read_text())
        assert held["experiment"]["model"]["fusion"] == {"kind": "text-weighted", "sharpness": 5.0}
        capsys.readouterr()
        assert command(f"evaluate {tmp_path}/run {small_world}/clips.jsonl") == 0
        assert "clip<-" in capsys.readouterr().out
    assert command(f"evaluate {tmp_path}/run {small_world}/clips.jsonl") == 2
    [said] = capsys.readouterr().err.splitlines()
    assert "there is no fusion of that name here" in said
    assert "text-weighted of trichord-text-weighted-fusion 0.1" in said


def test_sharpness_of_nought_is_the_mean_of_steps(tmp_path):
    import torch

    with installed(tmp_path / "site", "text-weighted-fusion"):
        from text_weighted_fusion import TextWeighted

        from trichord.types.tensors import Features

        random = torch.Generator().manual_seed(0)
        steps = torch.nn.functional.normalize(torch.randn(3, 4, 5, generator=random), dim=-1)
        mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
        text = torch.nn.functional.normalize(torch.randn(2, 5, generator=random), dim=-1)
        asked = Features(text, text[:, None], torch.ones(2, 1, dtype=torch.bool))
        found = TextWeighted(sharpness=0.0).build(None)(
            asked, Features(steps[:, 0], steps, mask), None
        )
        by_hand = [[(t @ steps[0].T).mean(), (t @ steps[1, :2].T).mean(), 0.0] for t in text]
        assert torch.allclose(found, torch.tensor(by_hand), atol=1e-6)


@pytest.fixture
def dinov2(tmp_path):
    """A tiny DINOv2 with random weights."""
    import torch
    from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model

    folder = tmp_path / "dino"
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2}
    Dinov2Model(Dinov2Config(image_size=28, patch_size=14, **sizes)).save_pretrained(folder)
    crop = {"height": 28, "width": 28}
    BitImageProcessorPil(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(folder)
    return folder


def test_an_installed_encoder_reads_frames_as_transformers_does(tmp_path, dinov2):
    import numpy as np
    import torch
    from transformers import BitImageProcessorPil, Dinov2Model

    with installed(tmp_path / "site", "dinov2"):
        from dinov2 import Dinov2

        tower = Dinov2(name=str(dinov2), dim=24).build().eval()
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 40, 3), np.uint8)
    own = BitImageProcessorPil.from_pretrained(dinov2)(list(frames), return_tensors="pt")
    prepared = tower.prepare(frames)
    torch.testing.assert_close(prepared, own["pixel_values"], rtol=0, atol=1e-6)
    with torch.inference_mode():
        read = Dinov2Model.from_pretrained(dinov2).eval()(**own).pooler_output
        torch.testing.assert_close(tower.run_trunk(prepared), read, rtol=1e-5, atol=1e-6)


def test_an_installed_encoder_trains_and_is_measured(
    small_world, command, tmp_path, dinov2, capsys
):
    chosen = f"--model.vision dinov2 --model.vision.name {dinov2} --model.vision.dim 128"
    line = f"train world-slava-a-and-v {small_world}/clips.jsonl {tmp_path}/run {FEW} --from media"
    with installed(tmp_path / "site", "dinov2"):
        assert command(f"{line} {chosen} --stages.0.epochs 1") == 0
        assert command(f"evaluate {tmp_path}/run {small_world}/clips.jsonl --from media") == 0
    noted = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert noted["parts"] == {"encoders.dinov2": "trichord-dinov2 0.1"}


def test_an_installed_reader_prepares_its_dataset(command, tmp_path, capsys):
    (tmp_path / "--0PQM4-hqg_000030.mp4").write_bytes(b"x")
    (tmp_path / "vggsound.csv").write_text("--0PQM4-hqg,30,waterfall burbling,train\n")
    with installed(tmp_path / "site", "vggsound"):
        assert command(f"prepare vggsound {tmp_path} {tmp_path}/clips.jsonl") == 0
    assert "1 clips, 1 captions" in capsys.readouterr().out
    assert command(f"prepare vggsound {tmp_path} {tmp_path}/again.jsonl") == 2
    assert "There is no dataset 'vggsound' here" in capsys.readouterr().err


def test_a_metric_of_a_file_is_reported_beside_the_usual_numbers(
    small_world, command, tmp_path, capsys, forget
):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from trichord.evaluation.metrics import Metric\n"
        "FIRST = Metric(kind='first', per_query=lambda rank: (rank <= 1) * 1.0)\n"
    )
    assert command(f"train world-clip-clap {small_world}/clips.jsonl {tmp_path}/run") == 0
    line = f"evaluate {tmp_path}/run {small_world}/clips.jsonl --metrics first ndcg@10"
    assert command(line) == 2
    assert "--metrics first: there is no metric of that name here" in capsys.readouterr().err
    assert command(f"{line} --plugin {plugin}") == 0
    assert "first (95 %)" in capsys.readouterr().out
    report = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    measured = [row["estimates"] for row in report["rows"] if "R@1" in row["estimates"]]
    assert measured
    for found in measured:
        assert found["first"] == found["R@1"]
        assert found["R@1"]["value"] <= found["ndcg@10"]["value"] <= found["R@10"]["value"]


def test_an_experiment_of_a_file_trains_with_a_loss_over_three_modalities(
    small_world, command, mine, tmp_path, forget
):
    run = tmp_path / "run"
    assert command(f"train {mine}:MINE {small_world}/clips.jsonl {run}") == 0
    held = json.loads((run / "experiment.json").read_text())
    [(name, origin)] = held["parts"].items()
    assert name == "losses.triangle"
    assert re.fullmatch(r"the file mine\.py \([0-9a-f]{12}\)", origin)
    epochs = epochs_of(run)
    assert epochs[2]["loss"] < epochs[1]["loss"]


def test_a_run_with_parts_of_a_file_is_trained_again_from_its_json_with_that_file(
    small_world, command, mine, tmp_path, capsys, forget
):
    line = f"{small_world}/clips.jsonl"
    assert command(f"train {mine}:MINE {line} {tmp_path}/one") == 0
    again = f"train {tmp_path}/one/experiment.json {line} {tmp_path}/two"
    capsys.readouterr()
    assert command(again) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert "triangle" in said
    assert "--plugin FILE" in said
    assert not (tmp_path / "two").exists()
    assert command(f"{again} --plugin {mine}") == 0
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("one", "two")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1 +", "mine.py, line 1: SyntaxError: invalid syntax"),
        ("\nx = y", "mine.py, line 2: NameError: name 'y' is not defined"),
        ("x = 1", "name an experiment of the file"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(text, said, command, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(text)
    (tmp_path / "clips.jsonl").write_text("")
    assert command(f"train {tmp_path}/mine.py:MINE {tmp_path}/clips.jsonl {tmp_path}/run") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_file_that_is_missing_is_named(command, tmp_path, capsys):
    assert command(f"doctor {tmp_path} --plugin {tmp_path}/none.py") == 2
    assert "none.py cannot be read" in capsys.readouterr().err
    assert command(f"doctor {tmp_path} --plugin") == 2
    assert "--plugin: a value is missing" in capsys.readouterr().err


def test_a_part_with_the_name_of_one_of_ours_is_refused(command, tmp_path, capsys, forget):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from trichord.config import Term\nT = Term(kind='at', sides=('audio', 'text'))\n"
    )
    (tmp_path / "clips.jsonl").write_text("")
    line = f"train slava-a-and-v {tmp_path}/clips.jsonl {tmp_path}/run --plugin {plugin}"
    assert command(line) == 2
    said = capsys.readouterr().err
    assert "The kind 'at' of losses is taken, and the file mine.py (" in said
    assert not (tmp_path / "run").exists()


def test_a_collection_keeps_no_python_file(command, mine, tmp_path, capsys, forget):
    (tmp_path / "media").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "media" / "a.png")
    assert command(f"index {tmp_path}/media {tmp_path}/archive --model {mine}:MINE") == 2
    assert "make a run of it" in capsys.readouterr().err


EVERYTHING = '''
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from trichord.search.nearest.backends import OpenIndex


@dataclass(frozen=True)
class Everything:
    """Proposes all rows: as slow as exact search, and as good."""

    group: ClassVar[str] = "search_backends"
    kind: ClassVar[str] = "everything"

    def library(self):
        return f"numpy {np.__version__}"

    def search_budgets(self, rows):
        return (rows,)

    def build(self, vectors, rows, path, threads, should_continue):
        np.save(path.open("wb"), rows)

    def open(self, path):
        rows = np.load(path)
        return OpenIndex(lambda queries, count, budget: np.tile(rows, (len(queries), 1)))
'''


def test_a_search_backend_of_a_file_is_named_by_its_kind(tmp_path, forget):
    plugin = tmp_path / "mine.py"
    plugin.write_text(EVERYTHING)
    with pytest.raises(UserError, match="--backend everything: there is no search backend"):
        settings_for_backend("everything")
    plugins.provide_file(plugin)
    assert type(settings_for_backend("everything").backend).__name__ == "Everything"
    assert settings_for_backend(None) is None


def test_parts_of_a_command_are_forgotten_after_it(mine, command, tmp_path):
    before = dict(plugins._PROVIDED)
    assert command(f"doctor {tmp_path} --plugin {mine}") in (0, 2)
    assert before == plugins._PROVIDED


def test_commands_and_experiments_of_an_installed_package_are_found(tmp_path, command, capsys):
    site = tmp_path / "site"
    metadata = site / "trichord_more-0.3.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: trichord-more\nVersion: 0.3\n")
    (metadata / "entry_points.txt").write_text(
        "[trichord.commands]\ncount = more:count\nsay = more:say\nlost = lost:lost\n"
        "[trichord.experiments]\nmine = more:MINE\ntold = more:TOLD\nbroken = lost:MINE\n"
    )
    (site / "more.py").write_text(
        "from trichord.config import Experiment\nfrom trichord.types import UserError\n"
        "MINE = Experiment(system='of-more')\n"
        "TOLD = 'Tells what it is.', Experiment(system='told')\n"
        "def say(arguments):\n    print(arguments)\n"
        "def count(arguments):\n"
        "    '''How many arguments there are.\n\n    All of them.'''\n"
        "    if not arguments:\n        raise UserError('give something to count.')\n"
        "    print(len(arguments))\n"
    )
    with installed(site):
        assert command("count a b") == 0
        assert capsys.readouterr().out == "2\n"
        assert command("count") == 2
        assert capsys.readouterr().err == "trichord count: give something to count.\n"
        assert load_experiment("mine").system == "of-more"
        assert command("--help") == 0
        shown = capsys.readouterr().out
        assert re.search(r"count +how many arguments there are \(of trichord-more 0.3\)\n", shown)
        assert re.search(r"say +of trichord-more 0.3\n", shown)
        assert re.search(r"lost +of trichord-more 0.3\n", shown)
        assert load_experiment("told").system == "told"
        assert command("train --help") == 0
        shown = capsys.readouterr().out
        assert re.search(r"mine +Of trichord-more 0.3.\n", shown)
        assert re.search(r"told +Tells what it is. \(trichord-more 0.3\)\n", shown)
        assert re.search(r"broken +Of trichord-more 0.3, which cannot be loaded.\n", shown)
    assert command("count a b") == 2
    assert "there is no command 'count'" in capsys.readouterr().err


THUMBNAILS = '''
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from trichord.config import EncoderConfig
from trichord.encoders.encoder import VisionEncoder
from trichord.media.plan import FramePlan


class ThumbnailEncoder(VisionEncoder):
    """Eight by eight cells of a frame, whatever its size."""

    frames = FramePlan(short_side=None, count=4)

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(192, 128), 192)

    def prepare(self, frames):
        return F.adaptive_avg_pool2d(torch.from_numpy(frames).permute(0, 3, 1, 2) / 255, 8)


@dataclass(frozen=True, kw_only=True)
class Thumbnails(EncoderConfig):
    kind: ClassVar[str] = "thumbnails"
    modality: ClassVar = "vision"

    def build(self):
        return ThumbnailEncoder()
'''


def test_a_collection_made_with_a_file_opens_with_that_file_alone(
    small_world, command, tmp_path, capsys, forget
):
    plugin, archive = tmp_path / "mine.py", tmp_path / "archive"
    plugin.write_text(THUMBNAILS)
    (tmp_path / "media").mkdir()
    for name, color in (("red", (250, 10, 10)), ("blue", (10, 10, 250))):
        Image.new("RGB", (64, 48), color).save(tmp_path / "media" / f"{name}.png")
    chosen = f"--model.vision thumbnails --from media --plugin {plugin}"
    line = f"train world-slava-a-and-v {small_world}/clips.jsonl {tmp_path}/run {FEW} {chosen}"
    assert command(f"{line} --model.vision.arithmetic graph") == 2
    assert "--model.vision.arithmetic graph: thumbnails reads no" in capsys.readouterr().err
    assert command(line) == 0
    assert (
        command(f"index {tmp_path}/media {archive} --model {tmp_path}/run --plugin {plugin}") == 0
    )
    like = f"search {archive} --image {tmp_path}/media/blue.png --json"
    capsys.readouterr()
    assert command(like) == 2
    [said] = capsys.readouterr().err.splitlines()
    assert "thumbnails" in said
    assert "--plugin FILE" in said
    assert command(f"{like} --plugin {plugin}") == 0
    assert json.loads(capsys.readouterr().out)[0]["moment"]["file"].endswith("blue.png")
    plugins._PROVIDED.clear()
    parts = [vars(plugins.provide_file(plugin))["Thumbnails"]]
    plugins._PROVIDED.clear()
    with trichord.Collection.open(archive, parts=parts) as opened:
        hits = list(opened.search(image=tmp_path / "media" / "red.png"))
    assert hits[0].moment.file.endswith("red.png")


BAD = {
    "T = Term(kind='a.b', sides=('audio', 'text'))": "The kind 'a.b' of the file mine.py",
    "T = Term(kind='a', sides=())": "choose of text, audio, vision, masked",
    "T = Term(kind='a', sides=('text',))": "info_nce compares two sides",
    "T = Term(kind='a', sides=('text',), loss=torch.nn.Linear(2, 2))": "its loss has weights",
    "T = Term(kind='a', sides=('text', 'audio'), loss=lambda a, b, scale: a)": (
        "called with 2 tensors and the keywords scale, directions, tile, groups (got an unexpected "
        "keyword argument 'directions'): take what it needs by name and the rest as **_"
    ),
    "T = Term(kind='a', sides=('text', 'audio'), loss=lambda a, **_: a)": "too many positional",
    "import sys\nsys.exit(7)": "SystemExit: 7",
    "class C(EncoderConfig):\n    kind = 'clap'\n    modality = 'audio'": "of encoders is taken",
}


@pytest.mark.parametrize("code", BAD)
def test_a_bad_part_is_refused_before_anything_is_trained(code, command, tmp_path, capsys, forget):
    imports = "import torch\nfrom trichord.config import EncoderConfig, Term\n"
    (tmp_path / "mine.py").write_text(f"{imports}{code}\n")
    (tmp_path / "clips.jsonl").write_text("")
    line = f"train slava-a-and-v {tmp_path}/clips.jsonl {tmp_path}/run"
    assert command(f"{line} --plugin {tmp_path}/mine.py") == 2
    [said] = capsys.readouterr().err.splitlines()
    assert BAD[code] in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("None", "gives None: give a scalar tensor"),
        ("(left * right).sum(1)", "gives a tensor of shape ("),
        ("1.5", "gives 1.5"),
        ("(left * right).sum().detach()", "has no gradient"),
    ],
)
def test_what_a_loss_gives_is_checked_and_its_term_named(
    returned, said, small_world, command, tmp_path, capsys, forget
):
    (tmp_path / "mine.py").write_text(
        "from trichord.config import Term\n"
        f"T = Term(kind='odd', sides=('audio', 'text'), loss=lambda left, right, **_: {returned})\n"
    )
    line = f"train world-slava-av {small_world}/clips.jsonl {tmp_path}/run {FEW}"
    assert command(f"{line} --stages.0.draws.0.terms odd --plugin {tmp_path}/mine.py") == 2
    complaint = capsys.readouterr().err.splitlines()[-1]
    assert "The loss of the term 'odd'" in complaint
    assert said in complaint


def test_a_changed_file_neither_resumes_nor_pools(
    small_world, command, mine, tmp_path, capsys, forget
):
    line = f"train {mine}:MINE {small_world}/clips.jsonl {tmp_path}/runs --seeds"
    assert command(f"{line} 0") == 0
    mine.write_text(mine.read_text().replace("clamp(min=1e-9)", "clamp(min=1e-8)"))
    assert command(f"{line} 0 1") == 2
    assert "other parts" in capsys.readouterr().err


def test_two_files_with_one_kind_are_refused(command, tmp_path, capsys, forget):
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            "from trichord.config import Term\nT = Term(kind='x', sides=('audio', 'text'))\n"
        )
    line = f"doctor {tmp_path} --plugin {tmp_path}/one.py --plugin {tmp_path}/two.py"
    assert command(line) == 2
    assert "both bring a 'x' of the losses" in capsys.readouterr().err


def test_a_variant_of_an_encoder_keeps_the_settings_of_the_experiment():
    from dataclasses import dataclass
    from typing import ClassVar

    from trichord.cli.parts import choose_parts
    from trichord.config import ClipVision, SiglipVision
    from trichord.types.plugins import provide, temporary_parts

    @dataclass(frozen=True, kw_only=True)
    class Variant(ClipVision):
        kind: ClassVar[str] = "clip-vision-variant"

    known = load_experiment("world-slava-a-and-v")
    with temporary_parts():
        provide([Variant])
        chosen, rest = choose_parts(known, ["--model.vision", "clip-vision-variant", "--epochs"])
        other, _ = choose_parts(known, ["--model.vision=siglip2"])
    assert rest == ["--epochs"]
    assert type(chosen.model.vision) is Variant
    assert chosen.model.vision.name == known.model.vision.name == "stand-in-clip"
    assert other.model.vision == SiglipVision()


def test_a_folder_of_seeds_is_no_model_and_names_one(tmp_path):
    from trichord.api.model import require_model

    (tmp_path / "runs" / "seed-0").mkdir(parents=True)
    (tmp_path / "runs" / "seed-0" / "experiment.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds 1 runs: name one, such as .*seed-0"):
        require_model(str(tmp_path / "runs"))
