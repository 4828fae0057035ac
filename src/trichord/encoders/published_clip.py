"""Published CLIP weights with the names of `transformers`, and CLIP4VLA's audio tower with ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from trichord.encoders.byte_pairs import load_tokenizer, read_tokenizer
from trichord.encoders.clip_audio import ClipAudioTrunk
from trichord.encoders.clip_settings import ASPECTS, Aspect, ClipSettings
from trichord.encoders.pretrained import load, load_model
from trichord.encoders.published import PublishedTensors, block_names
from trichord.types import UserError
from trichord.types.files import write_atomically

HEAD_WIDTH = 64
"""Width of attention heads in OpenAI's models: their number is not in the weights."""
FROM_CONFIG = dict.fromkeys(ASPECTS, "from its config")

_BLOCK = {
    "attn.in_proj_{}": "self_attn.*_proj.{}",
    "attn.out_proj.{}": "self_attn.out_proj.{}",
    "ln_1.{}": "layer_norm1.{}",
    "mlp.c_fc.{}": "mlp.fc1.{}",
    "mlp.c_proj.{}": "mlp.fc2.{}",
    "ln_2.{}": "layer_norm2.{}",
}
_TEXT = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "logit_scale": "logit_scale",
}
_VISION = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
}
_SOUND = {
    "class_embedding": "trunk.class_embedding",
    "conv1.weight": "trunk.patches.weight",
    "positional_embedding": "trunk.positions",
    "control_embedding": "trunk.tokens",
    "ln_pre.weight": "trunk.before.weight",
    "ln_pre.bias": "trunk.before.bias",
    "ln_post.weight": "trunk.after.weight",
    "ln_post.bias": "trunk.after.bias",
    "proj": "head.weight",
}


@dataclass(frozen=True, slots=True)
class ClipTowers:
    """A CLIP in the format of `transformers`: config, weights, tokenizer and image processor.

    `sources` has the source of each setting that is not in the weights.
    """

    config: CLIPConfig
    state: Mapping[str, Tensor]
    tokenizer: CLIPTokenizer
    processor: CLIPImageProcessorPil
    sources: Mapping[Aspect, str]

    @property
    def dim(self) -> int:
        """Of the shared space."""
        return cast(Any, self.config).projection_dim

    @property
    def text_heads(self) -> int:
        """Attention heads of the text tower."""
        return cast(Any, self.config.text_config).num_attention_heads

    @property
    def vision(self) -> Any:
        """Sizes of the vision tower."""
        return self.config.vision_config

    @property
    def notes(self) -> dict[str, str]:
        """Settings that are not in the weights, and their sources."""
        text, vision = cast(Any, self.config).text_config, self.vision
        acts, norms = (
            " / ".join(dict.fromkeys(str(getattr(one, name)) for one in (text, vision)))
            for name in ("hidden_act", "layer_norm_eps")
        )
        heads = f"{text.num_attention_heads} of text, {vision.num_attention_heads} of vision"
        mean, std = (
            " ".join(f"{value:.4g}" for value in getattr(self.processor, name))
            for name in ("image_mean", "image_std")
        )
        used: dict[Aspect, str] = {
            "activation": acts,
            "attention heads": heads,
            "layer norm": f"epsilon {norms}",
            "pictures": f"mean {mean}, standard deviation {std}",
        }
        return {name: f"{value} ({self.sources[name]})" for name, value in used.items()}

    def write(self, folder: Path) -> None:
        """Write a folder in the `transformers` format, with weights as safetensors."""
        for part in (self.tokenizer, self.processor, self.config):
            part.save_pretrained(folder)
        write_atomically(folder / "model.safetensors", save(dict(self.state), {"format": "pt"}))


def require_clip(clip: PublishedTensors) -> None:
    """Refuse other models, before settings are needed.

    Raises:
        UserError: It has no table of tokens, or its vision tower is no transformer.
    """
    if any(name.startswith(("visual.layer1.", "visual.attnpool.")) for name in clip.tensors):
        raise UserError(
            f"{clip.file} is a CLIP with a ResNet: choose one with a vision transformer (ViT)."
        )
    clip.shape("token_embedding.weight", 2)


def towers_of_state(clip: PublishedTensors, tokenizer: str, settings: ClipSettings) -> ClipTowers:
    """A CLIP from a state_dict in OpenAI's layout; sizes follow from the tensors.

    Args:
        clip: The state_dict; CLIP4VLA's has three tokens more than CLIP's.
        tokenizer: As for `read_tokenizer`.
        settings: Settings that are not in the tensors.

    Raises:
        UserError: A key is unknown or missing, a tensor has another shape, the vision tower is no
            transformer, or the tokenizer or the settings do not fit.
    """
    require_clip(clip)
    words = read_tokenizer(tokenizer, clip.shape("token_embedding.weight", 2)[0])
    words.model_max_length = clip.shape("positional_embedding", 2)[0]
    config = _config(clip, words, settings)
    _refuse_other_sizes(clip, config, settings)
    vision: Any = config.vision_config
    side = {"height": vision.image_size, "width": vision.image_size}
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": vision.image_size},
        crop_size=side,
        image_mean=list(settings.mean),
        image_std=list(settings.std),
    )
    names = _TEXT | _VISION
    trunks = {"": "text_model.encoder.layers.", "visual.": "vision_model.encoder.layers."}
    for trunk, ours in trunks.items():
        blocks = f"{trunk}transformer.resblocks."
        names |= block_names(blocks, ours, clip.depth(blocks), _BLOCK)
    state = clip.renamed(names, _empty_clip(config))
    return ClipTowers(config, state, words, processor, settings.sources)


