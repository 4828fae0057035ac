"""Models of the package sentence-transformers, compared with its own `encode`."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_pipelines
import torch
from model_hub import ModelHub, visiting
from PIL import Image
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from small_families import SPOKEN

from trichord.api.conformance import check_encoder
from trichord.cli import main
from trichord.config import (
    CLAP,
    ClapText,
    ClipText,
    ClipVision,
    SentenceTransformersAudio,
    SentenceTransformersText,
    SentenceTransformersVision,
)
from trichord.encoders.weight_cache import shared_towers
from trichord.experiments.named_models import load_named_model
from trichord.types import UserError, extras
from trichord.types.tensors import Padded

LONG = "a very long sentence that goes on and on and has to be cut somewhere " * 4
TEXTS = (*SPOKEN, "", "x", LONG)
TEXT_FOLDERS = ("bert", "without_prompt", "decoder")
SIZES = ((40, 56), (56, 40), (7, 90), (32, 32))
"""Width and height of pictures."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tiny_towers):
    root = tmp_path_factory.mktemp("pipelines")
    clip, clap = tiny_towers / "clip", tiny_towers / "clap"
    return {
        "bert": small_pipelines.bert(root / "bert"),
        "without_prompt": small_pipelines.bert(root / "without_prompt", include_prompt=False),
        "decoder": small_pipelines.decoder(root / "decoder"),
        "clip": small_pipelines.projected(root / "clip", clip),
        "older": small_pipelines.older(root / "older", clip),
        "clap": small_pipelines.projected(root / "clap", clap),
    }


@pytest.fixture(scope="module")
def theirs(folders):
    return {
        name: SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        for name, folder in folders.items()
    }


def vectors(encoder, rows):
    with torch.inference_mode():
        return encoder(encoder.trunk_features(Padded.stack(rows))).pooled.numpy()


def assert_near(ours, expected):
    np.testing.assert_allclose(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [*TEXT_FOLDERS, "clip", "older", "clap"])
def test_texts_have_the_packages_own_vectors(folders, theirs, name):
    encoder = SentenceTransformersText(name=str(folders[name])).build().eval()
    read = {"normalize_embeddings": True, "batch_size": 4}
    texts = list(TEXTS)
    expected = theirs[name].encode_query(texts, **read)
    assert_near(vectors(encoder, list(encoder.prepare(texts)[:, None])), expected)
    documents = encoder.prepare_for(texts, "document")
    assert_near(
        vectors(encoder, list(documents[:, None])), theirs[name].encode_document(texts, **read)
    )
    for row, length, vector in zip(
        documents, encoder.lengths(documents).tolist(), vectors(encoder, list(documents[:, None])),
        strict=True,
    ):  # fmt: skip
        assert_near(vectors(encoder, [row[None, :length]])[0], vector)
    assert encoder.count_cut(texts) == 1


@pytest.mark.parametrize(("prompt", "text"), [("clustering", "group: "), ("none", "")])
def test_a_prompt_is_chosen_by_its_name(folders, theirs, prompt, text):
    config = SentenceTransformersText(name=str(folders["without_prompt"]), prompt=prompt)
    encoder = config.build().eval()
    rows = list(encoder.prepare(list(SPOKEN))[:, None])
    own = theirs["without_prompt"].encode(list(SPOKEN), prompt=text, normalize_embeddings=True)
    assert_near(vectors(encoder, rows), own)


@pytest.mark.parametrize("name", ["clip", "older"])
def test_pictures_have_the_packages_own_vectors(folders, theirs, name):
    encoder = SentenceTransformersVision(name=str(folders[name])).build().eval()
    random = np.random.default_rng(0)
    frames = [random.integers(0, 256, (high, wide, 3), np.uint8) for wide, high in SIZES]
    rows = [encoder.prepare(frame[None]) for frame in frames]
    pictures = [Image.fromarray(frame) for frame in frames]
    assert_near(vectors(encoder, rows), theirs[name].encode(pictures, normalize_embeddings=True))


