"""CLIP's text and vision towers (Radford et al., 2021) as encoders."""

import re
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import (
    AltCLIPModel,
    ChineseCLIPModel,
    CLIPImageProcessorPil,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
    MetaClip2Model,
)

from trichord.config.towers import ClipText, ClipVision
from trichord.encoders.frames import Pooler, TransformersVisionEncoder, frame_plan, require_size
from trichord.encoders.graph import Sizes, load_graph
from trichord.encoders.patch_dropout import drop_patches
from trichord.encoders.pretrained import load_model, require_type
from trichord.encoders.text_kv_cache import TextKVCache
from trichord.encoders.tokenizer import require_fit, tokenizer_digest
from trichord.encoders.weight_cache import load_cached, shared_trunk
from trichord.encoders.words import WordEncoder
from trichord.types.tensors import Features, Padded

MAX_TOKENS = 77
OTHER_LANGUAGES = {
    "metaclip_2": MetaClip2Model,
    "chinese_clip": ChineseCLIPModel,
    "altclip": AltCLIPModel,
}
"""CLIPs whose towers are read from the whole model: alone they have no projection, or one of the size that
another place of the config names."""
WIDTH_STEP = 8
"""Texts are padded to a multiple of this many tokens, so that there are few different widths."""


class ClipTextEncoder(WordEncoder):
    """Token ids to features; the head is initialised as CLIP's text projection, without bias.

    A caption has one step, its end-of-text feature, or with `tokens` a step per token, the end of text
    last; `pooled` is the end of text in both cases.
    """

    english = True

    def __init__(self, config: ClipText) -> None:
        """Load the model.

        Raises:
            UserError: No such model.
        """
        trunk, head, sizes = (
            load_graph(config.name, self.lengths)
            if config.arithmetic == "graph"
            else _text_tower(config.name, config.tokens)
        )
        self.tokenizer: Any = load_cached(CLIPTokenizer, config.name)
        require_fit(self.tokenizer, config.name, sizes.tokens)
        self.tokens = config.tokens
        self.end: int = self.tokenizer.eos_token_id
        self._longest = min(config.longest, sizes.positions)
        self.max_tokens = self._longest
        preparation = {
            "kind": "clip_text",
            "max_tokens": self.max_tokens,
            "tokenizer": tokenizer_digest(self.tokenizer),
        }
        preparation |= {"tokens": True} if config.tokens else {}
        super().__init__(trunk, head, sizes.width, preparation, dim=sizes.dim)
        self.set_arithmetic(config.arithmetic)

    def lengths(self, inputs: Int[Tensor, "step token"]) -> Int[Tensor, " step"]:
        """Tokens of each text, start and end included."""
        return lengths(inputs, self.end)

    def prepare(self, texts: list[str]) -> Int[Tensor, "step token"]:
        """Token ids, truncated to the model's length (77 for CLIP), padded to the longest text."""
        return tokenize(self.tokenizer, texts, self._longest)

    def count_cut(self, texts: list[str]) -> int:
        """Number of texts that are truncated."""
        return count_longer(self.tokenizer, texts, self._longest)

    def words(self, texts: list[str]) -> list[Int[Tensor, " token"]]:
        """Token ids of each text, start and end included, truncated to the model's length."""
        ids = tokenize(self.tokenizer, texts, self._longest)
        counts = self.lengths(ids).tolist()
        return [row[:count] for row, count in zip(ids, counts, strict=True)]

    def decode(self, words: list[int]) -> str:
        """The text of token ids: lower case, spaces around punctuation."""
        return self.tokenizer.decode(words, skip_special_tokens=True).strip()

    @property
    def table(self) -> Float[Tensor, "token width"]:
        """The token embeddings; a captioner uses them as output weights."""
        trunk: Any = self.trunk.model
        return trunk.embeddings.token_embedding.weight

    @property
    def start(self) -> int:
        """The start token."""
        return self.tokenizer.bos_token_id

    @property
    def forbidden_tokens(self) -> Bool[Tensor, " token"]:
        """Special tokens except the end, and embeddings without a token in the tokenizer."""
        forbidden = torch.ones(len(self.table), dtype=torch.bool, device=self.table.device)
        forbidden[: len(self.tokenizer)] = False
        forbidden[self.tokenizer.all_special_ids] = True
        forbidden[self.end] = False
        return forbidden

    def token_cache(self) -> TextKVCache:
        """An empty cache."""
        return TextKVCache(self)

    def trunk_features(
        self, inputs: Padded, audio_type: Float[Tensor, " batch"] | None = None
    ) -> Padded:
        """Apply the trunk: (batch, 1, token) ids to (batch, 1 or token, width) features."""
        if not self.tokens:
            return super().trunk_features(inputs)
        ids, present = inputs.values[:, 0], inputs.mask.any(dim=1)
        longest = ids.shape[1]
        step = torch.arange(longest, device=ids.device)
        mask = (step < self.lengths(ids)[:, None]) & present[:, None]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trunk_trains):
            features = self.run_trunk(ids[present])
        values = features.new_zeros((*mask.shape, self.width))
        values[present] = features.reshape(-1, longest, self.width)
        return Padded(values * mask.unsqueeze(-1), mask)

    def forward(self, features: Padded) -> Features:
        """Project trunk features into the shared space; the end of text is the caption's vector."""
        if not self.tokens:
            return super().forward(features)
        steps = self.head(features.values)
        last = features.mask.sum(dim=1).clamp(min=1) - 1
        ends = steps[torch.arange(len(steps), device=steps.device), last]
        ends = ends.float() * features.mask.any(dim=1, keepdim=True)
        return Features(F.normalize(ends, dim=-1), steps, features.mask)


