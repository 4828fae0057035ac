import pytest
import torch

from trichord.checkpoint import Run

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
        "cls_linear.0.weight": (WIDTH,),
        "cls_linear.0.bias": (WIDTH,),
        "cls_linear.1.weight": (50, WIDTH),
        "cls_linear.1.bias": (50,),
    }
    made = torch.Generator().manual_seed(0)
    state = {name: 0.1 * torch.randn(shape, generator=made) for name, shape in shapes.items()}
    torch.save(state, root / "pytorch_model.bin")
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
    assert "probe.safetensors: kept for later" in told.err
    assert "captioner" not in told.err
    assert command(f"evaluate {run} {small_world}/clips.jsonl --from media") == 0
    assert (run / "evaluation.json").is_file()


def test_options_reach_the_run(place, command, tmp_path):
    line = f"import clip4vla {place}/pytorch_model.bin {{}} --tokenizer {place}/merges.txt"
    chosen = "--fusion tight --sound-token 0.25 --segments 6 --absent masked"
    assert command(f"{line.format(tmp_path / 'a')} {chosen}") == 0
    model = Run(tmp_path / "a").experiment().model
    assert (model.fusion.level, model.fusion.absent) == ("tight", "masked")
    assert (model.audio.token, model.audio.longest) == (0.25, 6)
    for token in ("both", "none", "clip"):
        assert command(f"{line.format(tmp_path / token)} --sound-token {token}") == 0
        assert Run(tmp_path / token).experiment().model.audio.token == token


def test_a_clip_folder_becomes_a_run(tiny_towers, command, tmp_path, capfd):
    run = tmp_path / "clip"
    assert command(f"import clip {tiny_towers}/clip {run}") == 0
    assert f"{run}: clip, fusion none. Next:" in capfd.readouterr().out
    assert Run(run).load().dim == 24


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("clip4vla {place}/nowhere.bin {run}", "nowhere.bin: there is no such file"),
        ("clip4vla {place}/merges.txt {run}", "not a plain state_dict"),
        ("clip4vla {place}/pytorch_model.bin {run}", "--tokenizer: openai/clip-vit-base-patch32"),
        ("clip4vla {place}/pytorch_model.bin {place}", "is not empty"),
        ("clip {place}/pytorch_model.bin {run}", "lacks 'token_embedding.weight'"),
        ("clip nobody/nothing {run}", "'nobody/nothing' could not be loaded"),
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
