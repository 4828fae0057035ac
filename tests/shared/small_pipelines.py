"""Small random models of `sentence-transformers`, written by that package."""

import json
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from small_families import TOWER, tokenizer
from transformers import BertConfig, BertModel, Qwen2Config, Qwen2Model

PROMPTS = {"query": "search: ", "document": "title: ", "clustering": "group: "}


def _write(folder: Path, *modules: torch.nn.Module) -> Path:
    model = SentenceTransformer(modules=list(modules), prompts=PROMPTS, device="cpu")
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


def bert(folder: Path, *, include_prompt: bool = True) -> Path:
    """A BERT of 40 tokens, its mean, a projection to 24 numbers, and a normalisation."""
    torch.manual_seed(0)
    config = BertConfig(
        **TOWER,
        num_attention_heads=4,
        vocab_size=512,
        max_position_embeddings=40,
        initializer_range=0.2,
    )
    source = folder.with_name(f"{folder.name}-source")
    BertModel(config).save_pretrained(source)
    tokenizer(40).save_pretrained(source)
    return _write(
        folder,
        Transformer(str(source)),
        Pooling(32, include_prompt=include_prompt),
        Dense(32, 24),
        Normalize(),
    )


def decoder(folder: Path) -> Path:
    """A decoder of 48 tokens, padded at the start, of whose texts the last token counts."""
    torch.manual_seed(0)
    config = Qwen2Config(
        **TOWER,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=512,
        max_position_embeddings=48,
        initializer_range=0.2,
    )
    source = folder.with_name(f"{folder.name}-source")
    Qwen2Model(config).save_pretrained(source)
    words = tokenizer(48)
    words.padding_side = "left"
    words.save_pretrained(source)
    return _write(folder, Transformer(str(source)), Pooling(32, pooling_mode="lasttoken"))


def joint(folder: Path, source: Path) -> Path:
    """A CLIP or CLAP in a folder of `transformers`, with a normalisation."""
    return _write(folder, Transformer(str(source)), Normalize())


def projected(folder: Path, source: Path, width: int = 16) -> Path:
    """A CLIP or CLAP of 24 numbers, with a projection that `transformers` does not know."""
    torch.manual_seed(0)
    return _write(folder, Transformer(str(source)), Dense(24, width), Normalize())


def older(folder: Path, source: Path) -> Path:
    """A CLIP as version 2 of the package wrote it: in a folder of its own, by another class."""
    written = projected(folder, source)
    place = folder / "0_CLIPModel"
    place.mkdir()
    for path in list(written.iterdir()):
        mine = path.name.startswith(("config_sentence", "modules")) or path.is_dir()
        if not mine and path.name != "sentence_bert_config.json":
            path.rename(place / path.name)
    (folder / "sentence_bert_config.json").unlink()
    listed = json.loads((folder / "modules.json").read_text())
    listed[0] |= {"path": place.name, "type": "sentence_transformers.models.CLIPModel"}
    listed[1] |= {"type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder
