import gzip
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPModel, CLIPTokenizer

from trichord.encoders.byte_pairs import read_tokenizer
from trichord.encoders.clip_settings import openai_settings
from trichord.encoders.published import PublishedTensors, block_names, read_published
from trichord.encoders.published_clip import has_audio_type_tokens, load_towers, towers_of_state
from trichord.types import UserError

MERGES = ("t h", "th e</w>", "d o", "do g</w>")
PLAIN, WITH_THREE = 512 + len(MERGES) + 2, 512 + len(MERGES) + 5
REAL = Path(__file__).parents[3] / "shared" / "data" / "clip_bpe" / "bpe_simple_vocab_16e6.txt.gz"

OPENAI = openai_settings("as in a test", widest=1024)

needs_real = pytest.mark.skipif(not REAL.is_file(), reason="shared/data/clip_bpe is not here")


@pytest.fixture
def byte_pairs(tmp_path):
    path = tmp_path / "merges.txt"
    path.write_text("\n".join(["title", *MERGES, ""]))
    return str(path)


def one_line(told):
    assert "\n" not in str(told.value)


# Files


def test_safetensors_and_pickles_are_read_alike(tmp_path):
    state = {"a.weight": torch.randn(2, 3), "b": torch.tensor(2.0)}
    save_file(state, tmp_path / "x.safetensors")
    torch.save(state, tmp_path / "x.pt")
    torch.save(state, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    for name in ("x.safetensors", "x.pt", "old.bin"):
        tensors = read_published(tmp_path / name).tensors
        assert tensors.keys() == state.keys()
        assert all(torch.equal(tensors[key], value) for key, value in state.items())


def test_the_sizes_that_openai_adds_are_left_out(tmp_path):
    torch.save({"input_resolution": torch.tensor(224), "x": torch.zeros(1)}, tmp_path / "x.pt")
    assert read_published(tmp_path / "x.pt").tensors.keys() == {"x"}


class Surprise:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_code_of_a_pickle_is_run(tmp_path):
    torch.save({"x": Surprise(tmp_path / "touched")}, tmp_path / "x.bin")
    with pytest.raises(UserError, match="without running its code"):
        read_published(tmp_path / "x.bin")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("held", "match"),
    [
        (nn.Linear(2, 2), "without running its code"),
        ({"state_dict": {"x": torch.zeros(1)}}, "something else than tensors by name"),
        ({"x": torch.zeros(1), "epoch": 3}, "something else than tensors by name"),
        ({3: torch.zeros(1)}, "something else than tensors by name"),
        ([torch.zeros(1)], "something else than tensors by name"),
    ],
)
def test_pickles_of_anything_but_named_tensors_are_refused(tmp_path, held, match):
    torch.save(held, tmp_path / "x.bin")
    with pytest.raises(UserError, match=match) as told:
        read_published(tmp_path / "x.bin")
    one_line(told)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.bin", b""),
        ("x.bin", b"PK\x03\x04 and no more"),
        ("x.bin", b"not a pickle"),
        ("x.bin", b"PK\x05\x06" + b"\xff" * 18),
        ("x.bin", pickle.dumps({"x": 1})[:-1]),
        ("x.safetensors", b""),
        ("x.safetensors", b"\xff" * 64),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as told:
        read_published(tmp_path / name)
    one_line(told)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit itself
def test_a_torchscript_archive_is_refused_with_the_remedy(tmp_path):
    torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "ViT-B-32.pt")
    with pytest.raises(UserError, match=r"TorchScript archive.*save_file.*import that") as told:
        read_published(tmp_path / "ViT-B-32.pt")
    one_line(told)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.bin is no file"):
        read_published(tmp_path / "nowhere.bin")


# Tokenizers


@needs_real
def test_openais_byte_pairs_give_openais_ids(tmp_path):
    tokenizer = read_tokenizer(str(REAL), 49_408)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (49_406, 49_407)
    assert tokenizer("a photo of a cat")["input_ids"] == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("Hello,  World!")["input_ids"] == [49406, 3306, 267, 1002, 256, 49407]
    # Packed or not makes no difference.
    (tmp_path / "plain.txt").write_bytes(gzip.decompress(REAL.read_bytes()))
    plain = read_tokenizer(str(tmp_path / "plain.txt"), 49_408)
    assert plain.get_vocab() == tokenizer.get_vocab()


