"""`Model.encode`: what it reads, and that its vectors are those of `embed_text`, `_vision`, `_audio`."""

import pickle
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from footage import make_movie
from PIL import Image
from small_families import GEMMA_PROMPTS, embedding_gemma

from trichord.api.encoding import Encoded
from trichord.api.model import Model
from trichord.config import (
    Clap,
    ClapText,
    EmbeddingGemmaAudio,
    EmbeddingGemmaText,
    EmbeddingGemmaVision,
    TriModal,
)
from trichord.encoders.text_graph import TextGraph
from trichord.exporting.graphs import write_text_graph
from trichord.search.query_model import QueryModel
from trichord.types import UserError
from trichord_world.small import SmallClap, build_clap

TEXTS = ["a red ball", "a low bell rings slowly on the beach", "bells", "someone says good morning"]
NEAR = {"rtol": 0, "atol": 1e-6}


@pytest.fixture(scope="module")
def model(tiny_trimodal):
    with Model("tiny", tiny_trimodal.build().eval(), workers=1) as one:
        yield one


@pytest.fixture
def pair(untrained_model):
    """A model with two spaces of one size."""
    with Model("pair", untrained_model, workers=1) as one:
        yield one


@pytest.fixture
def sound(folder):
    with wave.open(str(folder / "beep.wav")) as file:
        return np.frombuffer(file.readframes(-1), "<i2").astype(np.float32) / 32768, 16_000


@pytest.fixture
def pixels(folder):
    return np.asarray(Image.open(folder / "still.png"))


def same(encoded, expected):
    assert encoded.dtype == np.float32
    assert encoded.shape == expected.shape
    np.testing.assert_allclose(encoded, expected, **NEAR)


def test_one_text_gives_a_vector_and_a_list_a_matrix(model):
    expected = model.embed_text(TEXTS)
    same(model.encode(TEXTS[0]), expected[0])
    for texts in (TEXTS, tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, object)):
        same(model.encode(texts), expected)
    same(model.encode(["bells"]), expected[2:3])


@pytest.mark.parametrize("path", [Path, str])
def test_a_file_of_one_modality_needs_no_modality(path, model, folder):
    still, beep = folder / "still.png", folder / "beep.wav"
    same(model.encode(path(still)), model.embed_vision([still])[0])
    same(model.encode([path(beep)]), model.embed_audio([beep]))


def test_pictures_and_sounds_in_memory(model, pixels, sound):
    picture = Image.fromarray(pixels)
    seen, heard = model.embed_vision([pixels])[0], model.embed_audio([sound])[0]
    for one in (pixels, pixels[None], picture):
        same(model.encode(one), seen)
    for one in (sound, (np.stack([sound[0], sound[0]]), 16_000), (list(sound[0]), 16_000)):
        same(model.encode(one), heard)
    same(model.encode([picture, pixels]), np.stack([seen, seen]))


def test_of_a_video_the_modality_is_given_and_never_guessed(model, folder):
    clip = folder / "clip.mp4"
    for modality in ("vision", "audio"):
        with pytest.raises(
            UserError, match=rf"clip\.mp4 has picture and .* modality='{modality}'|or"
        ):
            model.encode(["a ball", clip])
    same(model.encode(clip, modality="vision"), model.embed_vision([clip])[0])
    same(model.encode([str(clip)], modality="audio"), model.embed_audio([clip]))


def test_a_video_without_sound_or_with_a_silent_one_is_a_picture(model, movies):
    for movie in movies:
        same(model.encode(movie), model.embed_vision([movie])[0])


