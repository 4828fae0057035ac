"""Folders that hold no model of ours: one line says what each is, and what would fit."""

import json
import shutil
from pathlib import Path

import pytest
import small_pipelines
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from small_families import siglip
from transformers import AutoConfig, ClapModel

from trichord.cli import main
from trichord.config import ClipText, ClipVision, Experiment, TriModal, write_experiment
from trichord.experiments.named_models import load_named_model
from trichord.types import UserError

WEIGHTS = "model.safetensors"
TRANSFORMERS = "give a CLIP, SigLIP, CLAP, PE-AV or EmbeddingGemma 2 in the format of transformers"
PICTURES = "give a model of texts and pictures, or of texts and sounds"
AGAIN = "fetch the whole model again"


def of_type(kind, **fields):
    """A `config.json` alone."""
    return {"config.json": json.dumps({"model_type": kind} | fields)}


FILES = {
    "a decoder of texts": (of_type("llama"), "is of type 'llama', which is of no known", TRANSFORMERS),
    "a writer of captions": (of_type("blip"), "type 'blip'", TRANSFORMERS),
    "a chat model with pictures": (of_type("llava"), "type 'llava'", TRANSFORMERS),
    "a text encoder": (of_type("bert"), "type 'bert'", TRANSFORMERS),
    "timm by transformers": (of_type("timm_wrapper"), "type 'timm_wrapper'", TRANSFORMERS),
    "code of its own": (
        of_type("my_clip", auto_map={"AutoModel": "modeling.Mine"}) | {"modeling.py": "raise SystemExit"},
        "type 'my_clip' comes with code of its own (auto_map), and Trichord runs no code",
        TRANSFORMERS,
    ),
    "texts alone": (
        of_type("clip_text_model"), "reads text alone", "--model.text clip-text --model.text.name",
    ),
    "pictures alone": (
        of_type("dinov2"), "reads vision alone", "--model.vision vision-trunk --model.vision.name",
    ),
    "sound alone": (
        of_type("wav2vec2"), "reads audio alone", "--model.audio audio-trunk --model.audio.name",
    ),
    "speech": (of_type("whisper"), "reads audio alone", PICTURES),
    "a damaged config": ({"config.json": "{"}, "config.json is missing or damaged", AGAIN),
    "an empty config": ({"config.json": ""}, "config.json is missing or damaged", AGAIN),
    "a list as config": ({"config.json": "[]"}, "names no model type", TRANSFORMERS),
    "a config without type": ({"config.json": "{}"}, "names no model type", TRANSFORMERS),
    "a type that is no text": (
        {"config.json": '{"model_type": 3}'}, "names no model type", TRANSFORMERS,
    ),
    "timm": (
        {"config.json": '{"architecture": "vit_base", "pretrained_cfg": {}}', WEIGHTS: ""},
        "a model of timm", "kind 'features'",
    ),
    "open_clip": (
        {"open_clip_config.json": "{}", "open_clip_pytorch_model.bin": ""},
        "a model of open_clip", "in the format of transformers",
    ),
    "open_clip with a config": (
        {"open_clip_config.json": "{}", "config.json": "{}"},
        "a model of open_clip", "in the format of transformers",
    ),
    "adapters alone": (
        {"adapter_config.json": "{}", "adapter_model.safetensors": ""},
        "adapters of peft alone", "merge_and_unload",
    ),
    "diffusers": ({"model_index.json": "{}"}, "a pipeline of diffusers", "such as CLIP"),
    "llama.cpp": ({"model-q4.gguf": ""}, "weights of llama.cpp (GGUF)", "format of transformers"),
    "ONNX": ({"model.onnx": ""}, "ONNX graphs that 'trichord export' did not", "of transformers"),
    "TensorFlow": ({"saved_model.pb": ""}, "a model of TensorFlow", "format of transformers"),
    "Flax": ({"flax_model.msgpack": ""}, "weights of Flax", "format of transformers"),
    "Wav2CLIP": ({"Wav2CLIP.pt": ""}, "is a checkpoint", "'trichord import' reads those of CLIP"),
    "weights alone": ({WEIGHTS: ""}, "weights without their config.json", "give the whole model"),
    "results of MTEB": ({"model_meta.json": "{}", "STS12.json": "{}"}, "results of MTEB", "itself"),
    "nothing": ({}, "is an empty folder", "check the path"),
    "other files": ({"notes.txt": ""}, "is a folder without a model", "check the path"),
    "a pipeline with code": (
        {"modules.json": '[{"type": "custom_st.Mine", "path": ""}]'},
        "'custom_st.Mine', which is no part of sentence-transformers", "choose another",
    ),
    "a sparse pipeline": (
        {"modules.json": '[{"type": "sentence_transformers.models.SpladePooling", "path": ""}]'},
        "names the module SpladePooling at place 1", "choose another model",
    ),
}  # fmt: skip
"""Files with their contents; parts of the message: what the folder is, and what would fit."""


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    place = tmp_path_factory.mktemp("media")
    Image.new("RGB", (8, 8)).save(place / "a.png")
    return place


