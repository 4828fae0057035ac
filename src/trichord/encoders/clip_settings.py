"""Settings that a CLIP's weights do not contain: from a config beside them, or assumed; both are noted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from transformers import CLIPConfig
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from trichord.types import UserError, first_line

Activation = Literal["quick_gelu", "gelu"]
Aspect = Literal["activation", "attention heads", "layer norm", "pictures"]
ASPECTS: tuple[Aspect, ...] = ("activation", "attention heads", "layer norm", "pictures")

CONFIGS = ("open_clip_config.json", "config.json")
"""Config files beside the weights, after a JSON file with the name of the weights file."""
PREPROCESSOR = "preprocessor_config.json"
EPSILON = 1e-5
"""Of torch's layer norm, and so of OpenAI's and open_clip's."""
WIDEST = 1024
"""Largest width of OpenAI's vision towers, with heads of 64; wider ones have 80, 88, 104 or 112."""
BICUBIC = 3
"""Pillow's number."""

_DEFAULTS: dict[str, dict[str, Any]] = {
    "text_cfg": {
        "width": 512,
        "layers": 12,
        "heads": 8,
        "context_length": 77,
        "vocab_size": 49408,
    },
    "vision_cfg": {
        "width": 768,
        "layers": 12,
        "head_width": 64,
        "patch_size": 16,
        "image_size": 224,
    },
    "preprocess_cfg": {"mean": OPENAI_CLIP_MEAN, "std": OPENAI_CLIP_STD, "size": None},
}
"""open_clip's defaults."""
_RENAMED = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "context_length": "max_position_embeddings",
}
"""Names in open_clip to names in `transformers`; the others are equal."""
_WITHOUT_EFFECT = {
    "model_cfg": {"embed_dim", "quick_gelu", "init_logit_scale", "vision_cfg", "text_cfg"},
    "text_cfg": {"mlp_ratio", "norm_kwargs", "output_tokens", "pad_id"},
    "vision_cfg": {"mlp_ratio", "norm_kwargs", "output_tokens", "patch_dropout"},
    "preprocess_cfg": {"fill_color"},
}
"""Settings that are read elsewhere, follow from the weights, or only matter in training."""
_USUAL = {
    "pool_type": {"tok", "argmax"},
    "pos_embed_type": {"learnable"},
    "interpolation": {"bicubic"},
    "resize_mode": {"shortest"},
    "mode": {"RGB"},
}
"""Values of the standard architecture; empty and false values are standard too."""
_OF_BOTH = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_act",
    "layer_norm_eps",
)
_OF_EACH = {
    "text": (*_OF_BOTH, "max_position_embeddings", "vocab_size"),
    "vision": (*_OF_BOTH, "patch_size", "image_size"),
}
"""Settings that are read from a config of `transformers`, by tower."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSettings:
    """Settings of a CLIP under the names of `transformers`.

    Attributes:
        text: Of the text tower. Sizes must match the weights. Without `num_attention_heads`, heads
            are 64 wide.
        vision: Of the vision tower.
        mean: Of pictures, by channel.
        std: Of pictures, by channel.
        sources: The source of each aspect, in words.
        file: The config that was read; None: everything is assumed.
        widest: Largest width for which heads are assumed to be 64 wide; None: any.
    """

    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    mean: tuple[float, ...] = tuple(OPENAI_CLIP_MEAN)
    std: tuple[float, ...] = tuple(OPENAI_CLIP_STD)
    sources: Mapping[Aspect, str] = field(default_factory=dict[Aspect, str])
    file: Path | None = None
    widest: int | None = None

    def with_activation(self, activation: Activation) -> "ClipSettings":
        """The same with another activation."""
        stated = " / ".join(
            dict.fromkeys(trunk["hidden_act"] for trunk in (self.text, self.vision))
        )
        source = "--activation"
        if self.file is not None and stated != activation:
            source += f"; {self.file.name} says {stated}"
        act = {"hidden_act": activation}
        return replace(
            self,
            text={**self.text, **act},
            vision={**self.vision, **act},
            sources={**self.sources, "activation": source},
        )


def openai_settings(why: str, *, widest: int | None) -> ClipSettings:
    """Settings of OpenAI's CLIPs.

    Args:
        why: The reason why they are assumed, in words.
        widest: As for `ClipSettings`.
    """
    trunk = {"hidden_act": "quick_gelu", "layer_norm_eps": EPSILON}
    return ClipSettings(
        text=trunk, vision=trunk, sources=dict.fromkeys(ASPECTS, why), widest=widest
    )


CLIP4VLA = openai_settings("by the authors' code", widest=None)
"""Of CLIP4VLA's checkpoints, which were initialised with OpenAI's CLIP."""


def settings_beside(weights: Path, activation: Activation | None) -> ClipSettings:
    """Settings of a state_dict, from a config of open_clip or `transformers` in its folder, if any.

    Args:
        weights: The file; its config is a JSON file of the same name, or one of `CONFIGS`.
        activation: Overrides the config; required if there is none.

    Raises:
        UserError: The activation is unknown, or the config is of another architecture than CLIP.
    """
    configs = _config_beside(weights)
    if configs is None:
        if activation is None:
            names = ", ".join((f"{weights.stem}.json", *CONFIGS))
            raise UserError(
                f"{weights}: its weights do not say which activation it was trained with, and no "
                f"config of a CLIP lies beside it ({names}): put one there, or give --activation "
                "quick_gelu (OpenAI; what open_clip calls -quickgelu: MetaCLIP, DFN, LAION-400M's "
                "ViT-B-32) or --activation gelu (LAION-2B, DataComp and the rest of open_clip)."
            )
        return openai_settings("assumed, as in OpenAI's models", widest=WIDEST).with_activation(
            activation
        )
    file, document = configs
    read = _of_transformers if "text_config" in document else _of_open_clip
    try:
        settings = read(file, document)
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise UserError(
            f"{file} cannot be read as the config of a CLIP ({first_line(error)}): put the model's "
            "own there, or none and give --activation."
        ) from error
    return settings.with_activation(activation) if activation else settings


def _config_beside(weights: Path) -> tuple[Path, dict[str, Any]] | None:
    """The first config of a CLIP; the folder may contain other configs."""
    for name in (f"{weights.stem}.json", *CONFIGS):
        document = _document(weights.with_name(name))
        if "model_cfg" in document or {"vision_cfg", "text_cfg"} <= document.keys():
            return weights.with_name(name), document
        if document.get("model_type") == "clip" and "text_config" in document:
            return weights.with_name(name), document
    return None


def _document(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty if it cannot be read."""
    try:
        document: object = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def _of_open_clip(file: Path, document: Mapping[str, Any]) -> ClipSettings:
    """From `open_clip_config.json`, or from the model's config alone."""
    model: dict[str, Any] = document.get("model_cfg", document)
    pictures: dict[str, Any] | None = document.get("preprocess_cfg")
    _refuse_unlike(file, "model_cfg", model)
    act = "quick_gelu" if model.get("quick_gelu") else "gelu"
    text = _trunk(file, "text_cfg", model["text_cfg"])
    vision = _trunk(file, "vision_cfg", model["vision_cfg"])
    vision["num_attention_heads"] = vision["hidden_size"] // vision.pop("head_width")
    sources = dict.fromkeys(ASPECTS, f"from {file.name}")
    if not pictures:
        sources["pictures"] = f"OpenAI's, for {file.name} has none"
    normalisation = _known(file, "preprocess_cfg", pictures or {})
    if normalisation["size"] is not None and _one(normalisation["size"]) != vision["image_size"]:
        raise ValueError(
            f"pictures of {normalisation['size']} for a tower of {vision['image_size']}"
        )
    return ClipSettings(
        text=text | {"hidden_act": act},
        vision=vision | {"hidden_act": act},
        mean=_three(normalisation["mean"]),
        std=_three(normalisation["std"]),
        sources=sources,
        file=file,
    )


