"""Text encoders made of a tokenizer and a model of `transformers`."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Int
from torch import Tensor
from transformers import AutoTokenizer

from trichord.config.parts import EncoderConfig
from trichord.encoders.clip import count_longer, tokenize
from trichord.encoders.encoder import TextEncoder
from trichord.encoders.graph import Sizes, load_graph
from trichord.encoders.tokenizer import require_fit, tokenizer_digest
from trichord.encoders.weight_cache import Tower, load_cached


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
        config: EncoderConfig,
        read: Callable[[int], Tower[Sizes]],
        *,
        longest: int | None = None,
        pads_to_max: bool = False,
    ) -> None:
        """Load the tokenizer, and the trunk and head, or the exported graph of both.

        Args:
            kind: Of the encoder, for the fingerprint.
            config: Its name and arithmetic.
            read: From the padding token to trunk, head and sizes; the trunk maps (text, token) ids to
                (text, width) features. It is not called for a graph.
            longest: Most tokens of a text; None: as many as the trunk has positions.
            pads_to_max: As for `TextEncoder`.

        Raises:
            UserError: No such model, or a tokenizer of another one.
        """
        self.tokenizer: Any = load_cached(AutoTokenizer, config.name)
        self.pad: int = self.tokenizer.pad_token_id
        self.pads_to_max = pads_to_max
        trunk, head, sizes = (
            load_graph(config.name, self.lengths)
            if config.arithmetic == "graph"
            else read(self.pad)
        )
        require_fit(self.tokenizer, config.name, sizes.tokens)
        limits = [one for one in (longest, sizes.positions) if one]
        self.max_tokens = self.longest = min(limits)
        preparation: dict[str, object] = {
            "kind": kind,
            "max_tokens": self.longest,
            "tokenizer": tokenizer_digest(self.tokenizer),
        }
        preparation |= {"prompt": self.prompt} if self.prompt else {}
        super().__init__(trunk, head, sizes.width, preparation, dim=sizes.dim)
        self.set_arithmetic(config.arithmetic)

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