@pytest.fixture
def movies(tmp_path):
    make_movie(tmp_path / "mute.mp4", seconds=1)
    make_movie(tmp_path / "silent.mp4", seconds=1, sound=np.zeros((1, 16_000), np.float32))
    return tmp_path / "mute.mp4", tmp_path / "silent.mp4"


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_a_mixed_list_keeps_its_order_whatever_the_batch(
    batch_size, model, folder, pixels, sound, capsys
):
    still, clip = folder / "still.png", folder / "clip.mp4"
    items = [
        sound,
        TEXTS[1],
        str(still),
        clip,
        TEXTS[0],
        clip,
        pixels,
        folder / "beep.wav",
        TEXTS[2],
    ]
    modality = [None, None, None, "audio", None, "vision", None, None, None]
    texts = iter(model.embed_text([TEXTS[1], TEXTS[0], TEXTS[2]]))
    seen = iter(model.embed_vision([still, clip, pixels]))
    heard = iter(model.embed_audio([sound, clip, folder / "beep.wav"]))
    order = (heard, texts, seen, heard, texts, seen, seen, heard, texts)
    encoded = model.encode(items, modality=modality, batch_size=batch_size, show_progress_bar=True)
    same(encoded, np.stack([next(one) for one in order]))
    printed = capsys.readouterr()
    assert not printed.out
    assert "100%" in printed.err
    model.encode(TEXTS)
    assert not capsys.readouterr().err


def test_an_empty_list_gives_no_rows(model):
    for modality in (None, "text", "audio", []):
        assert model.encode([], modality=modality).shape == (0, model.dim)


def test_a_file_without_the_modality_is_a_row_of_nan(model, folder):
    assert np.isnan(model.encode(folder / "still.png", modality="audio")).all()
    rows = model.encode([folder / "beep.wav", folder / "clip.mp4"], modality="vision")
    assert np.isnan(rows).all(axis=1).tolist() == [True, False]


def test_a_string_is_a_path_by_its_extension_and_never_by_chance(model, folder, monkeypatch):
    monkeypatch.chdir(folder)
    same(model.encode("still.png"), model.embed_vision(["still.png"])[0])
    same(model.encode("still.png", modality="text"), model.embed_text(["still.png"])[0])
    with pytest.raises(UserError, match=r"missing\.jpg cannot be read"):
        model.encode(["a ball", "missing.jpg"])
    Path("ball").write_bytes(Path("still.png").read_bytes())
    with pytest.raises(UserError, match=r"write Path\('ball'\).*modality='text'"):
        model.encode("ball")
    same(model.encode(Path("ball")), model.embed_vision(["still.png"])[0])
    Path("ball").unlink()
    same(model.encode("x" * 5000), model.embed_text(["x" * 5000])[0])  # no file has such a name


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        (["a", " \n"], {}, "Item 2 of 2 is an empty text"),
        ("", {}, "Item 1 of 1 is an empty text"),
        ("broken.mp4", {}, r"broken\.mp4 cannot be read \(corrupt"),
        (["beep.wav", "broken.mp4"], {"modality": "audio"}, r"broken\.mp4 cannot be read"),
        ([np.zeros(9)], {}, r"Item 1 of 1 is of type ndarray: give a text, .*\(samples, rate"),
        ([0.5], {}, "Item 1 of 1 is of type float"),
        (["a", None], {}, "Item 2 of 2 is of type NoneType"),
        (np.zeros((4, 4, 3)), {}, "give uint8"),
        ((np.full(9, np.nan), 16_000), {}, "finite samples"),
        ([Path("beep.wav")], {"modality": "text"}, "Item 1 of 1 is no text"),
        (["a", "b"], {"modality": ["text"]}, "modality has 1 entries for 2 items"),
        (["a"], {"batch_size": 0}, "batch_size=0: give at least 1"),
        (["a"], {"normalize_embeddings": False}, "always have unit length"),
    ],
)
def test_a_mistake_is_refused_in_a_line(items, options, message, model, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=message) as error:
        model.encode(items, **options)
    assert "\n" not in str(error.value)


def test_unknown_options_are_type_errors(model):
    for call in (model.encode, model.encode_query, model.encode_document):
        with pytest.raises(TypeError, match="prompt_name"):
            call("a", prompt_name="x")