def _trunk(file: Path, part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A tower's settings under the names of `transformers`."""
    norm: Mapping[str, Any] = values.get("norm_kwargs") or {}
    if odd := norm.keys() - {"eps"}:
        raise ValueError(f"{part}.norm_kwargs.{min(odd)}")
    values_of = _known(file, part, values)
    sizes = {_RENAMED.get(name, name): _one(value) for name, value in values_of.items()}
    return sizes | {"layer_norm_eps": float(norm.get("eps", EPSILON))}


def _known(file: Path, part: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A part of the config, completed by the defaults."""
    _refuse_unlike(file, part, values)
    return {name: values.get(name, value) for name, value in _DEFAULTS[part].items()}


def _refuse_unlike(file: Path, part: str, values: Mapping[str, Any]) -> None:
    """Refuse settings of other architectures than OpenAI's CLIP, and unknown settings."""
    values_of = _DEFAULTS.get(part, {}).keys() | _WITHOUT_EFFECT[part]
    for name, value in values.items():
        if name not in values_of and value and str(value) not in _USUAL.get(name, ()):
            raise UserError(
                f"{file}: {part}.{name} {json.dumps(value)}: a model with that is no CLIP of "
                "OpenAI's architecture and cannot be imported: choose another one."
            )


def _of_transformers(file: Path, document: Mapping[str, Any]) -> ClipSettings:
    """From `config.json`, and from `preprocessor_config.json` if there is one."""
    config = cast(Any, CLIPConfig.from_dict(dict(document)))
    configs = {
        part: {name: getattr(getattr(config, f"{part}_config"), name) for name in names}
        for part, names in _OF_EACH.items()
    }
    sources = dict.fromkeys(ASPECTS, f"from {file.name}")
    pictures = _document(file.with_name(PREPROCESSOR))
    sources["pictures"] = (
        f"from {PREPROCESSOR}" if pictures else f"OpenAI's, for no {PREPROCESSOR} is there"
    )
    if pictures.get("resample", BICUBIC) != BICUBIC or not pictures.get("do_center_crop", True):
        raise ValueError(f"pictures are not resized bicubically and cropped in {PREPROCESSOR}")
    return ClipSettings(
        text=configs["text"],
        vision=configs["vision"],
        mean=_three(pictures.get("image_mean", OPENAI_CLIP_MEAN)),
        std=_three(pictures.get("image_std", OPENAI_CLIP_STD)),
        sources=sources,
        file=file,
    )


def _one(value: Any) -> int:
    """A size, of a number or of two equal sides."""
    sides = cast("set[Any]", set(value) if isinstance(value, list | tuple) else {value})
    if len(sides) != 1:
        raise ValueError(f"{value} is no square")
    return int(sides.pop())


def _three(values: Any) -> tuple[float, ...]:
    configs = tuple(float(value) for value in values)
    if len(configs) != 3:
        raise ValueError(f"{values} are not the values of three channels")
    return configs
