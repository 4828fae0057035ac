"""Small random models of today's families, as folders in the format of `transformers`."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    CLIPImageProcessorPil,
    EmbeddingGemma2Config,
    EmbeddingGemma2Model,
    Gemma4AudioFeatureExtractor,
    Gemma4ImageProcessorPil,
    MetaClip2Config,
    MetaClip2Model,
    PeAudioConfig,
    PeAudioFeatureExtractor,
    PeAudioModel,
    PeAudioVideoConfig,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

SPOKEN = (
    "a dog barks while it rains",
    "un café près de l'été, naïve façade",
    "собака лает на улице",
    "قطة تنام على السرير",
    "一只猫在睡觉",
    "😀 🐕 🎻",
)
"""Texts in five scripts and emoji."""
TOWER = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}


def tokenizer(
    longest: int, *, pad: int = 0, marks: tuple[str, ...] = ()
) -> PreTrainedTokenizerFast:
    """Byte pairs of any script, start and end tokens, and `marks`; `pad` is 0, or 1 as XLM-R's."""
    start = 1 - pad
    fast = Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.train_from_iterator(
        SPOKEN,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=[
                *(("<s>", "<pad>") if pad else ("<pad>", "<s>")),
                "</s>",
                "<unk>",
                *marks,
            ],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", start), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=longest,
    )


def siglip(folder: Path, *, seed: int = 0, side: int = 32) -> Path:
    """A SigLIP of one resolution (SigLIP 2's are of the same type)."""
    torch.manual_seed(seed)
    words = tokenizer(16)
    text = {"vocab_size": 512, "max_position_embeddings": 16, "projection_size": 32}
    text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    heads = {"num_attention_heads": 4}
    config = SiglipConfig(
        text_config=TOWER | heads | text,
        vision_config=TOWER | heads | {"image_size": side, "patch_size": 16},
    )
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": side, "width": side}).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def naflex(folder: Path, *, seed: int = 0) -> Path:
    """A SigLIP 2 with native aspect ratio: at most 12 patches of 16 pixels."""
    torch.manual_seed(seed)
    words = tokenizer(16)
    text = {"vocab_size": 512, "max_position_embeddings": 16, "projection_size": 32}
    text |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    heads = {"num_attention_heads": 4}
    config = Siglip2Config(
        text_config=TOWER | heads | text,
        vision_config=TOWER | heads | {"num_patches": 16, "patch_size": 16},
    )
    Siglip2Model(config).save_pretrained(folder)
    Siglip2ImageProcessorPil(patch_size=16, max_num_patches=12).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def _other_clip(folder: Path, model: Any, config: Any, text: dict[str, int], pad: int = 0) -> Path:
    """A CLIP of another language, with its text tower and tokenizer."""
    torch.manual_seed(0)
    words = tokenizer(text["max_position_embeddings"], pad=pad)
    sizes = TOWER | {"num_attention_heads": 4}
    ends = {"vocab_size": 512, "bos_token_id": 1 - pad, "eos_token_id": 2, "pad_token_id": pad}
    vision = sizes | {"image_size": 32, "patch_size": 16}
    whole = config(
        text_config=sizes | ends | text,
        vision_config=vision,
        projection_dim=text.get("project_dim", 24),
    )
    model(whole).save_pretrained(folder)
    square = {"height": 32, "width": 32}
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def metaclip2(folder: Path) -> Path:
    """A MetaCLIP 2, with 24 tokens."""
    return _other_clip(
        folder, MetaClip2Model, MetaClip2Config, {"max_position_embeddings": 24}, pad=1
    )


def chinese_clip(folder: Path) -> Path:
    """A Chinese-CLIP, with 64 positions."""
    return _other_clip(folder, ChineseCLIPModel, ChineseCLIPConfig, {"max_position_embeddings": 64})


def altclip(folder: Path) -> Path:
    """An AltCLIP, with 24 tokens."""
    text = {"max_position_embeddings": 26, "project_dim": 24}
    return _other_clip(folder, AltCLIPModel, AltCLIPConfig, text, pad=1)


PE_TEXT = {
    "num_attention_heads": 4,
    "vocab_size": 512,
    "max_position_embeddings": 24,
    "local_attention": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "cls_token_id": 1,
    "eos_token_id": 2,
    "sep_token_id": 2,
}
PE_AUDIO = {
    "hidden_size": 48,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "head_dim": 12,
    "dac_config": {
        "encoder_hidden_size": 4,
        "downsampling_ratios": [2, 4, 8],
        "hidden_size": 24,
        "codebook_dim": 8,
    },
}
PE_RATE, PE_HOP = 1_600, 64