def test_a_tensor_if_asked(model, sound):
    vector = model.encode(sound, convert_to_tensor=True)
    assert vector.shape == (model.dim,)
    rows = model.encode(TEXTS, convert_to_tensor=True)
    np.testing.assert_allclose(rows.numpy(), model.embed_text(TEXTS), **NEAR)
    cosines = model.similarity(vector, rows)
    assert isinstance(cosines, torch.Tensor)
    expected = model.similarity(model.encode(sound), model.encode(TEXTS))
    np.testing.assert_allclose(cosines.numpy(), expected, **NEAR)
    np.testing.assert_allclose(model.similarity(vector, model.encode(TEXTS)), expected, **NEAR)


# ------------------------------------------------------------------ queries and documents


def test_without_prompts_queries_and_documents_are_as_encode(model, folder):
    for call in (model.encode_query, model.encode_document):
        same(call(TEXTS), model.embed_text(TEXTS))
        same(call(folder / "still.png"), model.embed_vision([folder / "still.png"])[0])


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    return embedding_gemma(tmp_path_factory.mktemp("families") / "gemma")


@pytest.mark.parametrize("prompt", ["query", "none"])
def test_queries_and_documents_have_the_models_prompts(prompt, gemma):
    def built(prompt):
        name = str(gemma)
        towers = TriModal(
            text=EmbeddingGemmaText(name=name, prompt=prompt),
            vision=EmbeddingGemmaVision(name=name, soft_tokens=70),
            audio=EmbeddingGemmaAudio(name=name, step_seconds=5.0),
        )
        return Model("gemma", towers.build().eval())

    one, bare = built(prompt), built("none")
    same(one.encode(TEXTS), built(prompt).embed_text(TEXTS))
    for call, task in ((one.encode_query, "query"), (one.encode_document, "document")):
        texts = [GEMMA_PROMPTS[task] + text for text in TEXTS]
        same(call(TEXTS, batch_size=3), bare.embed_text(texts))
    assert np.abs(one.encode_query(TEXTS) - one.encode_document(TEXTS)).max() > 0.01
    same(one.encode(TEXTS), built(prompt).embed_text(TEXTS))  # and are not left behind


# ------------------------------------------------------------------ comparison


def test_similarity_is_the_cosine_matrix(model, folder):
    texts, picture = model.encode(TEXTS), model.encode(folder / "still.png")
    cosines = model.similarity(texts, picture)
    assert cosines.shape == (4, 1)
    assert type(cosines) is np.ndarray
    np.testing.assert_allclose(cosines[:, 0], texts @ picture, **NEAR)
    np.testing.assert_allclose(
        model.similarity([[3.0, 4.0]], [[1.0, 0.0], [0.0, 5.0]]), [[0.6, 0.8]], **NEAR
    )
    with pytest.raises(UserError, match="of 24 and of 3 numbers"):
        model.similarity(texts, np.ones(3))


def test_in_one_space_everything_is_compared(model, folder):
    mixed = model.encode(["a ball", folder / "still.png", folder / "beep.wav"])
    np.testing.assert_allclose(np.diag(model.similarity(mixed, mixed)), 1, atol=1e-6)


def test_in_two_spaces_similarity_refuses_what_means_nothing(pair, folder):
    seen, heard = pair.encode(folder / "still.png"), pair.encode([folder / "beep.wav"])
    plain, toward = pair.encode(TEXTS), pair.encode(TEXTS, toward="audio")
    same(toward, pair.embed_text(TEXTS, "audio"))
    assert pair.similarity(plain, seen).shape == (4, 1)
    assert pair.similarity(toward, heard).shape == (4, 1)
    for a, b, message in (
        (heard, seen, "does not compare audio with vision"),
        (plain, heard, "encoded toward vision .* encode them with toward='audio'"),
        (seen, toward[1:2], "encoded toward audio .* encode them with toward='vision'"),
        (plain, toward, "encoded toward vision .* toward='audio'"),
        (pair.encode(["a", folder / "beep.wav"]), heard, "toward='audio'"),
    ):
        with pytest.raises(UserError, match=message) as error:
            pair.similarity(a, b)
        assert "\n" not in str(error.value)
    # A plain array does not say what it is.
    assert pair.similarity(np.asarray(plain), heard).shape == (4, 1)