@shared_trunk
def _text_tower(name: str, tokens: bool) -> tuple[nn.Module, nn.Module, Sizes]:
    model = load_model(CLIPTextModelWithProjection, name, ClipText.types)
    sizes = Sizes(
        dim=model.config.projection_dim,
        width=model.config.hidden_size,
        positions=model.config.max_position_embeddings,
        tokens=model.config.vocab_size,
    )
    return _TextTrunk(model.text_model, tokens), model.text_projection, sizes


class _TextTrunk(nn.Module):
    def __init__(self, model: nn.Module, tokens: bool) -> None:
        super().__init__()
        self.model = model
        self.tokens = tokens

    def forward(self, ids: Int[Tensor, "step token"]) -> Float[Tensor, "step *token width"]:
        # No padding mask: attention is causal, so padding cannot affect the end token.
        read = self.model(input_ids=ids)
        return read.last_hidden_state if self.tokens else read.pooler_output


_NEEDLESS = (
    (re.compile(r"(?<=\w) ?- ?(?=\w)"), "-"),
    (re.compile(r" (?=[.,;:!?%)\]])|(?<=[(\[]) "), ""),
    (re.compile(r"(?<=\w) (?='(?:s|t|re|ve|m|ll|d)\b)"), ""),
    (re.compile(r'" ?([^"]*?) ?"'), r'"\1"'),
)
"""Spaces to remove, and their replacements."""


def restore_spacing(text: str) -> str:
    """A text of CLIP's tokenizer with usual spaces around punctuation.

    The tokenizer does not keep the original spaces, so they are guessed.
    """
    for needless, instead in _NEEDLESS:
        text = needless.sub(instead, text)
    return " ".join(text.split())


def lengths(ids: Int[Tensor, "step token"], end: int) -> Int[Tensor, " step"]:
    """Tokens of each text up to and including its first end of text; all if it has none."""
    ends = ids == end
    return torch.where(ends.any(dim=1), ends.int().argmax(dim=1) + 1, ids.shape[1])


def tokenize(tokenizer: Any, texts: list[str], longest: int) -> Int[Tensor, "step token"]:
    """Token ids of a `transformers` tokenizer, truncated, and padded to the longest."""
    ids: Tensor = tokenizer(
        texts, truncation=True, max_length=longest, padding="longest", return_tensors="pt"
    )["input_ids"]
    wider = padded_width(ids.shape[1], longest) - ids.shape[1]
    return F.pad(ids, (0, wider), value=tokenizer.pad_token_id)


def padded_width(count: int, longest: int) -> int:
    """Padded width of a text of this many tokens."""
    return min(longest, -(-count // WIDTH_STEP) * WIDTH_STEP)


def count_longer(tokenizer: Any, texts: list[str], longest: int) -> int:
    """Number of texts with more tokens than `longest`."""
    # Not verbose: it would warn about each long text, and these are truncated.
    return sum(len(ids) > longest for ids in tokenizer(texts, verbose=False)["input_ids"])


class ClipVisionEncoder(TransformersVisionEncoder):
    """Frames (step, 3, side, side) to features; the head is initialised as CLIP's visual projection."""

    def __init__(self, config: ClipVision) -> None:
        """Load the model.

        Raises:
            UserError: No such model, or its processor makes pictures of another size.
        """
        trunk, head, sizes = (
            load_graph(config.name)
            if config.arithmetic == "graph"
            else _vision_tower(config.name, config.patch_dropout)
        )
        processor = load_cached(CLIPImageProcessorPil, config.name)
        require_size(processor, config.name, sizes.side)
        super().__init__(
            "clip_vision",
            trunk,
            head,
            sizes.width,
            processor=processor,
            frames=frame_plan(config, processor),
            pooling=config.pooling,
            dim=sizes.dim,
        )
        self.set_arithmetic(config.arithmetic)


def load_vision_model(name: str) -> Any:
    """A CLIP with its `vision_model` and `visual_projection`.

    Raises:
        UserError: As for `load_model`.
    """
    kind = OTHER_LANGUAGES.get(require_type(name, ClipVision.types), CLIPVisionModelWithProjection)
    return load_model(kind, name, ClipVision.types)


@shared_trunk
def _vision_tower(name: str, patch_dropout: float) -> tuple[nn.Module, nn.Module, Sizes]:
    model = load_vision_model(name)
    head, config = model.visual_projection, model.vision_model.config
    sizes = Sizes(dim=head.out_features, width=head.in_features, side=config.image_size)
    return _VisionTrunk(model.vision_model, patch_dropout), head, sizes


class _VisionTrunk(Pooler):
    def __init__(self, model: nn.Module, patch_dropout: float) -> None:
        super().__init__(model)
        self.patch_dropout = patch_dropout

    def forward(self, pixels: Float[Tensor, "step 3 side side"]) -> Float[Tensor, "step width"]:
        if not (self.training and self.patch_dropout):
            return super().forward(pixels)
        tower = self.model
        hidden = tower.pre_layrnorm(drop_patches(tower.embeddings(pixels), self.patch_dropout))
        read = tower.encoder(inputs_embeds=hidden).last_hidden_state
        return tower.post_layernorm(read[:, 0])
