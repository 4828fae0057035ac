"""The model of a collection, of which a text query needs the text encoders alone."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from trichord.encoders.text_graph import TextGraph
from trichord.types import Modality
from trichord.types.arrays import Float
from trichord.types.comparable import ALL_PAIRS, Pair, compares

if TYPE_CHECKING:  # a search by text never loads torch
    from trichord.models.embedder import Embedder
    from trichord.models.fusion import Fusion


class QueryModel:
    """A model whose texts are read without torch, and which is loaded for all else.

    Attributes:
        fingerprint: Of the model.
        reranks: Whether its fusion reads text and moment together.
    """

    def __init__(
        self,
        fingerprint: str,
        text: TextGraph,
        sound_text: TextGraph | None,
        load: "Callable[[], Embedder]",
        *,
        reranks: bool,
    ) -> None:
        """Put it off.

        Args:
            fingerprint: Of the model.
            text: Its text encoder.
            sound_text: The one of its own towards sound, where it has one.
            load: Loads the model.
            reranks: Whether its fusion reads text and moment together.
        """
        self.fingerprint = fingerprint
        self._text = text
        self._sound_text = sound_text
        self._load = load
        self.reranks = reranks

    @property
    def comparable(self) -> frozenset[Pair]:
        """As `Embedder.comparable`."""
        return ALL_PAIRS if self._sound_text is None else ALL_PAIRS - {("audio", "vision")}

    def compares(self, one: Modality, other: Modality) -> bool:
        """Whether the vectors of two modalities may be compared."""
        return compares(self.comparable, one, other)

    @property
    def texts_differ(self) -> bool:
        """Whether a text has one vector toward vision and another one toward audio."""
        return self._sound_text is not None

    @cached_property
    def whole(self) -> "Embedder":
        """The model itself, loaded when it is first asked for."""
        return self._load()

    @property
    def fusion(self) -> "Fusion | None":
        """The fusion that reads text and moment together, if there is one."""
        return self.whole.fusion if self.reranks else None

    def embed_text(
        self, texts: Sequence[str], toward: Literal["vision", "audio"] = "vision"
    ) -> Float[np.ndarray, "text dim"]:
        """Unit vectors of texts, each at least a word.

        Args:
            texts: Over-long ones lose their end.
            toward: What the vectors will be compared with; matters where `texts_differ`.
        """
        tower = self._sound_text if toward == "audio" and self._sound_text else self._text
        return tower.embed(texts)


def whole(model: "Embedder | QueryModel") -> "Embedder":
    """A model, all of it."""
    return model.whole if isinstance(model, QueryModel) else model