def test_text_heads_by_partner_are_kept_apart_in_one_space(tiny_trimodal, tiny_towers, folder):
    """As PE-AV has them."""
    clap = ClapText(name=str(tiny_towers / "clap"))
    towers = replace(tiny_trimodal, sound_text=clap, one_space=True)
    with Model("heads", towers.build().eval(), workers=1) as model:
        seen, heard = model.encode(folder / "still.png"), model.encode(folder / "beep.wav")
        assert model.similarity(seen, heard).shape == (1, 1)
        assert model.similarity(model.encode(TEXTS, toward="audio"), heard).shape == (4, 1)
        with pytest.raises(UserError, match="encode them with toward='audio'"):
            model.similarity(model.encode(TEXTS), heard)


def test_slices_and_copies_know_what_they_are_and_results_are_plain(pair):
    rows = pair.encode(TEXTS, toward="audio")
    known = frozenset({("text", "audio")})
    assert rows.origins == rows[1].origins == rows[::2].copy().origins == known
    for plain in (rows + 1, rows @ rows.T, rows.mean(axis=0), np.concatenate([rows, rows])):
        assert not isinstance(plain, Encoded)
    assert type(rows[0, 0]) is type(rows.max()) is np.float32
    assert pickle.loads(pickle.dumps(rows)).origins == frozenset()


def test_a_mixed_list_of_vectors_of_different_sizes_is_refused(
    tiny_trimodal, tiny_towers, folder, tmp_path
):
    wide = tmp_path / "wide-clap"
    small = SmallClap(rate=16_000, seconds=2, width=16, text_width=32, dim=32, heads=(1, 2))
    build_clap(small, TEXTS, wide, seed=2).save_pretrained(wide)
    clap = {"audio": Clap(name=str(wide)), "sound_text": ClapText(name=str(wide))}
    with Model("wide", replace(tiny_trimodal, **clap).build().eval(), workers=1) as model:
        with pytest.raises(UserError, match=r"differ in size \(audio 32, vision 24\)"):
            model.encode([folder / "beep.wav", folder / "still.png"])
        assert model.encode(TEXTS, toward="audio").shape == (4, 32)
        assert model.encode([], modality="audio").shape == (0, 32)


def test_modalities_are_those_whose_encoders_read(model):
    assert model.modalities == ("text", "audio", "vision")
    assert model.supports("vision")


WRONG_WORDS = """
import trichord
model = trichord.load("world-clip-clap")
for call in (
    lambda: model.encode("a", modality="image"),
    lambda: model.encode([], modality="image"),
    lambda: model.encode(["a"], modality=["image"]),
    lambda: model.encode("a", toward="sound"),
    lambda: model.supports("image"),
):
    try:
        call()
    except trichord.UserError as error:
        print(error)
"""


def test_words_of_other_libraries_are_refused_with_ours():
    """In a process without the tests' type checks."""
    done = subprocess.run(
        [sys.executable, "-c", WRONG_WORDS], capture_output=True, text=True, check=True
    )
    image = "modality 'image': give text, audio, vision (pictures and frames are vision)."
    assert done.stdout.splitlines() == [
        *[image] * 3, "toward='sound': give vision or audio.", image
    ]  # fmt: skip


def test_stored_features_are_no_modality_to_encode(model, monkeypatch):
    monkeypatch.setattr(model.embedder.audio, "stored", "some model")
    assert model.modalities == ("text", "vision")
    assert not model.supports("audio")


def test_texts_alone_do_not_load_the_model(model, tmp_path):
    files = tmp_path / "text.onnx", tmp_path / "tokenizer.json"
    write_text_graph(model.embedder.text, *files)
    graph = TextGraph(*files, model.embedder.text.end)
    queries = QueryModel(
        "f", graph, None, lambda: pytest.fail("loaded"), reranks=False, one_space=True
    )
    texts_only = Model("graphs", queries)
    same(texts_only.encode(TEXTS), queries.embed_text(TEXTS))
    same(texts_only.encode(TEXTS[0]), queries.embed_text(TEXTS)[0])


def test_importing_it_loads_nothing_heavy():
    code = "import sys, trichord.api.model; assert not {'torch', 'rich', 'av'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