@pytest.mark.parametrize("name", FILES)
def test_a_folder_of_something_else_is_refused_before_anything_is_written(
    name, media, tmp_path, capsys
):
    files, what, remedy = FILES[name]
    folder = tmp_path / "given"
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_text(content)
    before = sorted(tmp_path.rglob("*"))
    lines = (
        ["index", str(media), str(tmp_path / "archive"), "--model", str(folder)],
        ["train", "slava-a-and-v", str(media), str(tmp_path / "run"), "--model", str(folder)],
    )
    for line in lines:
        assert main(line) == 2
        told = capsys.readouterr()
        assert told.out == ""
        assert told.err.count("\n") == 1, told.err
        assert what in told.err
        assert remedy in told.err
    assert sorted(tmp_path.rglob("*")) == before


# Folders of a known family


def drop(folder, *patterns):
    for path in [path for pattern in patterns for path in folder.glob(pattern)]:
        path.unlink()


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def retensor(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


class Harmful:
    """Code in a pickle."""

    def __reduce__(self):
        return print, ("this code ran",)


def missing_tensor(folder, _):
    retensor(folder, lambda tensors: tensors.pop("visual_projection.weight"))


def other_shape(folder, _):
    retensor(
        folder, lambda tensors: tensors.update({"text_projection.weight": torch.zeros(24, 48)})
    )


def other_depth(folder, _):
    config = json.loads((folder / "config.json").read_text())["vision_config"]
    edit(folder / "config.json", vision_config=config | {"num_hidden_layers": 1})


def no_tokenizer(folder, _):
    drop(folder, "*token*")


def larger_tokenizer(folder, sources):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(sources["siglip"] / file, folder / file)


def smaller_tokenizer(folder, _):
    """As if SigLIP 2 had CLIP's tokenizer: each id has a row, but another word's."""
    config = json.loads((folder / "config.json").read_text())["text_config"]
    edit(folder / "config.json", text_config=config | {"vocab_size": 1024})
    name = "text_model.embeddings.token_embedding.weight"
    retensor(folder, lambda t: t.update({name: torch.zeros(1024, t[name].shape[1])}))


def no_processor(folder, _):
    drop(folder, "*processor_config.json")


def larger_processor(folder, _):
    square = {"height": 48, "width": 48}
    edit(folder / "preprocessor_config.json", crop_size=square, size={"shortest_edge": 48})


def odd_filter(folder, _):
    edit(folder / "preprocessor_config.json", resample=9)


def odd_size(folder, _):
    edit(folder / "preprocessor_config.json", size={"longest_edge": 32})


def odd_crop(folder, _):
    edit(folder / "preprocessor_config.json", crop_size={"shortest_edge": 32})


def no_crop(folder, _):
    edit(folder / "preprocessor_config.json", do_center_crop=False)


def no_resize(folder, _):
    edit(folder / "preprocessor_config.json", do_resize=False)


def fused(folder, _):
    config = AutoConfig.from_pretrained(folder)
    config.audio_config.enable_fusion = True
    ClapModel(config).save_pretrained(folder)


def pickled_code(folder, _):
    drop(folder, WEIGHTS)
    torch.save({"text_projection.weight": Harmful()}, folder / "pytorch_model.bin")


def missing_shard(folder, _):
    names = dict.fromkeys(load_file(folder / WEIGHTS), "model-00002-of-00002.safetensors")
    drop(folder, WEIGHTS)
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": names}))


def half_of_the_weights(folder, _):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def graph_alone(folder, _):
    drop(folder, WEIGHTS)
    (folder / "model.onnx").write_text("")


EDITS = {
    missing_tensor: ("clip", "lack 1 of the", "visual_projection.weight"),
    other_shape: ("clip", "1 of another shape than its config.json", "text_projection.weight"),
    other_depth: ("clip", "that its config.json knows nothing of", "give a whole checkpoint"),
    no_tokenizer: ("clip", "has no tokenizer of its own (tokenizer.json", AGAIN),
    larger_tokenizer: ("clip", "tokens, its text tower", "put the tower's own beside"),
    smaller_tokenizer: ("siglip", "tokens, its text tower 1024: it is of another model", "own"),
    no_processor: ("clip", "has no CLIPImageProcessorPil that can be read", AGAIN),
    larger_processor: ("clip", "makes pictures of 48 x 48, its vision tower takes 32 x 32", "own"),
    odd_filter: (
        "clip",
        "preprocessor_config.json",
        "resample 9, and the filters known here are 0 to 5",
    ),
    odd_size: ("siglip", "preprocessor_config.json", "has size {'longest_edge': 32}, and Trichord"),
    odd_crop: ("clip", "preprocessor_config.json", "crop_size {'shortest_edge': 32}, and no"),
    no_crop: (
        "clip",
        "preprocessor_config.json",
        "size {'shortest_edge': 32}, and no do_center_crop",
    ),
    no_resize: ("siglip", "preprocessor_config.json", "do_resize and do_center_crop false"),
    fused: ("clap", "is a fused one, whose embeddings are not deterministic", "unfused"),
    pickled_code: ("clip", "pytorch_model.bin holds more than tensors", "save the model as"),
    missing_shard: ("clip", "names model-00002-of-00002.safetensors, which is missing", AGAIN),
    half_of_the_weights: ("clip", "model.safetensors: Error while deserializing", "again"),
    graph_alone: ("clip", "has no weights in", "ONNX graphs"),
}
"""Changes to a folder: its family; parts of the message."""


@pytest.fixture(scope="module")
def sources(tiny_towers, tmp_path_factory):
    return {
        "clip": tiny_towers / "clip",
        "clap": tiny_towers / "clap",
        "siglip": siglip(tmp_path_factory.mktemp("whole") / "siglip"),
    }


@pytest.mark.parametrize("change", EDITS, ids=lambda change: change.__name__)
def test_a_folder_with_a_flaw_is_refused_with_its_remedy(change, sources, tmp_path, capfd):
    family, what, remedy = EDITS[change]
    folder = Path(shutil.copytree(sources[family], tmp_path / "given"))
    change(folder, sources)
    refusals = []
    for tower in load_named_model(str(folder)).model.towers().values():
        try:
            tower.name == str(folder) and tower.build()
        except UserError as error:
            refusals.append(str(error))
    assert refusals
    for refusal in refusals:
        assert "\n" not in refusal
        assert what in refusal
        assert remedy in refusal
    assert "this code ran" not in capfd.readouterr().out


# A run where weights are wanted, and the other way round


def test_a_run_is_no_weights_and_weights_are_no_run(sources, media, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    write_experiment(run / "experiment.json", Experiment(system="zero-shot", model=TriModal()))
    with pytest.raises(UserError, match="run' is a run: give it as --model or --start"):
        ClipVision(name=str(run)).build()
    assert main(["compare", str(sources["clip"])]) == 2
    assert "'trichord evaluate" in (told := capsys.readouterr().err)
    assert "makes a report of these weights" in told


def test_a_file_is_no_folder(sources, media, tmp_path, capsys):
    line = ["index", str(media), str(tmp_path / "archive"), "--model"]
    assert main([*line, str(sources["clip"] / WEIGHTS)]) == 2
    assert "is a file: give the folder that it lies in" in capsys.readouterr().err


def test_a_name_that_is_no_place_has_its_suggestion(media, tmp_path, capsys):
    assert main(["index", str(media), str(tmp_path / "archive"), "--model", "clip-clab"]) == 2
    assert "did you mean 'clip-clap'" in capsys.readouterr().err


def test_a_model_of_one_modality_is_an_encoder_of_an_experiment(sources, tmp_path):
    """What the refusals advise: the same folder, by the option that they name."""
    folder = small_pipelines.bert(tmp_path / "texts")
    with pytest.raises(UserError, match=r"--model\.text sentence-transformers-text"):
        load_named_model(str(folder))
    assert ClipText(name=str(sources["clip"])).build().dim == 24
