"""Text encoders that give words to a captioner."""

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from trichord.encoders.encoder import TextEncoder


@runtime_checkable
class TokenCache(Protocol):
    """What a text encoder made of the tokens so far, of texts that grow by a token at a time.

    Attributes:
        length: Tokens of each text so far.
    """

    length: int

    def next_features(self, ids: Int[Tensor, " row"]) -> Float[Tensor, "row width"]:
        """Trunk features of one more token of each text."""
        ...

    def rows(self, chosen: Int[Tensor, " row"]) -> "TokenCache":
        """The rows of some indices, in their order; an index may occur several times."""
        ...


class WordEncoder(TextEncoder, ABC):
    """A causal text encoder with a step a token, from whose table of tokens a captioner writes.

    Attributes:
        end: The token that ends a text.
    """

    end: int

    @property
    @abstractmethod
    def start(self) -> int:
        """The token that begins a text."""

    @property
    @abstractmethod
    def table(self) -> Float[Tensor, "token width"]:
        """The token embeddings; the scores of words are products with them."""

    @property
    @abstractmethod
    def forbidden_tokens(self) -> Bool[Tensor, " token"]:
        """Tokens that no caption may contain."""

    @abstractmethod
    def words(self, texts: list[str]) -> list[Int[Tensor, " token"]]:
        """Token ids of each text, start and end included."""

    @abstractmethod
    def decode(self, words: list[int]) -> str:
        """A text of token ids, without start and end."""

    @abstractmethod
    def token_cache(self) -> TokenCache:
        """An empty one."""
