import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from safetensors.torch import load_file, save_file
from small_families import GEMMA_PROMPTS, SPOKEN, embedding_gemma, siglip
from transformers import (
    AutoTokenizer,
    EmbeddingGemma2Model,
    EmbeddingGemma2Processor,
    Gemma4AudioFeatureExtractor,
    Gemma4ImageProcessorPil,
)
from transformers.models.gemma4.image_processing_pil_gemma4 import get_aspect_ratio_preserving_size

from trichord.api.conformance import check_encoder
from trichord.checkpoint.weights import load_owned, owned_state
from trichord.config import (
    ClipText,
    EmbeddingGemmaAudio,
    EmbeddingGemmaText,
    EmbeddingGemmaVision,
    TriModal,
)
from trichord.config.limits import check
from trichord.encoders.text_graph import TextGraph
from trichord.encoders.weight_cache import shared_towers
from trichord.exporting.graphs import write_text_graph
from trichord.media import Decoder
from trichord.media.plan import DecodePlan, FramePlan
from trichord.types import UserError
from trichord.types.tensors import Padded

pytestmark = pytest.mark.usefixtures("encoders_traced_once")

CONFIGS = (EmbeddingGemmaText, EmbeddingGemmaVision, EmbeddingGemmaAudio)
SIZES = ((40, 56), (56, 40), (7, 90), (64, 64), (33, 31), (1, 300))
"""Width and height of pictures."""
LONG = "a very long sentence that goes on and on and has to be cut somewhere " * 4
TEXTS = (*SPOKEN, "", "x", LONG)
SECONDS = (0.01, 0.3, 3.0, 12.34, 30.0)
RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return embedding_gemma(tmp_path_factory.mktemp("families") / "gemma")


@pytest.fixture(scope="module")
def model(folder):
    return EmbeddingGemma2Model.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def trimodal(folder):
    return TriModal(
        text=EmbeddingGemmaText(name=str(folder)),
        vision=EmbeddingGemmaVision(name=str(folder), soft_tokens=70),
        audio=EmbeddingGemmaAudio(name=str(folder), step_seconds=5.0),
    )


def vectors(encoder, inputs):
    with torch.inference_mode():
        return encoder(encoder.trunk_features(Padded.stack(inputs))).pooled


def wave(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.2, round(seconds * RATE)).astype(np.float32)


def expected(model, ids, **media):
    """The mean of the tokens' states, as its Sentence Transformers pipeline has it."""
    with torch.inference_mode():
        read = model(input_ids=ids, attention_mask=torch.ones_like(ids), **media)
    return F.normalize(read.last_hidden_state.mean(dim=1))


