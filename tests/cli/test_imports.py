import json
import wave
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trichord.checkpoint import Run
from trichord.corpora.esc50 import CLASSES
from trichord.corpora.manifest import read_manifest, write_manifest
from trichord.types import Clip

MERGES = ("t h", "th e</w>", "b e", "l l</w>")
VOCABULARY = 512 + len(MERGES) + 2 + 3
WIDTH = 64


def tower(name, places):
    """Shapes of a tower with one block; both towers and the cross transformer are alike in them."""
    shapes = {f"{name}positional_embedding": (places, WIDTH)}
    block = f"{name}transformer.resblocks.0"
    matrices = {"attn.in_proj_": (3, 1), "attn.out_proj.": (1, 1), "mlp.c_fc.": (4, 1)}
    for part, (rows, columns) in (matrices | {"mlp.c_proj.": (1, 4)}).items():
        shapes[f"{block}.{part}weight"] = (rows * WIDTH, columns * WIDTH)
        shapes[f"{block}.{part}bias"] = (rows * WIDTH,)
    for norm in ("ln_1", "ln_2"):
        shapes |= {f"{block}.{norm}.weight": (WIDTH,), f"{block}.{norm}.bias": (WIDTH,)}
    return shapes


def pictures(name, places):
    shapes = tower(name, places) | {
        f"{name}class_embedding": (WIDTH,),
        f"{name}conv1.weight": (WIDTH, 3, 16, 16),
        f"{name}proj": (WIDTH, WIDTH),
    }
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"{name}{norm}.weight": (WIDTH,), f"{name}{norm}.bias": (WIDTH,)}
    return shapes


def draw(shapes):
    made = torch.Generator().manual_seed(0)
    return {name: 0.1 * torch.randn(shape, generator=made) for name, shape in shapes.items()}


def without(shapes, *prefixes):
    return {name: shape for name, shape in shapes.items() if not name.startswith(prefixes)}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Ten clips of noise, two a fold, of five classes of ESC-50."""
    root, random = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    clips = []
    for i in range(10):
        name = f"{i % 5 + 1}-{i}-A-0"
        with wave.open(str(root / f"{name}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            noise = random.normal(0, 400 * (1 + i), 8_000)
            noise = np.cumsum(noise) if i % 2 else noise
            file.writeframes(np.clip(noise, -20_000, 20_000).astype("<i2").tobytes())
        clips.append(Clip(id=name, path=str(root / f"{name}.wav"), labels=(CLASSES[7 * (i % 5)],)))
    write_manifest(root / "clips.jsonl", clips)
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint of a tiny CLIP4VLA as `pytorch_model.bin`, and byte pairs for its words."""
    root = tmp_path_factory.mktemp("published")
    shapes = tower("clip.", 77) | pictures("clip.visual.", 5) | pictures("audio.visual.", 6)
    shapes |= tower("cross.", 77) | {
        "clip.token_embedding.weight": (VOCABULARY, WIDTH),
        "clip.text_projection": (WIDTH, WIDTH),
        "clip.logit_scale": (),
        "clip.ln_final.weight": (WIDTH,),
        "clip.ln_final.bias": (WIDTH,),
        "audio.visual.control_embedding": (2, WIDTH),
        "cross.token_type_embeddings.weight": (3, WIDTH),
        "similarity_dense.weight": (1, WIDTH),
        "similarity_dense.bias": (1,),
    }
    torch.save(draw(shapes), root / "pytorch_model.bin")
    clip = {k.removeprefix("clip."): v for k, v in shapes.items() if k.startswith("clip.")}
    torch.save(draw(clip), root / "clip.bin")
    head = {"cls_linear.0.weight": (WIDTH,), "cls_linear.0.bias": (WIDTH,)}
    head |= {"cls_linear.1.weight": (50, WIDTH), "cls_linear.1.bias": (50,)}
    state = draw(without(shapes, "cross.", "similarity_dense.") | head)
    state["cls_linear.1.weight"] *= 100  # else the biases decide, and every sound is the same to it
    torch.save(state, root / "esc50.bin")
    said = "cls.predictions.{}".format
    words = {said("transform.dense.weight"): (WIDTH, WIDTH), said("bias"): (VOCABULARY,)}
    words |= {said(f"transform.{part}"): (WIDTH,) for part in ("dense.bias", "LayerNorm.bias")}
    words |= {said("transform.LayerNorm.weight"): (WIDTH,)}
    state = draw(without(shapes, "similarity_dense.") | words)
    state[said("decoder.weight")] = state["clip.token_embedding.weight"]
    torch.save(state, root / "captioner.bin")
    (root / "merges.txt").write_text("\n".join(["title", *MERGES, ""]))
    return root


