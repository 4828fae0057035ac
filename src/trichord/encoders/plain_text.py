"""Text towers without torch: one text to its vector, without the seconds that torch takes to load.

They read what a tower is made of where it lies, and a text at a time, unpadded. What they are used for
has been compared with the tower itself beforehand (see `api.shortcut`).
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trichord.encoders.plain_tokens import BytePairs
from trichord.types.arrays import Float, Int

Tokens = Int[np.ndarray, " token"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a text tower lies, and what is known of it once it has been loaded; JSON values.

    Attributes:
        kind: Of tower.
        role: What a run calls it: `text`, or `sound_text`.
        folder: Of the model in the `transformers` format, or beside a graph.
        files: Of its weights, the later ones on top of those before; or the graph.
        longest: Tokens after which a text is cut, start and end included.
        end: Token id of the end of text, where the tower looks for it.
        pad: Token id of what follows it, where the tower looks for that instead.
    """

    kind: str
    role: str
    folder: str
    files: Sequence[str]
    longest: int
    end: int | None
    pad: int | None

    def text_config(self, model_type: str) -> dict[str, Any]:
        """What the model's configuration says of its text tower.

        Raises:
            ValueError: It is another type of model.
            OSError: It cannot be read.
        """
        told: dict[str, Any] = json.loads((Path(self.folder) / "config.json").read_text())
        text: dict[str, Any] = told.get("text_config") or {}
        if told.get("model_type") != model_type or not text:
            raise ValueError(f"{self.folder} holds no model of type {model_type}.")
        return text


class PlainText(ABC):
    """A text tower with its head, for one thread at a time.

    Attributes:
        source: What it is made of.
    """

    def __init__(self, source: Source, tokenizer: Path) -> None:
        """Open a tower.

        Args:
            source: What it is made of.
            tokenizer: Its file, as the package `tokenizers` writes it.

        Raises:
            ValueError: The tokenizer is damaged; or the tower is of another kind, or one that this
                class cannot stand for.
            OSError: A file cannot be read.
            KeyError: A file says less than it needs to.
        """
        self.source = source
        self._pairs = BytePairs(tokenizer.read_text(encoding="utf-8"))

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "text dim"]:
        """Unit vectors of texts."""
        vectors = np.stack([self._vector(self.tokens(text)) for text in texts])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)

    def tokens(self, text: str) -> Tokens:
        """Token ids of a text as the tower reads them."""
        return np.array(self._pairs.ids(text, self.source.longest), np.int64)

    def written(self) -> bytes:
        """Its weights as a file of a model in the `transformers` format.

        Raises:
            ValueError: They are not its own: something else computes by them.
        """
        raise ValueError(f"{self.source.folder} is no tower of its own.")

    @abstractmethod
    def _vector(self, ids: Tokens) -> Float[np.ndarray, " dim"]:
        """The vector of a text, of any size."""
