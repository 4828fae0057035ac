"""Queries in five scripts, by the command line.

They are read whole, compared as `transformers` would, and named where a model does not know them.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from model_hub import ModelHub, visiting
from PIL import Image
from safetensors.torch import load_file, save_file
from small_families import SPOKEN, chinese_clip
from transformers import AutoTokenizer, ChineseCLIPModel, CLIPImageProcessorPil

from trichord.cli import main
from trichord.config import CLAP, ClipText
from trichord.search.query_notes import knows_english_alone, scripts_of

SIDE = 32
QUERIES = (*SPOKEN[1:], "Größe, œuvre, łódź")
"""Latin with accents, Cyrillic, Arabic, Chinese, emoji, more Latin."""


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    place = tmp_path_factory.mktemp("media")
    random = np.random.default_rng(0)
    for number in range(5):
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return place


def vivid(folder):
    """A folder with larger weights: as written, all texts have nearly the same vector."""
    torch.manual_seed(0)
    tensors = load_file(folder / "model.safetensors")
    for value in tensors.values():
        if value.ndim > 1:
            value.normal_(std=0.2)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def indexed(media, tiny_towers, tmp_path_factory, command):
    """Archives of a model of many languages and of an English one, each with CLAP beside it."""
    root = tmp_path_factory.mktemp("languages")
    folders = {"many": vivid(chinese_clip(root / "many")), "english": tiny_towers / "clip"}
    hub = ModelHub(root / "hub")
    hub.publish(CLAP, tiny_towers / "clap", "safetensors")
    with pytest.MonkeyPatch.context() as patch, hub.serving():
        # Texts are read by torch: writing graphs would take most of the time here.
        patch.setattr("trichord.api.text_encoders.WRITING", ("no_such_package",))
        with visiting(hub, patch, root / "cache"):
            for name, folder in folders.items():
                assert (
                    command(f"index {media} {root}/{name}-archive --model {folder} --no-speech")
                    == 0
                )
            yield root, folders


def search(archive, query, capsys):
    capsys.readouterr()
    assert main(["search", str(archive), query, "--json", "--visual-weight", "1"]) == 0
    told = capsys.readouterr()
    hits = json.loads(told.out)
    return [Path(one["moment"]["file"]).name for one in hits], told.err


@pytest.fixture(scope="module")
def theirs(indexed, media):
    """Unit vectors of queries and pictures by `transformers` alone."""
    folder = indexed[1]["many"]
    model = ChineseCLIPModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pictures = [Image.open(path) for path in sorted(media.iterdir())]
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(pictures, return_tensors="pt")
    with torch.inference_mode():
        texts = [
            model.get_text_features(**tokenizer(query, return_tensors="pt")).pooler_output[0]
            for query in QUERIES
        ]
        seen = model.get_image_features(**pixels).pooler_output
    return [
        torch.nn.functional.normalize(one, dim=-1).numpy() for one in (torch.stack(texts), seen)
    ]


def test_each_script_is_found_by_the_vectors_of_transformers(indexed, theirs, capsys):
    root, _ = indexed
    texts, seen = theirs
    for query, vector in zip(QUERIES, texts, strict=True):
        names, told = search(root / "many-archive", query, capsys)
        best_first = np.argsort(-(seen @ vector), kind="stable")
        assert names == [f"{number}.png" for number in best_first], query
        assert "left out" not in told
    order = {tuple(np.argsort(-(seen @ vector))) for vector in texts}
    assert len(order) > 1  # the queries tell the pictures apart


def test_the_vector_of_each_script_is_that_of_transformers(indexed, theirs):
    _, folders = indexed
    encoder = ClipText(name=str(folders["many"])).build().eval()
    for query, expected in zip(QUERIES, theirs[0], strict=True):
        ids = encoder.prepare([query])
        [length] = encoder.lengths(ids).tolist()
        text = encoder.tokenizer.decode(ids[0, 1 : length - 1])
        assert text == query  # nothing is lost, and no character is cut in its bytes
        with torch.inference_mode():
            features = encoder.head(encoder.trunk(ids))[0]
        ours = torch.nn.functional.normalize(features, dim=-1).numpy()
        np.testing.assert_allclose(ours, expected, atol=1e-5, rtol=0)


def test_a_query_that_is_cut_is_named(indexed, capsys):
    root, _ = indexed
    _, told = search(root / "many-archive", "собака лает на улице " * 12, capsys)
    assert "1 of 1 texts in the query: longer than the model reads" in told


@pytest.mark.parametrize(
    ("query", "scripts"),
    [
        ("собака", "Cyrillic"),
        ("قطة", "Arabic"),
        ("一只猫 и собака", "Cjk, Cyrillic"),
        ("👍 café", ""),
    ],
)
def test_an_english_model_says_so_once(indexed, capsys, query, scripts):
    root, _ = indexed
    _, told = search(root / "english-archive", query, capsys)
    notice = f"letters that are not Latin ({scripts}), and this model reads English alone"
    assert told.count("not Latin") == bool(scripts)
    assert (notice in told) == bool(scripts)


def test_an_english_encoder_of_sounds_is_named_beside_one_of_many_languages(indexed, capsys):
    root, _ = indexed
    _, told = search(root / "many-archive", "собака", capsys)
    assert (
        "this model compares sounds with English alone: its scores mean little for sounds" in told
    )


def test_a_text_encoder_that_was_trained_is_not_called_english(tiny_towers):
    encoder = ClipText(name=str(tiny_towers / "clip")).build()
    assert knows_english_alone(encoder)
    encoder.unfreeze()
    assert not knows_english_alone(encoder)


def test_scripts_are_those_of_letters():
    assert scripts_of("naïve œuvre 12 µm, ﬁ Ａ 😀 é ª") == []
    assert scripts_of("ひらがな カタカナ 字 ελ हिन्दी") == [
        "Hiragana",
        "Katakana",
        "Cjk",
        "Greek",
        "Devanagari",
    ]
