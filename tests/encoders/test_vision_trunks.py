import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import small_trunks
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    BitImageProcessorPil,
    Dinov2Model,
    Dinov2WithRegistersModel,
    DINOv3ConvNextModel,
    DINOv3ViTModel,
    IJepaModel,
    ViTImageProcessorPil,
)

from trichord.api.conformance import check_encoder
from trichord.config import InfoNCE, VisionTrunk
from trichord.encoders.graph import Sizes
from trichord.encoders.weight_cache import shared_towers
from trichord.exporting.graphs import write_graph
from trichord.media import Decoder
from trichord.media.plan import DecodePlan, FramePlan
from trichord.types import UserError
from trichord.types.tensors import Batch, Padded

SIZES = ((50, 70), (70, 50), (9, 101), (64, 64), (33, 31), (43, 41))
"""Width and height of pictures."""
FAMILIES = {
    "dinov2": (Dinov2Model, BitImageProcessorPil),
    "dinov2_with_registers": (Dinov2WithRegistersModel, BitImageProcessorPil),
    "dinov3_vit": (DINOv3ViTModel, ViTImageProcessorPil),
    "dinov3_convnext": (DINOv3ConvNextModel, ViTImageProcessorPil),
    "ijepa": (IJepaModel, ViTImageProcessorPil),
}


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    """A folder of each family, named after it."""
    write = getattr(small_trunks, request.param)
    return write(tmp_path_factory.mktemp("trunks") / request.param)


@pytest.fixture(scope="module")
def decoder():
    with Decoder(workers=1) as decoder:
        yield decoder


def pictures(*sizes, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (high, wide, 3), np.uint8) for wide, high in sizes]


def expected_features(folder, picture):
    """What `transformers` gives: its class token, or the mean of the patches of an I-JEPA."""
    model, processor = FAMILIES[folder.name]
    inputs = processor.from_pretrained(folder)([picture], return_tensors="pt")
    with torch.inference_mode():
        output = model.from_pretrained(folder).eval()(**inputs)
    if folder.name == "ijepa":
        return output.last_hidden_state.mean(dim=1)
    return output.pooler_output


def features(encoder, frames):
    with torch.inference_mode():
        return encoder.trunk_features(Padded.stack([encoder.prepare(frames)])).values[0]


def test_pictures_of_any_shape_have_the_features_of_transformers(folder, decoder, tmp_path):
    """Decoded by the encoder's own plan, as an archive's pictures are, and whole."""
    encoder = VisionTrunk(name=str(folder), dim=24).build().eval()
    for picture in pictures(*SIZES):
        Image.fromarray(picture).save(tmp_path / "picture.png")
        expected = expected_features(folder, Image.fromarray(picture))
        for plan in (encoder.frames, FramePlan(short_side=None)):
            decoded = decoder.decode(
                tmp_path / "picture.png", ((0.0, None),), DecodePlan(frames=plan)
            )
            ours = features(encoder, decoded[0].frames)
            torch.testing.assert_close(F.normalize(ours), F.normalize(expected), atol=1e-5, rtol=0)
            with torch.inference_mode():
                vector = encoder(Padded.stack([ours])).pooled
                torch.testing.assert_close(
                    vector, F.normalize(encoder.head(expected)), atol=1e-5, rtol=0
                )


def test_pictures_differ_by_more_than_the_tolerance(folder):
    encoder = VisionTrunk(name=str(folder)).build().eval()
    one, other = (F.normalize(features(encoder, p[None])) for p in pictures((64, 64), (64, 50)))
    assert (one - other).abs().max() > 1e-3


@pytest.mark.parametrize(
    "folder",
    [name if name == "dinov2" else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES],
    indirect=True,
)
def test_every_check_of_an_encoder_passes(folder):
    checks = check_encoder(VisionTrunk(name=str(folder), dim=24))
    assert [check for check in checks if check.status != "PASS"] == []


@pytest.mark.parametrize(
    "folder",
    [
        name if name == "dinov3_vit" else pytest.param(name, marks=pytest.mark.slow)
        for name in FAMILIES
    ],
    indirect=True,
)
def test_an_exported_trunk_has_the_vectors_of_its_run(folder, tmp_path):
    """The checks of an encoder compare a graph of every family."""
    encoder = VisionTrunk(name=str(folder), dim=24).build().eval()
    write_graph(encoder, tmp_path / "vision.onnx")
    encoder.processor.save_pretrained(tmp_path / "vision")
    Sizes(dim=encoder.dim, width=encoder.dim).write(tmp_path / "vision")
    graph = VisionTrunk(name=str(tmp_path / "vision"), arithmetic="graph").build().eval()
    assert (graph.dim, graph.frames) == (24, encoder.frames)
    frames = np.stack(pictures((64, 50), (64, 50)))
    rows = Padded.stack([encoder.prepare(frames)]), Padded.stack([graph.prepare(frames)])
    with torch.inference_mode():
        ours, theirs = (
            encoder(encoder.trunk_features(rows[0])),
            graph(graph.trunk_features(rows[1])),
        )
    torch.testing.assert_close(theirs.pooled, ours.pooled, atol=1e-5, rtol=0)