def test_sounds_have_the_packages_own_vectors(folders, theirs):
    encoder = SentenceTransformersAudio(name=str(folders["clap"])).build().eval()
    random = np.random.default_rng(0)
    for seconds in (0.3, 2.0, 5.0):
        wave = random.normal(0, 0.2, round(seconds * 16_000)).astype(np.float32)
        pieces = [wave[start : start + 32_000] for start in range(0, len(wave), 32_000)]
        sounds = [{"array": one, "sampling_rate": 16_000} for one in pieces]
        each = np.stack([theirs["clap"].encode([one])[0] for one in sounds])
        mean = each.mean(0)
        assert_near(vectors(encoder, [encoder.prepare(wave)])[0], mean / np.linalg.norm(mean))


def test_vectors_can_be_cut(folders, theirs):
    encoder = SentenceTransformersText(name=str(folders["bert"]), width=8).build().eval()
    own = theirs["bert"].encode_query(list(SPOKEN), truncate_dim=8, normalize_embeddings=True)
    assert_near(vectors(encoder, list(encoder.prepare(list(SPOKEN))[:, None])), own)
    with pytest.raises(UserError, match=r"--model\.width 25: the vectors of .* have 24 numbers"):
        SentenceTransformersText(name=str(folders["bert"]), width=25).build()


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (SentenceTransformersText, "without_prompt"),
        (SentenceTransformersText, "decoder"),
        (SentenceTransformersVision, "older"),
        pytest.param(SentenceTransformersAudio, "clap", marks=pytest.mark.slow),
    ],
)
def test_the_rules_of_encoders_hold(folders, config, name):
    checks = check_encoder(config(name=str(folders[name])))
    assert [one for one in checks if one.status == "FAIL"] == []
    assert [one.name for one in checks if one.status == "SKIP"] == ["export"]


def test_encoders_of_one_folder_share_its_memory(folders):
    with shared_towers():
        text = SentenceTransformersText(name=str(folders["clip"])).build()
        vision = SentenceTransformersVision(name=str(folders["clip"])).build()
    places = [{one.data_ptr() for one in encoder.trunk.parameters()} for encoder in (text, vision)]
    assert places[0] == places[1]
    assert text.fingerprint != vision.fingerprint


# Folders that are named as `--model`


def test_a_folder_is_a_model_by_its_modules(folders, tiny_towers):
    named = load_named_model(str(folders["older"]))
    assert isinstance(named.model.text, SentenceTransformersText)
    assert isinstance(named.model.vision, SentenceTransformersVision)
    assert isinstance(named.model.sound_text, ClapText)
    sounds = load_named_model(str(folders["clap"])).model
    assert isinstance(sounds.audio, SentenceTransformersAudio)
    assert isinstance(sounds.sound_text, SentenceTransformersText)
    assert isinstance(sounds.text, ClipText)


def test_a_folder_without_other_weights_is_read_without_the_package(tiny_towers, tmp_path):
    folder = small_pipelines.joint(tmp_path / "clip", tiny_towers / "clip")
    assert isinstance(load_named_model(str(folder)).model.vision, ClipVision)


def test_a_folder_of_texts_alone_is_for_experiments(folders):
    with pytest.raises(
        UserError, match=r"type 'sentence-transformers' bert', which reads text alone"
    ):
        load_named_model(str(folders["bert"]))


def test_a_model_of_a_hub_has_all_its_folders(folders, tmp_path, monkeypatch):
    hub = ModelHub(tmp_path / "hub")
    hub.publish("someone/pictures", folders["older"], "safetensors")
    with hub.serving(), visiting(hub, monkeypatch, tmp_path / "cache"):
        named = load_named_model("hub:someone/pictures")
        encoder = named.model.text.build()
        hub.down = True
        assert load_named_model("hub:someone/pictures").model.text.build()
    assert (
        encoder.fingerprint
        == SentenceTransformersText(name=str(folders["older"])).build().fingerprint
    )


