"""CLIP4VLA's caption generator: tokens, frames and audio segments in one autoregressive transformer."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trichord.models.cross import CrossCache, CrossTransformer
from trichord.models.sequence import FRAME_SLOTS, TEXT, TEXT_SLOTS, PositionLayout, Segment, attend
from trichord.types import Modality
from trichord.types.tensors import Features, Padded, Words

Padding = Literal["ignored", "as_published"]
"""Whether the loss counts the end tokens that pad a short caption; published: it does."""


class Captioner(nn.Module):
    """Scores the next token of a caption, given the tokens before it, frames and audio segments.

    [caption tokens ; frames ; segments] go through the transformer with UniLM's mask: a token sees the
    tokens before it and all frames and segments; these see each other and no token. Caption tokens are
    the text encoder's features; frames and segments are projected, not normalised. A linear layer,
    QuickGELU and a layer norm follow; the text encoder's token embeddings, with a bias, give the logits.

    Source: CLIP4VLA, "Multimodal Caption Generator", eqs. 6 and 7; sizes and head as published.
    """

    def __init__(
        self,
        cross: CrossTransformer,
        *,
        width: int,
        vocabulary: int,
        reads: tuple[Modality, ...] = ("vision", "audio"),
        text_slots: int = TEXT_SLOTS,
        frame_slots: int = FRAME_SLOTS,
        padding: Padding = "ignored",
        gain: float = 1.0,
    ) -> None:
        """Create the layers.

        Args:
            cross: With the dimensions of the features.
            width: Width of the text encoder's token embeddings.
            vocabulary: Their number.
            reads: Modalities that a caption is generated from.
            text_slots: Positions for tokens; no caption is longer.
            frame_slots: Positions for frames.
            padding: Whether the loss counts the positions after a caption's end.
            gain: Initial scale of the last layer norm. With small embeddings the logits are almost
                equal at first, and a scale of 1 (as published) takes thousands of steps to grow.

        Raises:
            ValueError: More slots than the transformer has positions.
        """
        super().__init__()
        self.cross = cross
        self.layout = PositionLayout(
            text=text_slots, frames=frame_slots, positions=cross.positions.num_embeddings
        )
        self.reads = reads
        self.padding: Padding = padding
        dim = cross.positions.embedding_dim
        self.turn = nn.Linear(dim, width)
        self.turn_norm = nn.LayerNorm(width, eps=1e-12)
        nn.init.constant_(self.turn_norm.weight, gain)
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.set_trainable(True)

    def set_trainable(self, trains: bool) -> None:
        """Freeze or unfreeze the weights that the logits depend on."""
        self.requires_grad_(trains)
        # A trainable parameter that never gets a gradient would stall distributed training.
        self.cross.pooler.requires_grad_(False)
        self.cross.similarity.requires_grad_(False)

    def forward(
        self,
        text: Features,
        words: Padded,
        vision: Features | None,
        audio: Features | None,
        table: Float[Tensor, "token width"],
    ) -> Words:
        """Logits of every next token of known captions (teacher forcing).

        Args:
            text: Of the captions, a step per token, start and end included.
            words: Their token ids, (batch, token).
            vision: Frames; None if no clip has them.
            audio: Audio segments; None if no clip has them.
            table: The text encoder's token embeddings.

        Returns:
            Only of clips with some of the modalities that captions are generated from.

        Raises:
            ValueError: More tokens or frames than positions.
        """
        # The last token is only a target; nothing after a caption's end is a step.
        has_next = words.mask[:, 1:]
        text_segment = self._text_segment(text, has_next)
        media = self.layout.media_segments(*self._selected(vision, audio))
        hidden = attend(self.cross, [text_segment, *media], causal_steps=text_segment.mask.shape[1])
        valid, targets = self._targets(words, text_segment.mask)
        valid = valid & _has_media(media, text_segment.mask)
        rows = valid.nonzero()[:, 0]
        logits = self.score(hidden[:, : valid.shape[1]][valid], table)
        return Words(logits=logits, targets=targets[valid], rows=rows)

    def encode_media(self, vision: Features | None, audio: Features | None) -> CrossCache:
        """A cache of frames and audio segments, which no token changes."""
        cache = self.cross.new_cache()
        segments = self.layout.media_segments(*self._selected(vision, audio))
        if segments:
            attend(self.cross, segments, cache=cache)
        return cache

    def next_logits(
        self,
        token: Float[Tensor, "row dim"],
        position: int,
        cache: CrossCache,
        table: Float[Tensor, "token width"],
    ) -> Float[Tensor, "row token"]:
        """Logits of the next token.

        Args:
            token: The text encoder's features of the newest token.
            position: Its position in the caption, from 0.
            cache: Of the media and the tokens so far; this token is added.
            table: The text encoder's token embeddings.
        """
        real = torch.ones(len(token), 1, dtype=torch.bool, device=token.device)
        segment = Segment(token[:, None], real, TEXT, position)
        return self.score(attend(self.cross, [segment], cache=cache)[:, 0], table)

    def score(
        self, hidden: Float[Tensor, "word dim"], table: Float[Tensor, "token width"]
    ) -> Float[Tensor, "word token"]:
        """Logits of all tokens."""
        turned = self.turn(hidden)
        turned = self.turn_norm(turned * torch.sigmoid(1.702 * turned))
        return turned @ table.T.to(turned.dtype) + self.bias

    def _text_segment(self, text: Features, has_next: Bool[Tensor, "batch token"]) -> Segment:
        """The tokens with a successor; as published, padded to all text positions."""
        # A tokenizer may pad beyond the longest caption.
        segment = self.layout.text_segment(text.steps[:, : has_next.shape[1]], has_next)
        if self.padding == "ignored":
            return segment
        spare = self.layout.text - segment.mask.shape[1]
        steps = nn.functional.pad(segment.steps, (0, 0, 0, spare))
        return replace(segment, steps=steps, mask=nn.functional.pad(segment.mask, (0, spare)))

    def _targets(
        self, words: Padded, mask: Bool[Tensor, "batch place"]
    ) -> tuple[Bool[Tensor, "batch place"], Int[Tensor, "batch place"]]:
        """The positions that count, and their target tokens."""
        length = mask.shape[1]
        if self.padding == "ignored":
            return mask, words.values[:, 1 : length + 1]
        present = words.mask.any(dim=1)
        last = words.mask.sum(dim=1).clamp(min=1) - 1
        end = words.values.gather(1, last[:, None]).expand(-1, length).clone()
        tokens = words.values[:, 1 : length + 1]
        end[:, : tokens.shape[1]] = torch.where(
            words.mask[:, 1 : length + 1], tokens, end[:, : tokens.shape[1]]
        )
        return present[:, None].expand(-1, length), end

    def _selected(
        self, vision: Features | None, audio: Features | None
    ) -> tuple[Features | None, Features | None]:
        return (
            vision if "vision" in self.reads else None,
            audio if "audio" in self.reads else None,
        )


def _has_media(
    segments: list[Segment], mask: Bool[Tensor, "batch place"]
) -> Bool[Tensor, "batch 1"]:
    """Clips with any step of vision or audio."""
    present = torch.zeros_like(mask[:, 0])
    for segment in segments:
        present = present | segment.mask.any(dim=1)
    return present[:, None]