def test_the_fingerprint_covers_weights_and_preparation_but_not_the_new_head(folder, tmp_path):
    config = VisionTrunk(name=str(folder))
    torch.manual_seed(1)
    fingerprint = config.build().fingerprint
    torch.manual_seed(2)
    assert config.build().fingerprint == fingerprint
    assert replace(config, dim=24).build().fingerprint == fingerprint
    assert replace(config, max_frames=3).build().fingerprint != fingerprint
    other = changed(folder, tmp_path / "other", image_mean=[0.5, 0.5, 0.4])
    assert VisionTrunk(name=other).build().fingerprint != fingerprint


def test_models_that_share_a_trunk_have_heads_of_their_own(folder):
    config = VisionTrunk(name=str(folder), dim=24)
    alone = config.build().eval()
    with shared_towers():
        one, other = config.build().eval(), config.build().eval()
    frames = np.stack(pictures((64, 50)))
    for shared in (one, other):
        assert torch.equal(features(shared, frames), features(alone, frames))
    assert not torch.equal(one.head.weight, other.head.weight)


def test_a_head_trains_toward_the_texts_of_a_clip(folder, tiny_trimodal):
    torch.manual_seed(0)
    vision = VisionTrunk(name=str(folder), dim=24)
    model = replace(tiny_trimodal, vision=vision).build().train()
    objective = InfoNCE().build(("vt",))
    texts = ["a red ball bounces", "a low bell rings"]
    batch = Batch(
        ids=("one", "two"),
        text=Padded.stack(list(model.text.prepare(texts)[:, None])),
        vision=Padded.stack([model.vision.prepare(p[None]) for p in pictures((64, 50), (70, 44))]),
    )
    optimizer = torch.optim.SGD(model.vision.head.parameters(), lr=1e-3)
    trunk = {name: value.clone() for name, value in model.vision.trunk.state_dict().items()}
    rows = {"vt": torch.ones(2, dtype=torch.bool)}
    losses = []
    for _ in range(2):
        loss = sum(objective(model(batch), rows).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert all(torch.equal(v, trunk[n]) for n, v in model.vision.trunk.state_dict().items())


def changed(folder, place, **settings):
    """A copy of a folder with other settings in its processor."""
    shutil.copytree(folder, place)
    path = place / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return str(place)


def test_a_space_of_another_size_than_that_of_the_texts_is_refused(tmp_path, tiny_trimodal):
    folder = small_trunks.dinov2(tmp_path / "dinov2")
    with pytest.raises(UserError, match=r"512"):
        replace(tiny_trimodal, vision=VisionTrunk(name=str(folder))).build()


def test_pictures_of_another_size_are_refused_where_positions_are_fixed(tmp_path):
    size = {"height": 56, "width": 56}
    fixed = changed(small_trunks.ijepa(tmp_path / "ijepa"), tmp_path / "a", size=size)
    with pytest.raises(
        UserError, match="makes pictures of 56 x 56, its vision tower takes 42 x 42"
    ):
        VisionTrunk(name=fixed).build()
    free = changed(small_trunks.dinov3_vit(tmp_path / "dinov3"), tmp_path / "b", size=size)
    assert features(VisionTrunk(name=free).build(), pictures((64, 50))[0][None]).shape == (1, 32)


def test_a_missing_or_misshapen_tensor_is_refused_by_name(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    tensors = load_file(copy / "model.safetensors")
    # The last norm's: transformers gives many others the names of its first version in a file.
    [name] = [one for one in tensors if one.endswith("norm.bias") and one.count(".") == 1]
    save_file({k: v for k, v in tensors.items() if k != name}, copy / "model.safetensors")
    with pytest.raises(UserError, match=rf"lack 1 of the .* \({name}\)"):
        VisionTrunk(name=str(copy)).build()
    save_file(tensors | {name: torch.zeros(7)}, copy / "model.safetensors")
    with pytest.raises(UserError, match=rf"have 1 of another shape .* \({name}\)"):
        VisionTrunk(name=str(copy)).build()


def test_another_family_is_refused(tiny_towers):
    with pytest.raises(UserError, match="is of type 'clip', and this tower takes dinov2, dinov2_"):
        VisionTrunk(name=str(tiny_towers / "clip")).build()
