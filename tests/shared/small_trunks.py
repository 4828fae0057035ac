"""Small random models without a text space, as folders in the format of `transformers`."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    BitImageProcessorPil,
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    HubertConfig,
    HubertModel,
    IJepaConfig,
    IJepaModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTImageProcessorPil,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2ForPreTraining,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
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


def resnet(folder: Path) -> Path:
    """A ResNet with statistics in its batch norms, saved as a classifier, as the published ones are."""
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 32], depths=[1, 1, 1])
    model = ResNetForImageClassification(config)
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(part.running_mean, std=0.3)
            torch.nn.init.uniform_(part.running_var, 0.5, 2.0)
    model.save_pretrained(folder)
    return folder


def convnext(folder: Path) -> Path:
    """A ConvNeXt, which has layer norms."""
    torch.manual_seed(0)
    config = ConvNextConfig(
        hidden_sizes=[8, 8, 16, 32],
        depths=[1, 1, 1, 1],
        initializer_range=0.2,
        layer_scale_init_value=0.5,
    )
    ConvNextModel(config).save_pretrained(folder)
    return folder


BERT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}


def ast(folder: Path) -> Path:
    """An AST of 1 s, saved as a classifier, as the published one is."""
    torch.manual_seed(0)
    config = ASTConfig(**BERT, max_length=100, num_mel_bins=32)
    extractor = ASTFeatureExtractor(max_length=100, num_mel_bins=32)
    return _write(folder, ASTForAudioClassification(config), extractor)


def whisper(folder: Path) -> Path:
    """A Whisper of 2 s with its decoder, saved as the published ones are."""
    torch.manual_seed(0)
    config = WhisperConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_source_positions=100,
        max_target_positions=16,
        num_mel_bins=24,
        vocab_size=50,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        init_std=0.2,
    )
    extractor = WhisperFeatureExtractor(feature_size=24, chunk_length=2)
    return _write(folder, WhisperForConditionalGeneration(config), extractor)


WAVES = BERT | {
    "conv_dim": (16, 16, 16),
    "conv_stride": (5, 8, 8),
    "conv_kernel": (10, 8, 8),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def wav2vec2(folder: Path) -> Path:
    """A wav2vec2 of the base form, which normalises over time; its file has more than its trunk."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(**WAVES, num_codevectors_per_group=4, codevector_dim=8)
    return _write(folder, Wav2Vec2ForPreTraining(config), Wav2Vec2FeatureExtractor())


def wav2vec2_large(folder: Path) -> Path:
    """A wav2vec2 of the large form, with an adapter, fine-tuned: it has no vector for masked frames."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        **WAVES,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        add_adapter=True,
        output_hidden_size=24,
        vocab_size=20,
    )
    model = Wav2Vec2ForCTC(config)
    _write(folder, model, Wav2Vec2FeatureExtractor(return_attention_mask=True))
    tensors = load_file(folder / "model.safetensors")
    del tensors["wav2vec2.masked_spec_embed"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def hubert(folder: Path) -> Path:
    """A HuBERT of the base form."""
    torch.manual_seed(0)
    return _write(folder, HubertModel(HubertConfig(**WAVES)), Wav2Vec2FeatureExtractor())


def hubert_batch_norm(folder: Path) -> Path:
    """A HuBERT with a batch norm before its positions, whose waves are not normalised."""
    torch.manual_seed(0)
    model = HubertModel(HubertConfig(**WAVES, conv_pos_batch_norm=True))
    norm = model.encoder.pos_conv_embed.batch_norm
    torch.nn.init.normal_(norm.bias)
    torch.nn.init.normal_(norm.running_mean)
    return _write(folder, model, Wav2Vec2FeatureExtractor(do_normalize=False))