def _config(clip: PublishedTensors, tokenizer: CLIPTokenizer, settings: ClipSettings) -> CLIPConfig:
    _, dim = clip.shape("text_projection", 2)
    rows, text_width = clip.shape("token_embedding.weight", 2)
    width, channels, patch, _ = clip.shape("visual.conv1.weight", 4)
    places, _ = clip.shape("visual.positional_embedding", 2)
    text: dict[str, object] = {
        "vocab_size": rows,
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision: dict[str, object] = {
        "num_channels": channels,
        "patch_size": patch,
        "image_size": patch * round(max(0, places - 1) ** 0.5),
    }
    config = CLIPConfig(
        text_config=text | _trunk(clip, "", text_width, settings) | {"projection_dim": dim},
        vision_config=vision | _trunk(clip, "visual.", width, settings) | {"projection_dim": dim},
        projection_dim=dim,
    )
    config.architectures = ["CLIPModel"]
    return config


def _trunk(
    clip: PublishedTensors, trunk: str, width: int, settings: ClipSettings
) -> dict[str, object]:
    """Sizes and settings of a tower."""
    given = settings.vision if trunk else settings.text
    blocks = f"{trunk}transformer.resblocks."
    return {
        "hidden_size": width,
        "intermediate_size": clip.shape(f"{blocks}0.mlp.c_fc.weight", 2)[0],
        "num_hidden_layers": clip.depth(blocks),
        "num_attention_heads": _heads(clip, width, settings, given.get("num_attention_heads")),
        "hidden_act": given["hidden_act"],
        "layer_norm_eps": given["layer_norm_eps"],
    }


def _heads(clip: PublishedTensors, width: int, settings: ClipSettings, given: int | None) -> int:
    """From the config, or as in OpenAI's models."""
    if given:
        if width % given:
            raise UserError(
                f"{settings.file}: {given} heads do not divide the {width} dimensions of a tower of "
                f"{clip.file}: put the model's own config there."
            )
        return given
    if not width or width % HEAD_WIDTH:
        raise UserError(
            f"{clip.file}: {width} dimensions are no multiple of {HEAD_WIDTH}, the width of an "
            "attention head in CLIP: put the model's open_clip_config.json beside the file, or give "
            "its folder in the transformers format."
        )
    if settings.widest is not None and width > settings.widest:
        raise UserError(
            f"{clip.file}: a tower {width} wide is none of OpenAI's, and its weights do not say how "
            "many attention heads it has (ViT-H, -g and -bigG have wider ones): put the model's "
            "open_clip_config.json beside the file."
        )
    return width // HEAD_WIDTH


def _refuse_other_sizes(clip: PublishedTensors, config: CLIPConfig, settings: ClipSettings) -> None:
    """Refuse a config of another model than the weights."""
    parts = {"text": settings.text, "vision": settings.vision}
    for part, given in parts.items():
        config_part: Any = getattr(config, f"{part}_config")
        for name, value in given.items():
            if (stored := getattr(config_part, name)) != value:
                raise UserError(
                    f"{settings.file} is of another model than {clip.file}: {part} {name} {value}, "
                    f"{stored} in the weights: put the model's own config there, or none and give "
                    "--activation."
                )


def load_towers(name: str) -> ClipTowers:
    """A CLIP by folder or hub name.

    Raises:
        UserError: It cannot be loaded, or its weights are not those of a CLIP.
    """
    model = load_model(CLIPModel, name, {"clip"})
    return ClipTowers(
        model.config,
        model.state_dict(),
        load_tokenizer(name),
        load(CLIPImageProcessorPil, name),
        FROM_CONFIG,
    )


def audio_state(audio: PublishedTensors, towers: ClipTowers) -> dict[str, Tensor]:
    """The state of CLIP4VLA's audio tower with the names of `ClipAudioEncoder`.

    A tower trained without audio type tokens gets zeros for them and for their position: it must use
    the token `none`.

    Args:
        audio: The tensors of its checkpoint below `audio.visual.`.
        towers: The CLIP beside it; its vision tower has the same sizes.

    Raises:
        UserError: A key is unknown or missing, or a tensor has another shape.
    """
    vision = towers.vision
    names = _SOUND | block_names(
        "transformer.resblocks.", "trunk.layers.layers.", vision.num_hidden_layers, _BLOCK
    )
    model: Any = _empty_clip(towers.config)
    with torch.device("meta"):
        trunk = ClipAudioTrunk(model.vision_model, (vision.image_size, vision.image_size))
    tower = nn.ModuleDict({"trunk": trunk, "head": model.visual_projection})
    return _with_tokens(audio).renamed(names, tower)


def has_audio_type_tokens(audio: PublishedTensors) -> bool:
    """Whether the tower was trained with audio type tokens."""
    return "control_embedding" in audio.tensors


def _with_tokens(audio: PublishedTensors) -> PublishedTensors:
    if has_audio_type_tokens(audio):
        return audio
    _, width = audio.shape("positional_embedding", 2)
    table = audio.tensors["positional_embedding"]
    added = {
        "positional_embedding": torch.cat([table, table.new_zeros(1, width)]),
        "control_embedding": table.new_zeros(2, width),
    }
    return PublishedTensors(audio.file, {**audio.tensors, **added}, audio.prefix)


def _empty_clip(config: CLIPConfig) -> CLIPModel:
    with torch.device("meta"):
        return CLIPModel(config)