@needs_real
def test_clip4vla_adds_three_tokens_of_which_the_last_one_pads(tmp_path):
    read_tokenizer(str(REAL), 49_411).save_pretrained(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    names = ["<|maskoftext|>", "<|unkoftext|>", "<|padoftext|>"]
    assert tokenizer.convert_tokens_to_ids(names) == [49_408, 49_409, 49_410]
    both = tokenizer(["a photo of a cat", "a cat"], padding="longest")["input_ids"]
    assert both[1] == [49406, 320, 2368, 49407, 49410, 49410, 49410]
    cut = tokenizer("a cat " * 30, truncation=True, max_length=32)["input_ids"]
    assert (len(cut), cut[0], cut[-1]) == (32, 49_406, 49_407)


def test_a_folders_tokenizer_gets_the_three_tokens_too(tiny_towers):
    source = str(tiny_towers / "clip")
    count = len(read_tokenizer(source, len(CLIPTokenizer.from_pretrained(source))))
    tokenizer = read_tokenizer(source, count + 3)
    assert (len(tokenizer), tokenizer.pad_token_id) == (count + 3, count + 2)
    assert tokenizer("the dog")["input_ids"][-1] == tokenizer.eos_token_id < count


@pytest.mark.parametrize("rows", [PLAIN - 1, PLAIN + 1, PLAIN + 2, PLAIN + 4])
def test_a_tokenizer_of_another_size_is_refused(byte_pairs, rows):
    with pytest.raises(UserError, match=rf"--tokenizer: .* has {PLAIN} tokens, the model {rows}"):
        read_tokenizer(byte_pairs, rows)


@pytest.mark.parametrize(
    "content", [b"", b"title\n", b"title\na b c\n", b"title\n\xff\xfe\n", b"\x1f\x8b\x08 no more"]
)
def test_a_file_without_byte_pairs_is_refused(tmp_path, content):
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"--tokenizer: .*x\.txt") as told:
        read_tokenizer(str(tmp_path / "x.txt"), 49_408)
    one_line(told)


