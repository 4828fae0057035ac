import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from safetensors.torch import load_file, save_file
from small_families import SPOKEN, altclip, chinese_clip, metaclip2
from transformers import AltCLIPModel, AutoTokenizer, ChineseCLIPModel, MetaClip2Model

from trichord.api.conformance import check_encoder
from trichord.config import ClipText, ClipVision
from trichord.encoders.text_graph import TextGraph
from trichord.exporting.graphs import write_text_graph
from trichord.types import UserError
from trichord.types.tensors import Padded

pytestmark = pytest.mark.usefixtures("encoders_traced_once")

LONG = "a very long sentence that goes on and on, longer than there are positions for its tokens"
TEXTS = (*SPOKEN, "", "x", LONG)
FAMILIES = {
    "metaclip2": (metaclip2, MetaClip2Model, 24),
    "chinese_clip": (chinese_clip, ChineseCLIPModel, 52),
    "altclip": (altclip, AltCLIPModel, 24),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A folder, the model of `transformers`, and its number of tokens."""
    write, model, longest = FAMILIES[request.param]
    folder = write(tmp_path_factory.mktemp("families") / request.param)
    return folder, model.from_pretrained(folder).eval(), longest


def vectors(encoder, inputs):
    with torch.inference_mode():
        return encoder(encoder.trunk_features(Padded.stack(inputs))).pooled


def test_texts_have_the_vectors_of_transformers(family):
    folder, model, longest = family
    encoder = ClipText(name=str(folder)).build().eval()
    tokens = AutoTokenizer.from_pretrained(folder)(
        list(TEXTS), padding=True, truncation=True, max_length=longest, return_tensors="pt"
    )
    kept = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        expected = F.normalize(model.get_text_features(**kept).pooler_output)
    ours = vectors(encoder, list(encoder.prepare(list(TEXTS))[:, None]))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert encoder.max_tokens == longest
    assert encoder.count_cut([LONG, "x"]) == 1


def test_pictures_have_the_vectors_of_transformers(family):
    folder, model, _ = family
    encoder = ClipVision(name=str(folder)).build().eval()
    random = np.random.default_rng(0)
    for width, height in ((40, 56), (56, 40), (7, 90)):
        picture = random.integers(0, 256, (height, width, 3), np.uint8)
        pixels = encoder.processor([Image.fromarray(picture)], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            expected = F.normalize(model.get_image_features(pixels).pooler_output)
        ours = vectors(encoder, [encoder.prepare(picture[None])])
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        *((name, ClipText) for name in FAMILIES),
        ("chinese_clip", ClipVision),
        pytest.param("metaclip2", ClipVision, marks=pytest.mark.slow),
        pytest.param("altclip", ClipVision, marks=pytest.mark.slow),
    ],
    indirect=["family"],
)
def test_every_check_of_an_encoder_passes(family, config):
    checks = check_encoder(config(name=str(family[0])))
    assert [check for check in checks if check.status != "PASS"] == []


def test_texts_are_searched_without_torch_as_with_it(family, tmp_path):
    encoder = ClipText(name=str(family[0])).build().eval()
    write_text_graph(encoder, tmp_path / "text.onnx", tmp_path / "tokenizer.json")
    graph = TextGraph(tmp_path / "text.onnx", tmp_path / "tokenizer.json")
    ours = vectors(encoder, list(encoder.prepare(list(TEXTS))[:, None]))
    np.testing.assert_allclose(graph.embed(TEXTS), ours.numpy(), atol=1e-5, rtol=0)


def test_a_step_for_each_token_is_refused(family):
    with pytest.raises(UserError, match=r"--model.text.tokens: only OpenAI's CLIPs"):
        ClipText(name=str(family[0]), tokens=True).build()


def test_a_missing_tensor_is_refused_by_name(family, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(family[0], folder)
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 of .* \(text_projection.weight\)"):
        ClipText(name=str(folder)).build()