def test_a_published_model_is_evaluated_like_any_run(place, small_world, command, tmp_path, capfd):
    run = tmp_path / "clip4vla"
    tokenizer = f"--tokenizer {place}/merges.txt"
    assert command(f"import clip4vla {place}/pytorch_model.bin {run} {tokenizer}") == 0
    told = capfd.readouterr()
    said = " ".join(told.out.split())  # lines break at the terminal's width
    assert (
        said == f"{run}: clip4vla, fusion global_to_local. Next: trichord evaluate {run} MANIFEST"
    )
    noted = {line.partition(": ")[0].strip() for line in told.err.splitlines() if ": " in line}
    assert noted >= {"activation", "attention heads", "layer norm", "pictures", "audio type token"}
    assert "  activation: quick_gelu (by the authors' code)" in told.err.splitlines()
    assert "left out" not in told.err
    assert command(f"evaluate {run} {small_world}/clips.jsonl --from media") == 0
    assert (run / "evaluation.json").is_file()


def test_a_captioner_writes_captions_and_is_measured(place, small_world, command, tmp_path, capfd):
    run = tmp_path / "captioner"
    line = f"import clip4vla {place}/captioner.bin {run} --tokenizer {place}/merges.txt"
    assert command(line) == 0
    told = capfd.readouterr()
    said = " ".join(told.out.split())
    assert f"{run}: clip4vla, fusion global-to-global, with a captioner. Next:" in said
    assert f"trichord caption {run} FILE..." in said
    assert "fusion: global_to_global (its cross transformer scores no pairs" in told.err
    video = next((small_world / "world" / "test_videos").glob("*.mp4"))
    assert command(f"caption {run} {video} --whole --beams 2 --json {tmp_path}/said.json") == 0
    (row,) = json.loads((tmp_path / "said.json").read_text())
    assert row["text"]
    assert row["status"] == "ok"
    few = "--from media --captions.resamples 20 --captions.beams 1 --captions.no-meteor"
    assert command(f"evaluate {run} {small_world}/clips.jsonl {few}") == 0
    report = json.loads((run / "captions-beams-1.json").read_text())
    assert len(report["captions"]) == 16
    assert all(one["text"] for one in report["captions"])


def test_a_head_for_classes_answers(place, sounds, command, tmp_path, capfd):
    pytest.importorskip("matplotlib")
    run = tmp_path / "esc50"
    tokenizer = f"--tokenizer {place}/merges.txt"
    assert command(f"import clip4vla {place}/esc50.bin {run} {tokenizer}") == 0
    told = capfd.readouterr()
    assert f"trichord probe {run} MANIFEST --method published" in " ".join(told.out.split())
    assert "  audio type token: 1 (assumed, as the authors do for ESC-50)" in told.err.splitlines()
    line = f"probe {run} {sounds}/clips.jsonl --from media --method published"
    assert command(f"{line} --folds esc50") == 0
    report = json.loads((run / "probe-folds-esc50-published.json").read_text())
    assert [fold["sizes"]["learnt"] for fold in report["rows"]] == [0] * 5
    assert report["classes"] == list(CLASSES)
    assert "LEARNT FROM" in report["protocol"]["method"]
    # By hand: the mean of a clip's segments, a layer norm, a linear layer.
    w = torch.load(place / "esc50.bin", weights_only=True)
    model, answers = Run(run).load(), defaultdict(list)
    for clip in read_manifest(sounds / "clips.jsonl"):
        wave = np.frombuffer(Path(clip.path).read_bytes()[44:], "<i2") / 2**15
        heard = model.audio.prepare(wave.astype(np.float32))
        with torch.no_grad():
            mean = model.audio(model.audio.trunk_features_of_rows([heard])).steps[0].mean(dim=0)
        spread = (mean - mean.mean()) / (mean.var(correction=0) + 1e-5).sqrt()
        scaled = spread * w["cls_linear.0.weight"] + w["cls_linear.0.bias"]
        scores = w["cls_linear.1.weight"] @ scaled + w["cls_linear.1.bias"]
        answers[clip.labels[0]].append(int(scores.argmax()))
    assert len({answer for given in answers.values() for answer in given}) > 1
    for name, given in answers.items():
        line = report["every"]["confusion"][CLASSES.index(name)]
        assert [i for i, count in enumerate(line) for _ in range(count)] == sorted(given)


