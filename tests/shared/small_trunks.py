"""Small random models without a text space, as folders in the format of `transformers`."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BitImageProcessorPil,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    IJepaConfig,
    IJepaModel,
    ViTImageProcessorPil,
)

VIT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 14,
    "initializer_range": 0.2,
}
"""Weights are larger than usual: the vectors of two pictures should differ by far more than 1e-5."""


def _write(folder: Path, model: Any, processor: Any) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _cropping() -> BitImageProcessorPil:
    return BitImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 42, "width": 42})


def _squeezing() -> ViTImageProcessorPil:
    return ViTImageProcessorPil(
        size={"height": 42, "width": 42},
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )


def dinov2(folder: Path) -> Path:
    """A DINOv2 of 70 pixels, which reads pictures of 42 as the published ones of 518 read 224."""
    torch.manual_seed(0)
    return _write(folder, Dinov2Model(Dinov2Config(**VIT, image_size=70)), _cropping())


def dinov2_with_registers(folder: Path) -> Path:
    """The same with registers."""
    torch.manual_seed(0)
    config = Dinov2WithRegistersConfig(**VIT, image_size=70)
    return _write(folder, Dinov2WithRegistersModel(config), _cropping())


def dinov3_vit(folder: Path) -> Path:
    """A DINOv3, whose positions are rotary."""
    torch.manual_seed(0)
    config = DINOv3ViTConfig(**VIT, image_size=42, num_register_tokens=2)
    return _write(folder, DINOv3ViTModel(config), _squeezing())


def dinov3_convnext(folder: Path) -> Path:
    """A DINOv3 of convolutions: 32 wide, as the others."""
    torch.manual_seed(0)
    config = DINOv3ConvNextConfig(
        hidden_sizes=[8, 8, 16, 32],
        depths=[1, 1, 1, 1],
        initializer_range=0.2,
        layer_scale_init_value=0.5,
    )
    return _write(folder, DINOv3ConvNextModel(config), _squeezing())


def ijepa(folder: Path) -> Path:
    """An I-JEPA of 42 pixels."""
    torch.manual_seed(0)
    return _write(folder, IJepaModel(IJepaConfig(**VIT, image_size=42)), _squeezing())