def pe_audio(folder: Path, *, hop: int = PE_HOP, tie: bool | None = None) -> Path:
    """A PE-A with 24 tokens, on sound of 1.6 kHz.

    Args:
        folder: To write.
        hop: Of the preprocessor.
        tie: Whether the text's last state is normalised; None: the config does not say.
    """
    torch.manual_seed(0)
    text = TOWER | PE_TEXT | ({} if tie is None else {"tie_last_hidden_states": tie})
    model = PeAudioModel(PeAudioConfig(text_config=text, audio_config=PE_AUDIO))
    with torch.no_grad():
        for name, value in model.named_parameters():
            # As written, biases are zero and the codec hardly reacts to padding; and two normalisations
            # of weight 1 are as good as one.
            if "dac_encoder" in name or "final_norm" in name:
                value.normal_(std=0.2)
    model.save_pretrained(folder)
    PeAudioFeatureExtractor(sampling_rate=PE_RATE, hop_length=hop).save_pretrained(folder)
    tokenizer(24).save_pretrained(folder)
    return folder


def pe_audio_video(folder: Path) -> Path:
    """The audio and text towers of `pe_audio`, in a checkpoint of the whole PE-AV.

    Without `timm` the whole model cannot be built: its tensors are renamed as its class names them. Those
    of its vision tower are missing, except its text head.
    """
    pe_audio(folder)
    tensors = load_file(folder / "model.safetensors")
    inner = {
        k if k.startswith("text_model.") else f"audio_model.{k}": v for k, v in tensors.items()
    }
    head = {k: v for k, v in inner.items() if ".text_audio_head." in k}
    vision = {
        k.replace("audio_model.text_audio", "video_model.text_video"): v.flip(0).contiguous()
        for k, v in head.items()
    }
    copies = {
        f"audio_model.{k}": v.clone() for k, v in tensors.items() if k.startswith("text_model.")
    }
    save_file(inner | vision | copies, folder / "model.safetensors", {"format": "pt"})
    audio = {"model_type": "pe_audio_encoder"} | PE_AUDIO
    video = {"model_type": "pe_video_encoder", "hidden_size": 48, "num_hidden_layers": 1}
    whole = {"audio_config": audio, "video_config": video, "hidden_size": 48}
    PeAudioVideoConfig(text_config=TOWER | PE_TEXT, audio_video_config=whole).save_pretrained(
        folder
    )
    return folder


MARKS = ("<|image>", "<|image|>", "<image|>", "<|audio>", "<|audio|>", "<audio|>")
GEMMA_TEXT = {
    "vocab_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "global_head_dim": 16,
    "sliding_window": 6,
    "sliding_window_pattern": 2,
    "hidden_size_per_layer_input": 8,
    "embedding_dim": 24,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA_VISION = TOWER | {
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "position_embedding_size": 512,
    "patch_size": 4,
}
GEMMA_AUDIO = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "subsampling_conv_channels": [32, 4],
    "output_proj_dims": 32,
}
GEMMA_PROMPTS = {"query": "a dog | ", "document": "title: none | text: "}


def embedding_gemma(folder: Path, *, towers: str = "vision audio", **image: int) -> Path:
    """An EmbeddingGemma 2 with 128 tokens.

    Args:
        folder: To write.
        towers: Those that it has beside the language model.
        image: Settings of the image processor.
    """
    torch.manual_seed(0)
    first = 4  # after the four special tokens of `tokenizer`
    names = ("boi_token_id", "image_token_id", "eoi_token_id")
    names += ("boa_token_id", "audio_token_id", "eoa_token_index")
    ids = {name: first + place for place, name in enumerate(names)}
    config = EmbeddingGemma2Config(
        text_config=TOWER | GEMMA_TEXT,
        vision_config=GEMMA_VISION if "vision" in towers else None,
        audio_config=GEMMA_AUDIO if "audio" in towers else None,
        video_token_id=511,
        **ids,
    )
    model = EmbeddingGemma2Model(config)
    with torch.no_grad():
        for value in model.parameters():
            if (
                value.ndim > 1
            ):  # as written they are so small that all inputs have nearly one vector
                value.normal_(std=0.2)
    model.save_pretrained(folder)
    tokenizer(128, marks=MARKS).save_pretrained(folder)
    parts = {
        "image_processor": Gemma4ImageProcessorPil(**{"patch_size": 4} | image),
        "feature_extractor": Gemma4AudioFeatureExtractor(feature_size=32),
    }
    processor = {name: json.loads(part.to_json_string()) for name, part in parts.items()}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    prompts = {"prompts": GEMMA_PROMPTS, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    return folder
