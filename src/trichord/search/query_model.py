"""The model of a collection: a text query needs only its text encoders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from trichord.encoders.text_graph import TextGraph
from trichord.types import Modality
from trichord.types.arrays import Float
from trichord.types.comparable import Pair, comparable_pairs, compares

if TYPE_CHECKING:  # a search by text never loads torch
    from trichord.models.embedder import Embedder
    from trichord.models.fusion import Fusion


@dataclass(eq=False)
class QueryModel:
    """A model that embeds texts without torch, and is loaded for everything else.

    Attributes:
        fingerprint: Fingerprint of the model.
        text: Its text encoder.
        audio_text: Its text encoder for audio, if it has another one.
        load: Loads the model.
        reranks: Whether its fusion reads text and moment together.
        one_space: As for `Embedder`.
    """

    fingerprint: str
    text: TextGraph
    audio_text: TextGraph | None
    load: "Callable[[], Embedder]"
    reranks: bool = field(kw_only=True)
    one_space: bool = field(kw_only=True)

    @property
    def comparable(self) -> frozenset[Pair]:
        """As `Embedder.comparable`."""
        return comparable_pairs(one_space=self.one_space)

    def compares(self, one: Modality, other: Modality) -> bool:
        """Whether the vectors of two modalities may be compared."""
        return compares(self.comparable, one, other)

    @property
    def texts_differ(self) -> bool:
        """Whether a text has one vector for vision and another one for audio."""
        return self.audio_text is not None

    @cached_property
    def embedder(self) -> "Embedder":
        """The model, loaded at first use."""
        return self.load()

    @property
    def fusion(self) -> "Fusion | None":
        """The fusion that reads text and moment together, if there is one."""
        return self.embedder.fusion if self.reranks else None

    def embed_text(
        self, texts: Sequence[str], toward: Literal["vision", "audio"] = "vision"
    ) -> Float[np.ndarray, "text dim"]:
        """Unit vectors of texts, each at least a word.

        Args:
            texts: Too long ones are truncated.
            toward: The modality that the vectors are compared with; it matters if `texts_differ`.
        """
        tower = self.audio_text if toward == "audio" and self.audio_text else self.text
        return tower.embed(texts)

    def count_cut(self, texts: Sequence[str]) -> int:
        """Number of texts that a text encoder truncates."""
        encoders = [one for one in (self.text, self.audio_text) if one is not None]
        return max(one.count_cut(texts) for one in encoders)


def full_model(model: "Embedder | QueryModel") -> "Embedder":
    """The model, loaded if it is not yet."""
    return model.embedder if isinstance(model, QueryModel) else model


def loaded_model(model: "Embedder | QueryModel") -> "Embedder | None":
    """The model if it is loaded already."""
    return vars(model).get("embedder") if isinstance(model, QueryModel) else model
