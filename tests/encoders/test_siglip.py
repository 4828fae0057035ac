import json
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from safetensors.torch import load_file, save_file
from small_families import SPOKEN, naflex, siglip
from transformers import (
    AutoTokenizer,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    SiglipImageProcessorPil,
    SiglipModel,
)

from trichord.api.conformance import check_encoder
from trichord.config import SiglipText, SiglipVision
from trichord.encoders.text_graph import TextGraph
from trichord.exporting.graphs import write_text_graph
from trichord.media import Decoder
from trichord.media.plan import DecodePlan, FramePlan
from trichord.types import UserError
from trichord.types.tensors import Padded

pytestmark = pytest.mark.usefixtures("encoders_traced_once")

SIZES = ((40, 56), (56, 40), (7, 90), (64, 64), (33, 31))
"""Width and height of pictures."""
TEXTS = (*SPOKEN, "", "x", "a very long sentence that goes on and on and has to be cut somewhere")
FAMILIES = {
    "siglip": (siglip, SiglipModel, SiglipImageProcessorPil),
    "naflex": (naflex, Siglip2Model, Siglip2ImageProcessorPil),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A folder, the model of `transformers` and its processor."""
    write, model, processor = FAMILIES[request.param]
    folder = write(tmp_path_factory.mktemp("families") / request.param)
    return folder, model.from_pretrained(folder).eval(), processor.from_pretrained(folder)


@pytest.fixture(scope="module")
def decoder():
    with Decoder(workers=1) as decoder:
        yield decoder


def vectors(encoder, inputs):
    with torch.inference_mode():
        return encoder(encoder.trunk_features(Padded.stack(inputs))).pooled


def test_texts_have_the_vectors_of_transformers(family):
    folder, model, _ = family
    tokens = AutoTokenizer.from_pretrained(folder)(
        list(TEXTS), padding="max_length", truncation=True, max_length=16, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = F.normalize(model.get_text_features(tokens["input_ids"]).pooler_output)
    encoder = SiglipText(name=str(folder)).build().eval()
    ours = vectors(encoder, list(encoder.prepare(list(TEXTS))[:, None]))
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert encoder.count_cut(list(TEXTS)) > 0
    assert encoder.prepare(["x"]).shape == (1, 16)


def test_pictures_of_any_shape_have_the_vectors_of_transformers(family, decoder, tmp_path):
    """Decoded by the encoder's own plan, as an archive's pictures are."""
    folder, model, processor = family
    encoder = SiglipVision(name=str(folder)).build().eval()
    random = np.random.default_rng(0)
    for width, height in SIZES:
        picture = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        picture.save(tmp_path / "picture.png")
        with torch.inference_mode():
            inputs = processor([picture], return_tensors="pt")
            expected = F.normalize(model.get_image_features(**inputs).pooler_output)
        plan = DecodePlan(frames=encoder.frames)
        [decoded] = decoder.decode(tmp_path / "picture.png", ((0.0, None),), plan)
        [whole] = decoder.decode(
            tmp_path / "picture.png", ((0.0, None),), DecodePlan(frames=FramePlan(short_side=None))
        )
        for frames in (decoded.frames, whole.frames):
            ours = vectors(encoder, [encoder.prepare(frames)])
            torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
        if folder.name == "siglip":
            assert decoded.frames.shape == (1, 32, 32, 3)


@pytest.mark.parametrize("config", [SiglipText, SiglipVision])
def test_every_check_of_an_encoder_passes(family, config):
    checks = check_encoder(config(name=str(family[0])))
    assert [check for check in checks if check.status == "FAIL"] == []
    skipped = [check.name for check in checks if check.status == "SKIP"]
    assert skipped == (["export"] if (family[0].name, config) == ("naflex", SiglipVision) else [])


def test_texts_are_searched_without_torch_as_with_it(family, tmp_path):
    encoder = SiglipText(name=str(family[0])).build().eval()
    write_text_graph(encoder, tmp_path / "text.onnx", tmp_path / "tokenizer.json")
    graph = TextGraph(tmp_path / "text.onnx", tmp_path / "tokenizer.json")
    ours = vectors(encoder, list(encoder.prepare(list(TEXTS))[:, None]))
    np.testing.assert_allclose(graph.embed(TEXTS), ours.numpy(), atol=1e-5, rtol=0)


def test_an_untrained_head_changes_nothing(family):
    encoder = SiglipText(name=str(family[0])).build().eval()
    features = torch.randn(3, 32)
    assert torch.equal(encoder.head(features), features)


def changed(family, place, **settings):
    """A copy of a folder with other settings in its processor."""
    shutil.copytree(family, place)
    path = place / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return str(place)


def test_a_processor_of_another_model_is_refused(tmp_path):
    one, native = siglip(tmp_path / "one"), naflex(tmp_path / "native")
    with pytest.raises(
        UserError, match="makes pictures of 48 x 48, its vision tower takes 32 x 32"
    ):
        SiglipVision(name=changed(one, tmp_path / "a", size={"height": 48, "width": 48})).build()
    with pytest.raises(UserError, match="cuts patches of 14 pixels, its vision tower takes 16"):
        SiglipVision(name=changed(native, tmp_path / "b", patch_size=14)).build()


@pytest.mark.parametrize("config", [SiglipText, SiglipVision])
def test_a_missing_tensor_and_another_family_are_refused_by_name(config, tmp_path, tiny_towers):
    folder = siglip(tmp_path / "siglip")
    tensors = load_file(folder / "model.safetensors")
    for name in list(tensors):
        if name.endswith("layers.1.mlp.fc1.weight"):
            del tensors[name]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lack 1 of .* \(.*layers\.1\.mlp\.fc1\.weight\)"):
        config(name=str(folder)).build()
    with pytest.raises(UserError, match="is of type 'clip', and this tower takes siglip"):
        config(name=str(tiny_towers / "clip")).build()