@pytest.mark.slow
def test_archives_are_searched_with_a_folder_of_pictures(
    folders, tiny_towers, tmp_path, capsys, monkeypatch
):
    media = tmp_path / "media"
    media.mkdir()
    for name, colour in {"red": (250, 10, 10), "blue": (10, 10, 250)}.items():
        Image.new("RGB", (64, 48), colour).save(media / f"{name}.png")
    hub = ModelHub(tmp_path / "hub")
    hub.publish(CLAP, tiny_towers / "clap", "safetensors")
    with hub.serving(), visiting(hub, monkeypatch, tmp_path / "cache"):
        archive = str(tmp_path / "archive")
        line = ["index", str(media), archive, "--model", str(folders["clip"]), "--no-speech"]
        assert main(line) == 0
        capsys.readouterr()
        assert main(["search", archive, "--image", str(media / "red.png"), "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)
    assert [Path(one["moment"]["file"]).name for one in hits] == ["red.png", "blue.png"]


def test_one_encoder_of_an_experiment_is_a_text_model(folders, tiny_trimodal):
    model = replace(
        tiny_trimodal, text=SentenceTransformersText(name=str(folders["bert"]), width=24)
    ).build()
    texts = model.embed_text(["a dog", "собака"])
    assert texts.shape == (2, 24)
    assert not np.allclose(model.embed_text(["a dog"], task="document"), texts[:1])


# Refusals


def edited(folder, tmp_path, file, change):
    place = shutil.copytree(folder, tmp_path / "edited")
    content = json.loads((place / file).read_text())
    (place / file).write_text(json.dumps(change(content)))
    return place


@pytest.mark.parametrize(
    ("module", "refusal"),
    [
        ({"type": "my_modules.Remote"}, r"'my_modules\.Remote', which is no part of sentence-tr"),
        ({"type": "os.system"}, r"'os\.system', which is no part of"),
        ({"type": "sentence_transformers.models.LSTM"}, "names the module LSTM at place 2"),
        ({"path": "../1_Pooling"}, r"names '\.\./1_Pooling', outside of its folder"),
    ],
)
def test_no_code_and_no_place_outside_is_read(folders, tmp_path, module, refusal):
    place = edited(
        folders["bert"], tmp_path, "modules.json", lambda old: [old[0], old[1] | module, *old[2:]]
    )
    with pytest.raises(UserError, match=refusal):
        load_named_model(str(place))
    with pytest.raises(UserError, match=refusal):
        SentenceTransformersText(name=str(place)).build()


@pytest.mark.parametrize("content", ["", "{}", "[]", "[1]", '[{"type": "x"}]', "[[]]"])
def test_a_damaged_list_of_modules_is_refused(folders, tmp_path, content):
    place = shutil.copytree(folders["bert"], tmp_path / "damaged")
    (place / "modules.json").write_text(content)
    with pytest.raises(UserError, match=r"modules\.json (is damaged|names no module)"):
        load_named_model(str(place))


def test_code_of_another_package_is_no_activation(folders, tmp_path):
    place = edited(
        folders["bert"], tmp_path, "2_Dense/config.json",
        lambda old: old | {"activation_function": "my.Gelu"},
    )  # fmt: skip
    with pytest.raises(UserError, match=r"uses 'my\.Gelu', and Trichord runs no code of a model"):
        SentenceTransformersText(name=str(place)).build()


def test_a_tensor_that_is_missing_is_named(folders, tmp_path):
    place = shutil.copytree(folders["bert"], tmp_path / "less")
    tensors = load_file(place / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        UserError, match=r"lack 1 of .* \(encoder\.layer\.1\.output\.dense\.weight\)"
    ):
        SentenceTransformersText(name=str(place)).build()


def test_a_projection_of_another_shape_is_refused(folders, tmp_path):
    place = edited(
        folders["bert"], tmp_path, "2_Dense/config.json", lambda old: old | {"out_features": 8}
    )
    with pytest.raises(UserError, match=r"cannot read the module Dense of .*2_Dense"):
        SentenceTransformersText(name=str(place)).build()


def test_a_modality_that_a_model_lacks_is_named(folders):
    with pytest.raises(UserError, match="reads text, not vision: choose one that does"):
        SentenceTransformersVision(name=str(folders["bert"])).build()
    with pytest.raises(UserError, match=r"name a folder, as in --model\.text\.name FOLDER"):
        SentenceTransformersText().build()


def test_the_extra_is_named_where_it_is_missing(folders, monkeypatch):
    found = extras.find_spec
    monkeypatch.setattr(
        extras, "find_spec", lambda name: None if name == "sentence_transformers" else found(name)
    )
    with pytest.raises(UserError, match=r"pip install 'trichord\[sentence-transformers\]'"):
        load_named_model(str(folders["clip"]))