def test_a_tokenizer_that_is_not_there_names_the_option(tiny_towers, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    refusals = {
        "nobody/nothing": "--tokenizer: The model 'nobody/nothing' cannot be fetched",
        str(tmp_path): f"--tokenizer: The model '{tmp_path}' has no tokenizer",
    }
    for source, refusal in refusals.items():
        with pytest.raises(UserError, match=refusal) as told:
            read_tokenizer(source, 49_408)
        one_line(told)


# Architectures


def openai_state(*, text=128, vision=64, patch=8, grid=3, layers=(2, 1), dim=32, rows=PLAIN):
    """The tensors of a small CLIP under OpenAI's names."""
    made = torch.Generator().manual_seed(0)
    state = {
        "token_embedding.weight": (rows, text),
        "positional_embedding": (20, text),
        "ln_final.weight": (text,),
        "ln_final.bias": (text,),
        "text_projection": (text, dim),
        "logit_scale": (),
        "visual.class_embedding": (vision,),
        "visual.positional_embedding": (grid**2 + 1, vision),
        "visual.conv1.weight": (vision, 3, patch, patch),
        "visual.proj": (vision, dim),
    }
    for part in ("ln_pre", "ln_post"):
        state |= {f"visual.{part}.weight": (vision,), f"visual.{part}.bias": (vision,)}
    for tower, width, depth in (("", text, layers[0]), ("visual.", vision, layers[1])):
        for n in range(depth):
            block = f"{tower}transformer.resblocks.{n}"
            for part, rows_, columns in (
                ("attn.in_proj_", 3 * width, width),
                ("attn.out_proj.", width, width),
                ("mlp.c_fc.", 4 * width, width),
                ("mlp.c_proj.", width, 4 * width),
            ):
                state[f"{block}.{part}weight"] = (rows_, columns)
                state[f"{block}.{part}bias"] = (rows_,)
            for part in ("ln_1", "ln_2"):
                state |= {f"{block}.{part}.weight": (width,), f"{block}.{part}.bias": (width,)}
    return {name: torch.randn(shape, generator=made) for name, shape in state.items()}


def published(state):
    return PublishedTensors(Path("clip.pt"), state)


def test_sizes_are_read_off_the_tensors(byte_pairs):
    towers = towers_of_state(published(openai_state(rows=WITH_THREE)), byte_pairs, OPENAI)
    text, vision = towers.config.text_config, towers.config.vision_config
    assert (text.hidden_size, text.num_attention_heads, text.num_hidden_layers) == (128, 2, 2)
    assert (text.intermediate_size, text.max_position_embeddings) == (512, 20)
    assert (text.vocab_size, text.hidden_act) == (WITH_THREE, "quick_gelu")
    # The end of a text is found by its id: the padding has a higher one.
    assert (text.eos_token_id, text.pad_token_id) == (PLAIN - 1, WITH_THREE - 1)
    assert (vision.hidden_size, vision.num_attention_heads, vision.num_hidden_layers) == (64, 1, 1)
    assert (vision.patch_size, vision.image_size) == (8, 24)
    assert (towers.dim, towers.text_heads) == (32, 2)
    assert towers.processor.crop_size["height"] == towers.processor.size["shortest_edge"] == 24


def test_what_is_written_is_an_ordinary_folder(byte_pairs, tmp_path):
    state = openai_state()
    towers_of_state(published(state), byte_pairs, OPENAI).write(tmp_path / "clip")
    names = {file.name for file in (tmp_path / "clip").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".py"))]
    model, found = CLIPModel.from_pretrained(tmp_path / "clip", output_loading_info=True)
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    held = model.state_dict()
    block = "text_model.encoder.layers.1"
    packed = [held[f"{block}.self_attn.{part}_proj.weight"] for part in "qkv"]
    assert torch.equal(torch.cat(packed), state["transformer.resblocks.1.attn.in_proj_weight"])
    assert torch.equal(held["visual_projection.weight"], state["visual.proj"].T)
    again = load_towers(str(tmp_path / "clip"))
    assert again.state.keys() == held.keys()
    assert again.processor.crop_size["height"] == 24


def test_weights_become_copies_in_single_precision(byte_pairs):
    state = openai_state()
    halved = {name: value.half() for name, value in state.items()}
    towers = towers_of_state(published(halved), byte_pairs, OPENAI)
    assert {value.dtype for value in towers.state.values()} == {torch.float32}
    places = "text_model.embeddings.position_embedding.weight"
    assert torch.equal(towers.state[places], halved["positional_embedding"].float())
    towers = towers_of_state(published(state), byte_pairs, OPENAI)
    towers.state[places].zero_()
    assert state["positional_embedding"].any()


def test_a_resnet_is_refused(byte_pairs):
    state = openai_state() | {"visual.attnpool.k_proj.weight": torch.zeros(1)}
    with pytest.raises(UserError, match=r"clip\.pt is a CLIP with a ResNet: choose .*ViT"):
        towers_of_state(published(state), byte_pairs, OPENAI)


def test_a_grid_that_is_no_square_is_refused(byte_pairs):
    state = openai_state() | {"visual.positional_embedding": torch.zeros(12, 64)}
    with pytest.raises(UserError, match=r"is 12 x 64 instead of 10 x 64"):
        towers_of_state(published(state), byte_pairs, OPENAI)


@pytest.mark.parametrize("width", [0, 96])
def test_a_width_without_whole_heads_is_refused(byte_pairs, width):
    state = openai_state() | {"visual.conv1.weight": torch.zeros(width, 3, 8, 8)}
    with pytest.raises(UserError, match=rf"{width} dimensions are no multiple of 64"):
        towers_of_state(published(state), byte_pairs, OPENAI)


