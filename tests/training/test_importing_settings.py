"""What no weights of a CLIP tell comes from its config, or from the user, or is refused."""

import json

import pytest
import torch
from published_model import MERGES, PATCH, SIDE, padded
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

from trichord.training.importing import NOTES, import_clip
from trichord.types import UserError
from trichord.types.tensors import Padded

ROWS, TEXT, VISION, DIM, PLACES = 514 + len(MERGES), 128, 192, 64, 20
BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
REST = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "logit_scale": "logit_scale",
}


def clip(activation="gelu", *, heads=(2, 3), epsilon=1e-5, vision=VISION):
    """A model of `transformers` with weights at which activation, heads and epsilon matter."""
    towers = {
        name: {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": 2,
            "num_attention_heads": count,
            "hidden_act": activation,
            "layer_norm_eps": epsilon,
        }
        for name, width, count in (("text", TEXT, heads[0]), ("vision", vision, heads[1]))
    }
    towers["text"] |= {"vocab_size": ROWS, "max_position_embeddings": PLACES}
    towers["text"] |= {"eos_token_id": ROWS - 1, "bos_token_id": ROWS - 2, "pad_token_id": 0}
    towers["vision"] |= {"patch_size": PATCH, "image_size": SIDE}
    config = CLIPConfig(
        text_config=towers["text"], vision_config=towers["vision"], projection_dim=DIM
    )
    torch.manual_seed(3)
    model = CLIPModel(config).eval()
    for name, value in model.named_parameters():
        scale = 0.3 if value.ndim < 2 else 1.5 * value.shape[-1] ** -0.5
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        torch.nn.init.normal_(value, mean=centre, std=scale)
    return model


def in_openais_layout(model):
    """The weights as OpenAI, open_clip and CLIP4VLA name them."""
    held = {name: value.detach() for name, value in model.state_dict().items()}
    state = {
        "text_projection": held["text_projection.weight"].T.contiguous(),
        "visual.proj": held["visual_projection.weight"].T.contiguous(),
    }
    state |= {theirs: held[ours] for ours, theirs in REST.items()}
    for ours, theirs in (("text_model", ""), ("vision_model", "visual.")):
        for n in range(2):
            layer = f"{ours}.encoder.layers.{n}."
            block = f"{theirs}transformer.resblocks.{n}."
            for kind in ("weight", "bias"):
                parts = [held[f"{layer}self_attn.{part}_proj.{kind}"] for part in "qkv"]
                state[f"{block}attn.in_proj_{kind}"] = torch.cat(parts)
                for one, other in BLOCK.items():
                    state[f"{block}{other}.{kind}"] = held[f"{layer}{one}.{kind}"]
    return state


@pytest.fixture
def brought(tmp_path):
    """Import a model's weights, with files beside them; gives the run."""

    def bring(held, activation=None, /, **beside):
        file = tmp_path / "model.safetensors"
        save_file(in_openais_layout(held), file)
        (tmp_path / "merges.txt").write_text("\n".join(["title", *MERGES, ""]))
        for stem, document in beside.items():
            text = document if isinstance(document, str) else json.dumps(document)
            (tmp_path / f"{stem}.json").write_text(text)
        return import_clip(
            str(file),
            tmp_path / "run",
            tokenizer=str(tmp_path / "merges.txt"),
            activation=activation,
        )

    return bring


def apart(run, model):
    """How far texts and frames are from those of the model itself, in units of their size."""
    ours = run.load()
    ids = ours.text.prepare(["the dog", "a bell rings"])
    frames = padded([3], 3).values[0]
    with torch.no_grad():
        text = model.get_text_features(ids)
        vision = model.get_image_features(frames)
        ones = torch.ones(len(ids), 1, dtype=torch.bool)
        read = ours.text(ours.text.trunk_features(Padded(ids[:, None], ones))).steps[:, 0]
        seen = ours.vision(ours.vision.trunk_features(padded([3], 3))).steps[0]
    pairs = ((read, text), (seen, vision))
    pairs = [(one, getattr(other, "pooler_output", other)) for one, other in pairs]
    return max(float((one - other).norm() / other.norm()) for one, other in pairs)