def expected_texts(model, folder, prompt=GEMMA_PROMPTS["query"]):
    """Each text by itself, without padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    cut = {"truncation": True, "max_length": 128, "return_tensors": "pt"}
    return torch.cat(
        [expected(model, tokenizer(prompt + text, **cut)["input_ids"]) for text in TEXTS]
    )


def image_inputs(folder, picture, soft_tokens):
    """The words of a picture, and its tensors."""
    processor = Gemma4ImageProcessorPil.from_pretrained(folder)
    made = processor([picture], max_soft_tokens=soft_tokens, return_tensors="pt")
    count = int(made.pop("num_soft_tokens_per_image")[0])
    return "<|image>" + "<|image|>" * count + "<image|>", made


def sound_inputs(folder, sound):
    extractor = Gemma4AudioFeatureExtractor.from_pretrained(folder)
    made = extractor([sound], return_tensors="pt")
    count = EmbeddingGemma2Processor.compute_sscp(made["input_features_mask"][0].numpy())
    return "<|audio>" + "<|audio|>" * count + "<audio|>", made


def expected_words(model, folder, words, **media):
    ids = AutoTokenizer.from_pretrained(folder)(words, return_tensors="pt")["input_ids"]
    return expected(model, ids, **media)


def expected_image(model, folder, picture, soft_tokens):
    words, made = image_inputs(folder, picture, soft_tokens)
    return expected_words(model, folder, words, **made)


def expected_sound(model, folder, sound):
    words, made = sound_inputs(folder, sound)
    return expected_words(model, folder, words, **made)


@pytest.mark.parametrize("prompt", ["query", "document", "none"])
def test_texts_have_the_vectors_of_transformers_behind_a_prompt(folder, model, prompt):
    encoder = EmbeddingGemmaText(name=str(folder), prompt=prompt).build().eval()
    ours = vectors(encoder, list(encoder.prepare(list(TEXTS))[:, None]))
    theirs = expected_texts(model, folder, GEMMA_PROMPTS.get(prompt, ""))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert encoder.count_cut(list(TEXTS)) == 1


@pytest.mark.parametrize("soft_tokens", [70, 140])
def test_pictures_of_any_shape_have_the_vectors_of_transformers(
    folder, model, soft_tokens, tmp_path
):
    """Decoded by the encoder's own plan, as an archive's pictures are, or in their own size."""
    config = EmbeddingGemmaVision(name=str(folder), soft_tokens=soft_tokens)
    encoder = config.build().eval()
    random = np.random.default_rng(0)
    rows, theirs = [], []
    with Decoder(workers=1) as decoder:
        for width, height in SIZES:
            picture = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
            picture.save(tmp_path / "picture.png")
            theirs.append(expected_image(model, folder, picture, soft_tokens))
            for plan in (encoder.frames, FramePlan(short_side=None)):
                [decoded] = decoder.decode(
                    tmp_path / "picture.png", ((0.0, None),), DecodePlan(frames=plan)
                )
                rows.append(encoder.prepare(decoded.frames))
                torch.testing.assert_close(
                    vectors(encoder, rows[-1:]), theirs[-1], atol=1e-5, rtol=0
                )
    together = vectors(encoder, rows[::2])
    torch.testing.assert_close(together, torch.cat(theirs), atol=1e-5, rtol=0)


def test_frames_are_resized_in_the_decoder_as_the_processor_does_it():
    random = np.random.default_rng(0)
    for cell, most in ((48, 280), (48, 70), (12, 140)):
        plan = FramePlan(short_side=None, patches=(cell, most), rounding="down")
        for width, height in random.integers(1, 3000, (500, 2)).tolist():
            theirs = get_aspect_ratio_preserving_size(height, width, cell // 3, most * 9, 3)
            assert plan.target_size(width, height) == theirs[::-1]
    older = FramePlan(short_side=None, patches=(16, 64)).described()
    assert "rounding" not in older  # fingerprints made before it stay valid


def test_sounds_have_the_vectors_of_transformers(folder, model):
    """Also beside longer ones, and one that is too short for a token."""
    encoder = EmbeddingGemmaAudio(name=str(folder)).build().eval()
    waves = [wave(seconds, seed) for seed, seconds in enumerate(SECONDS)]
    rows = [encoder.prepare(one) for one in waves]
    assert [len(row) for row in rows] == [1] * len(rows)
    theirs = torch.cat([expected_sound(model, folder, one) for one in waves])
    torch.testing.assert_close(vectors(encoder, rows), theirs, atol=1e-5, rtol=0)


def test_a_long_sound_is_the_mean_of_its_chunks(folder, model):
    """`transformers` would cut it at 30 s."""
    encoder = EmbeddingGemmaAudio(name=str(folder)).build().eval()
    sound = wave(65.0)
    parts = (sound[: 30 * RATE], sound[30 * RATE : 60 * RATE], sound[60 * RATE :])
    theirs = torch.cat([expected_sound(model, folder, part) for part in parts])
    torch.testing.assert_close(
        vectors(encoder, [encoder.prepare(sound)]),
        F.normalize(theirs.mean(dim=0, keepdim=True)),
        atol=1e-5,
        rtol=0,
    )


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(EmbeddingGemmaText, marks=pytest.mark.slow),
        EmbeddingGemmaVision,
        EmbeddingGemmaAudio,
    ],
)
def test_every_check_of_an_encoder_passes(folder, config):
    # Attention over the patches of 280 tokens a picture would take most of the time.
    few = {"soft_tokens": 70} if config is EmbeddingGemmaVision else {}
    checks = check_encoder(config(name=str(folder), width=16, **few))
    assert [check for check in checks if check.status == "FAIL"] == []
    skipped = [check.name for check in checks if check.status == "SKIP"]
    assert skipped == ([] if config is EmbeddingGemmaText else ["export"])


def test_texts_are_searched_without_torch_as_with_it(folder, tmp_path):
    encoder = EmbeddingGemmaText(name=str(folder), width=16).build().eval()
    write_text_graph(encoder, tmp_path / "text.onnx", tmp_path / "tokenizer.json")
    graph = TextGraph(tmp_path / "text.onnx", tmp_path / "tokenizer.json", None, encoder.prompt)
    ours = vectors(encoder, list(encoder.prepare(list(TEXTS))[:, None]))
    np.testing.assert_allclose(graph.embed(TEXTS), ours.numpy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_width_keeps_the_first_numbers(folder, config):
    """Normalised again; cached features serve every width."""
    whole = config(name=str(folder)).build().eval()
    short = config(name=str(folder), width=10).build().eval()
    rows = {
        "text": lambda e: e.prepare(["a dog"])[:, None][0],
        "audio": lambda e: e.prepare(wave(2.0)),
    }
    frame = np.random.default_rng(0).integers(0, 256, (1, 40, 50, 3), np.uint8)
    read = rows.get(config.modality, lambda e: e.prepare(frame))
    expected = F.normalize(vectors(whole, [read(whole)])[:, :10])
    torch.testing.assert_close(vectors(short, [read(short)]), expected, atol=1e-6, rtol=0)
    assert (short.dim, whole.dim) == (10, 24)
    assert short.fingerprint == whole.fingerprint


def test_a_model_has_one_width_in_all_its_encoders_and_its_fingerprint(trimodal):
    whole, short = trimodal.build().eval(), replace(trimodal, width=10).build().eval()
    assert {one.dim for one in short.encoders().values()} == {10}
    assert short.embed_text(["a dog"]).shape == (1, 10)
    assert short.fingerprint != whole.fingerprint
    assert short.compares("audio", "vision")
    with pytest.raises(UserError, match=r"--model.width 25: the vectors of .* have 24 numbers"):
        replace(trimodal, width=25).build()
    with pytest.raises(UserError, match=r"--model.width is for encoders .* clip-text is none"):
        check(replace(trimodal, text=ClipText(), width=10), "--model")


def test_a_text_has_another_fingerprint_behind_another_prompt(folder):
    prints = {
        EmbeddingGemmaText(name=str(folder), prompt=prompt).build().fingerprint
        for prompt in ("query", "document", "none")
    }
    assert len(prints) == 3


def test_a_prompt_that_the_model_lacks_is_refused_with_those_it_has(folder, tmp_path):
    with pytest.raises(UserError, match=r"prompt STS: .* choose one of document, query, none"):
        EmbeddingGemmaText(name=str(folder), prompt="STS").build()
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "config_sentence_transformers.json").unlink()
    with pytest.raises(UserError, match=r"prompt query: .* choose one of none"):
        EmbeddingGemmaText(name=str(tmp_path / "copy")).build()
    EmbeddingGemmaText(name=str(tmp_path / "copy"), prompt="none").build()


def test_no_part_is_computed_in_float16(folder, trimodal):
    """The model overflows there; mixed precision in bfloat16 is another matter."""
    model = trimodal.build().eval()
    encoder = model.audio
    rows = [encoder.prepare(wave(2.0))]
    alone = vectors(encoder, rows)
    with torch.autocast("cpu", torch.float16):
        features = encoder.trunk_features(Padded.stack(rows))
        assert features.values.dtype == torch.float32
        assert torch.equal(encoder.run_trunk(rows[0]), features.values[0])
    torch.testing.assert_close(encoder(features).pooled, alone, atol=1e-6, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = encoder.trunk_features(Padded.stack(rows))
    assert (rounded.values - features.values).abs().max() > 1e-4


@pytest.mark.parametrize("config", CONFIGS)
def test_half_precision_is_bfloat16(folder, config):
    encoder = config(name=str(folder), arithmetic="bfloat16").build().eval()
    whole = config(name=str(folder)).build().eval()
    rows = encoder.example()
    with torch.inference_mode():
        near = F.cosine_similarity(encoder.run_trunk(rows), whole.run_trunk(rows))
    assert near.min() > 0.99
    assert encoder.fingerprint != whole.fingerprint


def places(encoder):
    return {value.data_ptr() for value in (*encoder.trunk.parameters(), *encoder.trunk.buffers())}


def language(encoder):
    return [value.data_ptr() for value in encoder.trunk.model.language_model.parameters()]


def test_three_encoders_share_one_model_in_memory(trimodal, model):
    """Each has only its own towers; the language model is there once."""
    built = trimodal.build()
    encoders = built.encoders().values()
    assert len({tuple(language(one)) for one in encoders}) == 1
    values = {
        value.data_ptr(): value.numel() for one in encoders for value in one.trunk.parameters()
    }
    assert sum(values.values()) == sum(value.numel() for value in model.parameters())
    assert not any("tower" in name for name in built.text.trunk.state_dict())
    assert not any("audio" in name for name in built.vision.trunk.state_dict())
    assert not any("vision" in name for name in built.audio.trunk.state_dict())
    built.to(torch.float64)
    assert len({tuple(language(one)) for one in encoders}) == 1


def test_fingerprints_are_the_same_alone_and_shared(trimodal):
    alone = {name: one.build().fingerprint for name, one in trimodal.towers().items()}
    with shared_towers():
        built = [trimodal.build(), trimodal.build()]
    for each in built:
        assert {name: one.fingerprint for name, one in each.encoders().items()} == alone
    assert len(set(alone.values())) == 3


def test_a_tower_that_trains_leaves_the_others_and_is_saved_alone(trimodal):
    built = trimodal.build()
    before = {name: one.fingerprint for name, one in built.encoders().items()}
    built.audio.unfreeze()
    assert not places(built.audio) & (places(built.text) | places(built.vision))
    built.audio.train()
    with torch.no_grad():
        for value in built.audio.trunk.parameters():
            value.add_(0.01)
    built.audio.freeze_trunk()
    after = {name: one.fingerprint for name, one in built.encoders().items()}
    assert {name for name in after if after[name] != before[name]} == {"audio"}
    owned = owned_state(built, None)
    trunks = [name for name in owned if ".trunk." in name]
    assert trunks
    assert all(name.startswith("model.audio.trunk.model.") for name in trunks)
    again = trimodal.build()
    load_owned(again, None, owned)
    assert {name: one.fingerprint for name, one in again.encoders().items()} == after


@pytest.mark.parametrize("modality", ["vision", "audio"])
def test_a_model_without_a_tower_is_refused_by_it_alone(tmp_path, modality):
    other = {"vision": "audio", "audio": "vision"}[modality]
    name = str(embedding_gemma(tmp_path / "model", towers=other))
    config = {one.modality: one for one in CONFIGS}
    with pytest.raises(UserError, match=f"has no {modality} tower"):
        config[modality](name=name).build()
    config[other](name=name).build()
    EmbeddingGemmaText(name=name).build()


def test_a_preprocessor_or_tokenizer_of_another_model_is_refused(tmp_path, folder):
    name = str(embedding_gemma(tmp_path / "patches", patch_size=8))
    with pytest.raises(UserError, match=r"cuts patches of 8 pixels, 3 a side .* takes 4 pixels"):
        EmbeddingGemmaVision(name=name).build()
    noisy = tmp_path / "noisy"
    shutil.copytree(folder, noisy)
    path = noisy / "processor_config.json"
    settings = json.loads(path.read_text())
    settings["feature_extractor"]["dither"] = 0.1
    path.write_text(json.dumps(settings))
    with pytest.raises(UserError, match=r"adds random noise \(dither 0.1\)"):
        EmbeddingGemmaAudio(name=str(noisy)).build()
    foreign = siglip(tmp_path / "siglip")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(foreign / file, noisy / file)
    with pytest.raises(UserError, match="does not know the tokens of its vision inputs"):
        EmbeddingGemmaVision(name=str(noisy)).build()


@pytest.mark.parametrize(
    ("config", "tensor"),
    [
        (EmbeddingGemmaText, "language_model.layers.1.mlp.up_proj.weight"),
        (EmbeddingGemmaVision, "vision_tower.encoder.layers.1.mlp.up_proj.linear.weight"),
        (EmbeddingGemmaAudio, "embed_audio.embedding_projection.weight"),
    ],
)
def test_a_missing_tensor_and_another_family_are_refused_by_name(config, tensor, tmp_path):
    folder = embedding_gemma(tmp_path / "gemma")
    tensors = load_file(folder / "model.safetensors")
    del tensors[tensor]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=rf"lack 1 of .* \({tensor}\)"):
        config(name=str(folder)).build()
    name = str(siglip(tmp_path / "other"))
    (tmp_path / "other" / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": GEMMA_PROMPTS})
    )
    with pytest.raises(
        UserError, match="is of type 'siglip', and this tower takes embedding_gemma2"
    ):
        config(name=name).build()


# Several modalities as one input


@pytest.fixture(scope="module")
def whole(trimodal):
    from trichord import Model

    return Model("gemma", trimodal.build().eval())


@pytest.mark.parametrize(
    "order", [("image", "text", "audio"), ("text", "image"), ("audio", "text"), ("audio", "image")]
)
def test_mixtures_have_the_vectors_of_transformers(order, folder, model, whole):
    """All parts in one call of the original model."""
    parts = {"text": "a red thing", "image": Image.new("RGB", (40, 56), (200, 30, 60))}
    parts["audio"] = (wave(1.0), RATE)
    words = {"text": GEMMA_PROMPTS["query"] + "a red thing"}
    words["image"], picture = image_inputs(folder, parts["image"], 70)
    words["audio"], sound = sound_inputs(folder, parts["audio"][0])
    tensors = {"image": picture, "audio": sound, "text": {}}
    media = {name: value for one in order for name, value in tensors[one].items()}
    theirs = expected_words(model, folder, "".join(words[one] for one in order), **media)[0]
    ours = whole.encode({one: parts[one] for one in order})
    assert np.abs(ours - theirs.numpy()).max() < 1e-5


def test_mixtures_of_one_part_are_that_part(whole):
    picture = Image.new("RGB", (40, 56), (200, 30, 60))
    found = whole.encode([{"text": "a dog"}, {"image": picture}])
    alone = np.stack([whole.encode("a dog"), whole.encode(picture)])
    assert np.abs(found - alone).max() < 1e-5
    query = whole.encode_query({"text": "a dog", "image": picture})
    document = whole.encode_document({"text": "a dog", "image": picture})
    assert np.abs(query - document).max() > 1e-4
    assert whole.similarity(query, document).shape == (1, 1)


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({}, "is empty: give a text"),
        ({"text": " "}, "is empty: give a text"),
        ({"video": "a.mp4"}, "has the key 'video': give some of text, image, audio"),
        ([{"text": "a"}, "b"], "are encoded apart: make each item a dict"),
        (
            {"text": "a", "audio": (np.zeros(RATE, np.float32), RATE)},
            "audio of a mixture is missing",
        ),
        ({"text": "a " * 9000}, "tokens, and the model reads"),
        ({"text": "a <|image|> b"}, "has the marks by which the model knows images"),
        ({"image": Image.new("RGB", (40, 56)), "text": "<|image|>"}, "has the marks by which"),
    ],
)
def test_impossible_mixtures_are_refused(whole, item, told):
    with pytest.raises(UserError, match=told):
        whole.encode(item)


def test_models_of_one_modality_at_a_time_say_so(tiny_trimodal, whole):
    from trichord import Model

    with pytest.raises(UserError, match=r"one modality at a time.*embeddinggemma2"):
        Model("tiny", tiny_trimodal.build().eval()).encode({"text": "a"})
    head = whole.embedder.audio.head
    head.weight.data *= 2
    try:
        with pytest.raises(UserError, match="were trained apart"):
            whole.encode({"text": "a"})
    finally:
        head.weight.data /= 2
