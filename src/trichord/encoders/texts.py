"""Text encoders made of a tokenizer and a model of `transformers`."""

from typing import Any

from jaxtyping import Int
from torch import Tensor, nn

from trichord.encoders.clip import count_longer, tokenize
from trichord.encoders.encoder import TextEncoder
from trichord.encoders.tokenizer import tokenizer_digest


class TransformersTextEncoder(TextEncoder):
    """Token ids (text, token) to features, by a tokenizer and a trunk of `transformers`.

    Attributes:
        tokenizer: Of `transformers`.
        longest: Length to which texts are truncated, start and end included; `max_tokens` too.
        prompt: Put before each text; set before `__init__`, which makes it part of the fingerprint.
    """

    prompt: str = ""

    def __init__(
        self,
        kind: str,
        trunk: nn.Module,
        head: nn.Module,
        width: int | None = None,
        *,
        tokenizer: Any,
        max_tokens: int,
        pads_to_max: bool = False,
        dim: int | None = None,
    ) -> None:
        """Combine tokenizer, trunk and head.

        Args:
            kind: Of the encoder, for the fingerprint.
            trunk: From (text, token) ids to (text, width) features.
            head: As for `Encoder`.
            width: As for `Encoder`.
            tokenizer: Of the trunk.
            max_tokens: Length to which texts are truncated.
            pads_to_max: As for `TextEncoder`.
            dim: As for `Encoder`.
        """
        self.tokenizer = tokenizer
        self.pad: int = tokenizer.pad_token_id
        self.pads_to_max = pads_to_max
        self.max_tokens = self.longest = max_tokens
        preparation: dict[str, object] = {
            "kind": kind,
            "max_tokens": max_tokens,
            "tokenizer": tokenizer_digest(tokenizer),
        }
        preparation |= {"prompt": self.prompt} if self.prompt else {}
        super().__init__(trunk, head, width, preparation, dim=dim)

    def lengths(self, inputs: Int[Tensor, "text token"]) -> Int[Tensor, " text"]:
        """Tokens of each text, start and end included; texts may contain the padding token."""
        if self.pads_to_max:
            return super().lengths(inputs)
        return inputs.shape[1] - (inputs != self.pad).flip(1).int().argmax(dim=1)

    def prepare(self, texts: list[str]) -> Int[Tensor, "text token"]:
        """Token ids, truncated and padded."""
        return self.token_ids([self.prompt + text for text in texts])

    def token_ids(self, texts: list[str]) -> Int[Tensor, "text token"]:
        """Token ids of texts that have their prompt."""
        if not self.pads_to_max:
            return tokenize(self.tokenizer, texts, self.longest)
        return self.tokenizer(
            texts,
            truncation=True,
            max_length=self.longest,
            padding="max_length",
            return_tensors="pt",
        )["input_ids"]

    def count_cut(self, texts: list[str]) -> int:
        """Number of texts that are truncated."""
        return count_longer(self.tokenizer, [self.prompt + text for text in texts], self.longest)
