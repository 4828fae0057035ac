"""The protocol of text encoders for captioning."""

from abc import ABC, abstractmethod

from jaxtyping import Bool, Float, Int
from torch import Tensor

from trichord.encoders.encoder import TextEncoder
from trichord.encoders.text_kv_cache import TextKVCache


class WordEncoder(TextEncoder, ABC):
    """A causal text encoder with a step per token, whose token embeddings a captioner uses.

    Attributes:
        end: The end token.
    """

    end: int

    @property
    @abstractmethod
    def start(self) -> int:
        """The start token."""

    @property
    @abstractmethod
    def table(self) -> Float[Tensor, "token width"]:
        """The token embeddings; logits are products with them."""

    @property
    @abstractmethod
    def forbidden_tokens(self) -> Bool[Tensor, " token"]:
        """Tokens that are never generated."""

    @abstractmethod
    def words(self, texts: list[str]) -> list[Int[Tensor, " token"]]:
        """Token ids of each text, start and end included."""

    @abstractmethod
    def decode(self, words: list[int]) -> str:
        """The text of token ids, without start and end."""

    @abstractmethod
    def token_cache(self) -> TextKVCache:
        """An empty one."""
