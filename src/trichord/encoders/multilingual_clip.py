"""CLIPs of other languages as encoders: MetaCLIP 2, Chinese-CLIP and AltCLIP.

Their text towers and tokenizers differ from CLIP's, their vision towers do not. Configs are those of
CLIP: the type in a model's `config.json` chooses the class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPTokenizer

from trichord.config.towers import ClipText
from trichord.encoders.clip import OTHER_LANGUAGES, ClipTextEncoder
from trichord.encoders.encoder import TextEncoder
from trichord.encoders.graph import Sizes
from trichord.encoders.pretrained import load_model, model_type
from trichord.encoders.texts import TransformersTextEncoder
from trichord.encoders.weight_cache import load_cached, shared_trunk
from trichord.types.rules import require


@dataclass(frozen=True, slots=True)
class TextFamily:
    """How the text tower of a family is read.

    Attributes:
        positions: Most tokens of a text, from its config. RoBERTa's first two positions are not used.
        pooled: The feature of a text, before the projection.
    """

    positions: Callable[[Any], int]
    pooled: Callable[[Any], Tensor]


FAMILIES = {
    # Pools the end of text.
    "metaclip_2": TextFamily(
        lambda config: config.max_position_embeddings,
        lambda read: read.pooler_output,
    ),
    # BERT's first token; trained on 52 tokens, though there are 512 positions.
    "chinese_clip": TextFamily(
        lambda config: min(52, config.max_position_embeddings),
        lambda read: read.last_hidden_state[:, 0],
    ),
    # XLM-R's first token, in the width of the space.
    "altclip": TextFamily(
        lambda config: config.max_position_embeddings - 2,
        lambda read: read.last_hidden_state[:, 0],
    ),
}


def clip_text(config: ClipText) -> TextEncoder:
    """The text tower of a CLIP of any language.

    Raises:
        UserError: No such model, or one that has no step for each token.
    """
    if config.arithmetic == "graph":  # its folder holds no config, but the tokenizer
        ours = isinstance(load_cached(AutoTokenizer, config.name), CLIPTokenizer)
    else:
        ours = model_type(config.name) not in FAMILIES
    if ours:
        return ClipTextEncoder(config)
    require(
        not config.tokens,
        f"--model.text.tokens: only OpenAI's CLIPs have a step for each token, and '{config.name}' is "
        "none: leave it out.",
    )
    return MultilingualClipTextEncoder(config)


class MultilingualClipTextEncoder(TransformersTextEncoder):
    """Token ids (text, token) to features; the head is initialised as the model's projection."""

    def __init__(self, config: ClipText) -> None:
        """Load the model.

        Raises:
            UserError: No such model, or a tokenizer of another one.
        """
        super().__init__(
            "multilingual_clip_text",
            config,
            lambda pad: _text_tower(config.name, pad),
            longest=config.longest,
        )


@shared_trunk
def _text_tower(name: str, pad: int) -> tuple[nn.Module, nn.Module, Sizes]:
    kind = model_type(name)
    model, family = load_model(OTHER_LANGUAGES[kind], name, FAMILIES), FAMILIES[kind]
    config = model.config.text_config
    head = model.text_projection
    sizes = Sizes(
        dim=head.out_features,
        width=head.in_features,
        positions=family.positions(config),
        tokens=config.vocab_size,
    )
    return _TextTrunk(model.text_model, pad, family.pooled), head, sizes


class _TextTrunk(nn.Module):
    def __init__(self, model: nn.Module, pad: int, pooled: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.pad = pad
        self.pooled = pooled

    def forward(self, ids: Int[Tensor, "text token"]) -> Float[Tensor, "text width"]:
        return self.pooled(self.model(input_ids=ids, attention_mask=(ids != self.pad).long()))