@pytest.mark.parametrize(
    "name",
    ["logit_scale", "visual.ln_pre.bias", "transformer.resblocks.1.attn.in_proj_weight",
     "token_embedding.weight", "visual.transformer.resblocks.0.mlp.c_fc.weight"],
)  # fmt: skip
def test_a_key_that_is_missing_is_named(byte_pairs, name):
    state = openai_state()
    del state[name]
    with pytest.raises(UserError, match=name.replace(".", r"\.")) as told:
        towers_of_state(published(state), byte_pairs, OPENAI)
    one_line(told)


def test_other_models_are_refused_by_their_first_keys(byte_pairs):
    state = openai_state() | {f"text_model.{n}": torch.zeros(1) for n in range(7)}
    state["a key\nof two lines"] = torch.zeros(1)
    expected = r"8 unknown \(a key of two lines, text_model\.0, text_model\.1, \.\.\.\)"
    with pytest.raises(UserError, match=expected) as told:
        towers_of_state(published(state), byte_pairs, OPENAI)
    one_line(told)


def test_a_folder_without_tokenizer_is_refused(tiny_towers, tmp_path):
    folder = shutil.copytree(tiny_towers / "clip", tmp_path / "clip")
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(UserError, match="clip' has no tokenizer"):
        load_towers(str(folder))


def test_a_folder_with_weights_missing_is_refused(tiny_towers, tmp_path):
    folder = shutil.copytree(tiny_towers / "clip", tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    del weights["logit_scale"], weights["visual_projection.weight"]
    odd = {"extra": torch.zeros(1), "text_model.embeddings.position_ids": torch.zeros(1, 77)}
    save_file(weights | odd, folder / "model.safetensors", {"format": "pt"})
    expected = r"lack 2 of the 78 tensors.*logit_scale, visual_projection\.weight"
    with pytest.raises(UserError, match=expected):
        load_towers(str(folder))


# Names


def test_parts_keep_their_whole_names_in_complaints():
    whole = PublishedTensors(Path("x.bin"), {"a.b.c": torch.zeros(2), "a.d": torch.zeros(1)})
    part = whole.part("a.").part("b.")
    assert part.tensors.keys() == {"c"}
    assert part.shape("c", 1) == (2,)
    with pytest.raises(UserError, match=r"'a\.b\.c' has 1 dimensions instead of 2"):
        part.shape("c", 2)
    with pytest.raises(UserError, match=r"x\.bin lacks 'a\.b\.e'"):
        part.shape("e", 1)
    with pytest.raises(UserError, match=r"1 unknown \(a\.b\.c\), 1 missing \(a\.b\.weight\)"):
        part.renamed({"weight": "weight"}, nn.Linear(1, 1))


def test_tensors_that_share_a_name_of_ours_are_laid_one_below_the_other():
    parts = {"q.{}": "entry.{}", "k.{}": "entry.{}"}
    names = block_names("layer.", "blocks.", 2, parts)
    assert names["layer.1.k.bias"] == "blocks.1.entry.bias"
    ours = nn.ModuleDict(
        {"blocks": nn.ModuleList([nn.ModuleDict({"entry": nn.Linear(3, 4)}) for _ in range(2)])}
    )
    state = {name: torch.randn((2, 3) if "weight" in name else 2) for name in names}
    found = PublishedTensors(Path("x"), state).renamed(names, ours)
    both = torch.cat([state["layer.0.q.weight"], state["layer.0.k.weight"]])
    assert torch.equal(found["blocks.0.entry.weight"], both)
    ours.load_state_dict(found)


def test_blocks_are_counted_once():
    state = {f"blocks.{n}.{part}": torch.zeros(1) for n in (0, 1, 10) for part in "ab"}
    assert PublishedTensors(Path("x"), state | {"blockset": torch.zeros(1)}).depth("blocks.") == 3


def test_sound_tokens_are_told_from_their_table():
    assert has_audio_type_tokens(
        PublishedTensors(Path("x"), {"control_embedding": torch.zeros(2, 4)})
    )
    assert not has_audio_type_tokens(PublishedTensors(Path("x"), {}))