def test_a_head_is_asked_about_its_own_classes_only(place, sounds, command, tmp_path, capfd):
    run, bare = tmp_path / "esc50", tmp_path / "bare"
    tokenizer = f"--tokenizer {place}/merges.txt"
    assert command(f"import clip4vla {place}/esc50.bin {run} {tokenizer}") == 0
    assert command(f"import clip4vla {place}/pytorch_model.bin {bare} {tokenizer}") == 0
    odd = [
        replace(one, labels=(f"a {one.labels[0]}",))
        for one in read_manifest(sounds / "clips.jsonl")
    ]
    write_manifest(tmp_path / "odd.jsonl", odd)
    lines = {
        f"{run} {tmp_path}/odd.jsonl": "5 of the manifest's 5 classes are not among the head's 50",
        f"{bare} {sounds}/clips.jsonl": f"{bare} has no published head: name a run",
        f"{run} {sounds}/clips.jsonl --join concatenated": "--join concatenated: a published head",
    }
    for line, told in lines.items():
        capfd.readouterr()
        assert command(f"probe {line} --from media --method published --folds esc50") == 2
        (said,) = capfd.readouterr().err.strip().splitlines()
        assert told in said


def test_options_reach_the_run(place, command, tmp_path):
    line = f"import clip4vla {place}/pytorch_model.bin {{}} --tokenizer {place}/merges.txt"
    chosen = "--fusion tight --audio-type 0.25 --segments 6 --absent masked"
    assert command(f"{line.format(tmp_path / 'a')} {chosen}") == 0
    model = Run(tmp_path / "a").experiment().model
    assert (model.fusion.level, model.fusion.absent) == ("tight", "masked")
    assert (model.audio.token, model.audio.longest) == (0.25, 6)
    line_of_captioner = line.replace("pytorch_model", "captioner").format(tmp_path / "c")
    assert command(f"{line_of_captioner} --words 48 --reads audio") == 0
    model = Run(tmp_path / "c").experiment().model
    assert (model.text.longest, model.captioner.text_slots, model.captioner.reads) == (
        48, 48, ("audio",),
    )  # fmt: skip
    for token in ("both", "none", "clip"):
        assert command(f"{line.format(tmp_path / token)} --audio-type {token}") == 0
        assert Run(tmp_path / token).experiment().model.audio.token == token


def test_a_clip_folder_becomes_a_run(tiny_towers, command, tmp_path, capfd):
    run = tmp_path / "clip"
    assert command(f"import clip {tiny_towers}/clip {run}") == 0
    told = capfd.readouterr()
    assert f"{run}: clip, fusion none. Next:" in told.out
    assert "  activation: quick_gelu (from its config)" in told.err.splitlines()
    assert Run(run).load().dim == 24


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("clip4vla {place}/nowhere.bin {run}", "nowhere.bin: there is no such file"),
        ("clip4vla {place}/merges.txt {run}", "not a plain state_dict"),
        (
            "clip4vla {place}/pytorch_model.bin {run}",
            "--tokenizer: The model 'openai/clip-vit-base-patch32' cannot be fetched",
        ),
        ("clip4vla {place}/pytorch_model.bin {place}", "is not empty"),
        ("clip {place}/pytorch_model.bin {run}", "lacks 'token_embedding.weight'"),
        ("clip {place}/clip.bin {run}", "give --activation quick_gelu (OpenAI;"),
        ("clip nobody/nothing --activation gelu {run}", "--activation is for a state_dict"),
        ("clip nobody/nothing {run}", "'nobody/nothing' cannot be fetched"),
    ],
)
def test_mistakes_are_told_in_one_line(place, command, tmp_path, capfd, line, told):
    run = tmp_path / "run"
    assert command(f"import {line.format(place=place, run=run)}") == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("trichord import: ")
    assert told in lines[0]
    assert not run.exists()


def test_a_kind_that_does_not_exist_is_refused(command, capfd):
    assert command("import clap x y") == 2
    assert "there is no 'clap': 'trichord import --help' lists" in capfd.readouterr().err