def open_clip(**changes):
    """The config that open_clip writes of `clip()`."""
    model = {
        "embed_dim": DIM,
        "vision_cfg": {"image_size": SIDE, "layers": 2, "width": VISION, "patch_size": PATCH},
        "text_cfg": {
            "context_length": PLACES,
            "vocab_size": ROWS,
            "width": TEXT,
            "heads": 2,
            "layers": 2,
        },
    }
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if key:
            model[part][key] = value
        else:
            model[part] = value
    return model


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_the_activation_that_is_asked_for_is_used(brought, activation):
    model, other = clip(activation), clip("gelu" if activation == "quick_gelu" else "quick_gelu")
    run = brought(model, activation)
    assert apart(run, model) < 1e-5
    assert apart(run, other) > 1e-3  # else nothing was shown
    assert run.environment()[NOTES]["activation"] == f"{activation} (--activation)"
    assert run.environment()[NOTES]["attention heads"].endswith("(assumed, as in OpenAI's models)")


def test_without_config_and_option_nothing_is_guessed(brought, tmp_path):
    with pytest.raises(
        UserError, match=r"model\.safetensors: .* give --activation quick_gelu"
    ) as no:
        brought(clip())
    assert "\n" not in str(no.value)
    assert "(model.json, open_clip_config.json, config.json)" in str(no.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("where", ["open_clip_config", "model"])
def test_a_config_of_open_clip_tells_the_activation(brought, where, quick):
    model = clip("quick_gelu" if quick else "gelu")
    document = open_clip(**{"quick_gelu": True} if quick else {})
    if where == "open_clip_config":
        document = {"model_cfg": document, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    run = brought(model, **{where: document})
    assert apart(run, model) < 1e-5
    notes = run.environment()[NOTES]
    assert notes["activation"] == f"{'quick_gelu' if quick else 'gelu'} (from {where}.json)"
    processor = run.load().vision.processor
    if where == "model":
        assert notes["pictures"].endswith("(OpenAI's, for model.json has none)")
        assert processor.image_mean[0] == pytest.approx(0.48145466)
    else:
        assert notes["pictures"] == (
            "mean 0.5 0.5 0.5, standard deviation 0.25 0.25 0.25 (from open_clip_config.json)"
        )
        assert list(processor.image_std) == [0.25] * 3


def test_heads_and_epsilon_come_from_the_config(brought):
    model = clip(heads=(4, 12), epsilon=1e-2)
    norm = {"text_cfg__norm_kwargs": {"eps": 1e-2}, "vision_cfg__norm_kwargs": {"eps": 1e-2}}
    run = brought(model, model=open_clip(text_cfg__heads=4, vision_cfg__head_width=16, **norm))
    assert apart(run, model) < 1e-5
    assert run.environment()[NOTES]["attention heads"] == (
        "4 of text, 12 of vision (from model.json)"
    )


def test_a_config_of_transformers_tells_everything_too(brought):
    model = clip("gelu", heads=(4, 12), epsilon=1e-2)
    pictures = CLIPImageProcessorPil(image_mean=[0.1, 0.2, 0.3]).to_dict()
    run = brought(model, config=model.config.to_dict(), preprocessor_config=pictures)
    assert apart(run, model) < 1e-5
    notes = run.environment()[NOTES]
    assert notes["activation"] == "gelu (from config.json)"
    assert notes["pictures"].endswith("(from preprocessor_config.json)")
    assert list(run.load().vision.processor.image_mean) == [0.1, 0.2, 0.3]


def test_the_option_counts_for_more_than_the_config_and_says_so(brought):
    model = clip("gelu")
    run = brought(model, "gelu", model=open_clip(quick_gelu=True))
    assert apart(run, model) < 1e-5
    assert run.environment()[NOTES]["activation"] == (
        "gelu (--activation; model.json says quick_gelu)"
    )


def test_configs_of_other_things_are_passed_over(brought):
    for document in ("{", "[]", "{}", '{"model_type": "bert", "text_config": {}}'):
        with pytest.raises(UserError, match="no config of a CLIP lies beside it"):
            brought(clip(), config=document)
    assert brought(clip(), model="[1]", open_clip_config=open_clip()).complete


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (open_clip(vision_cfg__width=256), "vision hidden_size 256, 192 in the weights"),
        (open_clip(text_cfg__layers=12), "text num_hidden_layers 12, 2 in the weights"),
        (open_clip(text_cfg__heads=3), "3 heads do not divide the 128 dimensions of a tower"),
        (open_clip(vision_cfg__pool_type="avg"), r'vision_cfg\.pool_type "avg": .* cannot be'),
        (open_clip(vision_cfg__no_ln_pre=True), r"vision_cfg\.no_ln_pre true"),
        (open_clip(text_cfg__no_causal_mask=True), r"text_cfg\.no_causal_mask true"),
        (open_clip(vision_cfg__timm_model_name="x"), r'vision_cfg\.timm_model_name "x"'),
        (open_clip(multimodal_cfg={"width": 2}), r"model_cfg\.multimodal_cfg"),
        (open_clip(vision_cfg__norm_kwargs={"bias": 1}), r"norm_kwargs\.bias"),
        (open_clip(vision_cfg__image_size=[32, 48]), r"\[32, 48\] is no square"),
        (open_clip(vision_cfg__width="wide"), "cannot be read as the config"),
        (open_clip(text_cfg=None), "cannot be read as the config"),
        (
            {"model_cfg": open_clip(), "preprocess_cfg": {"resize_mode": "squash"}},
            r'preprocess_cfg\.resize_mode "squash"',
        ),
        (
            {"model_cfg": open_clip(), "preprocess_cfg": {"size": 64}},
            "pictures of 64 for a tower of 32",
        ),
        ({"model_cfg": open_clip(), "preprocess_cfg": {"mean": [0.5]}}, "three channels"),
    ],
)
def test_configs_that_do_not_fit_are_refused_in_one_line(brought, tmp_path, document, told):
    with pytest.raises(UserError, match=told) as refused:
        brought(clip(), open_clip_config=document)
    assert "\n" not in str(refused.value)
    assert str(tmp_path / "open_clip_config.json") in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_values_that_change_nothing_are_no_reason_to_refuse(brought):
    usual = {
        "vision_cfg__pool_type": "tok",
        "vision_cfg__ls_init_value": None,
        "vision_cfg__patch_dropout": 0.5,
        "text_cfg__pool_type": "argmax",
        "text_cfg__no_causal_mask": False,
    }
    shown = {"interpolation": "bicubic", "resize_mode": "shortest", "size": [SIDE, SIDE]}
    document = {"model_cfg": open_clip(**usual), "preprocess_cfg": shown}
    assert brought(clip(), open_clip_config=document).complete


def test_a_tower_wider_than_openais_needs_a_config(brought, tmp_path):
    wide = clip(heads=(2, 16), vision=1280)
    with pytest.raises(UserError, match=r"a tower 1280 wide is none of OpenAI's") as refused:
        brought(wide, "gelu")
    assert "\n" not in str(refused.value)
    run = brought(wide, model=open_clip(vision_cfg__width=1280, vision_cfg__head_width=80))
    assert apart(run, wide) < 1e-5


def test_a_folder_says_itself_which_activation(brought, tmp_path):
    held = brought(clip("gelu"), "gelu").path / "clip"
    run = import_clip(str(held), tmp_path / "again")
    assert apart(run, clip("gelu")) < 1e-5
    assert run.environment()[NOTES]["activation"] == "gelu (from its config)"
    with pytest.raises(UserError, match="--activation is for a state_dict"):
        import_clip(str(held), tmp_path / "third", activation="gelu")
