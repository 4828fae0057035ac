"""CLIP4VLA's caption generator: words, frames and audio segments in one transformer, word after word."""

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
"""Whether the loss counts the end token that fills up a short caption; published: it does."""


class Captioner(nn.Module):
    """Scores each next word of a caption, given the words before it and what is seen and heard.

    [caption tokens ; frames ; segments] go through the transformer under UniLM's mask: a word sees the
    words before it and all frames and segments, these see one another and no word. Caption tokens are
    the text tower's features, frames and segments as projected, not normalised. A linear layer,
    QuickGELU and a layer norm follow; the text tower's table of tokens, with a bias, scores the words.

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
        """Put the generator together.

        Args:
            cross: Of the dimensions of the features.
            width: Of the text tower's table of tokens.
            vocabulary: Its rows.
            reads: What a caption is made from.
            text_slots: Positions set aside for words; no caption is longer.
            frame_slots: Positions set aside for frames.
            padding: What the loss makes of the places behind a caption's end.
            gain: Where the scale of the last layer norm starts. With a table of small values scores
                begin almost alike, and a scale of 1 (as published) takes thousands of steps to grow.

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
        """Let what has a part in the words' scores train, or freeze it."""
        self.requires_grad_(trains)
        # A parameter that trains and never gets a gradient would stall distributed training.
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
        """Score every next word of captions that are known (teacher forcing).

        Args:
            text: Of the captions, a step a token, start and end included.
            words: Their token ids, (batch, token).
            vision: Frames; None where no clip has them.
            audio: Audio segments; None where no clip has them.
            table: The text tower's table of tokens.

        Returns:
            Only places of clips that have some of what a caption is made from.

        Raises:
            ValueError: More tokens or frames than there is room for.
        """
        # The last token is only to be foretold; what follows a caption's end is no step.
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
        """What is seen and heard, kept for words to come: no word changes it."""
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
        """Score the words that may follow a token.

        Args:
            token: The text tower's features of the newest token.
            position: Its place in the caption, from 0.
            cache: Of the media and the tokens so far; this token is added.
            table: The text tower's table of tokens.
        """
        real = torch.ones(len(token), 1, dtype=torch.bool, device=token.device)
        segment = Segment(token[:, None], real, TEXT, position)
        return self.score(attend(self.cross, [segment], cache=cache)[:, 0], table)

    def score(
        self, hidden: Float[Tensor, "word dim"], table: Float[Tensor, "token width"]
    ) -> Float[Tensor, "word token"]:
        """Scores of all tokens, before the softmax."""
        turned = self.turn(hidden)
        turned = self.turn_norm(turned * torch.sigmoid(1.702 * turned))
        return turned @ table.T.to(turned.dtype) + self.bias

    def _text_segment(self, text: Features, has_next: Bool[Tensor, "batch token"]) -> Segment:
        """Every token that another follows; as published, empty places to the end of the room too."""
        # A tokenizer may pad by more than the captions' ends.
        segment = self.layout.text_segment(text.steps[:, : has_next.shape[1]], has_next)
        if self.padding == "ignored":
            return segment
        spare = self.layout.text - segment.mask.shape[1]
        steps = nn.functional.pad(segment.steps, (0, 0, 0, spare))
        return replace(segment, steps=steps, mask=nn.functional.pad(segment.mask, (0, spare)))

    def _targets(
        self, words: Padded, mask: Bool[Tensor, "batch place"]
    ) -> tuple[Bool[Tensor, "batch place"], Int[Tensor, "batch place"]]:
        """Which places count, and the token that should stand there."""
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
    """Which clips have anything to be seen or heard."""
    present = torch.zeros_like(mask[:, 0])
    for segment in segments:
        present = present | segment.mask.any(dim=1)
    return present[:, None]
