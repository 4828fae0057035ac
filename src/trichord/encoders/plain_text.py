"""CLIP's text tower in numpy: one text to its vector, without the seconds that torch takes to load.

It reads the weights where they lie and a text at a time, unpadded. What it is used for has been
compared with the tower itself beforehand (see `search.shortcut`).
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

Weight = Float[np.ndarray, "..."]
Weights = Callable[[str], Weight]
States = Float[np.ndarray, "token width"]

LEGACY_END = 2
"""What configurations written before transformers 4.31 call the end of text; it is the highest id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What weights don't tell of a tower.

    Attributes:
        layers: How many.
        heads: Of attention, in each layer.
        end: Token id of the end of text, as the configuration says.
        longest: Tokens after which a text is cut, start and end included.
        epsilon: Of the layer normalisation.
        activation: Between the two layers of a block.
    """

    layers: int
    heads: int
    end: int
    longest: int
    epsilon: float
    activation: str

    @classmethod
    def of(cls, folder: Path, longest: int) -> "Shape":
        """Of a CLIP model in the `transformers` format.

        Raises:
            ValueError: Another kind of model, or one that this tower cannot stand for.
            OSError: It cannot be read.
            KeyError: It says less than it needs to.
        """
        told: dict[str, Any] = json.loads((folder / "config.json").read_text())
        text: dict[str, Any] = told.get("text_config") or {}
        if told.get("model_type") != "clip" or not text:
            raise ValueError("No CLIP model.")
        activation: str = text.get("hidden_act", "quick_gelu")
        if activation not in ACTIVATIONS:
            raise ValueError(f"No such activation here: {activation}.")
        return cls(
            layers=text.get("num_hidden_layers", 12),
            heads=text.get("num_attention_heads", 8),
            end=text.get("eos_token_id", 49407),
            longest=min(longest, text.get("max_position_embeddings", 77)),
            epsilon=text.get("layer_norm_eps", 1e-5),
            activation=activation,
        )


class PlainText:
    """CLIP's text tower with its head, for one thread at a time."""

    def __init__(self, weights: Weights, tokenizer: Path, shape: Shape) -> None:
        """Open a tower.

        Args:
            weights: By name, in float32: as `CLIPTextModel` has them, and `head.weight`.
            tokenizer: Its file, as the package `tokenizers` writes it.
            shape: Of the tower.

        Raises:
            ValueError: The tokenizer is damaged.
            OSError: It cannot be read.
        """
        from tokenizers import Tokenizer

        self.shape = shape
        self._weights = weights
        described = tokenizer.read_text(encoding="utf-8")
        try:
            self._tokenizer: Any = Tokenizer.from_str(described)
        except Exception as error:  # the package has no kind of its own
            raise ValueError(f"{tokenizer} is no tokenizer.") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(shape.longest)

    def embed(self, texts: Sequence[str]) -> Float[np.ndarray, "text dim"]:
        """Unit vectors of texts."""
        return np.stack([self._vector(self.tokens(text)) for text in texts])

    def tokens(self, text: str) -> Int[np.ndarray, " token"]:
        """Token ids of a text up to its first end of text, that one included."""
        ids = np.array(self._tokenizer.encode(text).ids, np.int64)
        end = ids.max() if self.shape.end == LEGACY_END else self.shape.end
        return ids[: int((ids == end).argmax()) + 1]

    def _vector(self, ids: Int[np.ndarray, " token"]) -> Float[np.ndarray, " dim"]:
        table = self._weights("embeddings.token_embedding.weight")
        places = self._weights("embeddings.position_embedding.weight")
        states = table[ids] + places[: len(ids)]
        for number in range(self.shape.layers):
            states = self._layer(f"encoder.layers.{number}", states)
        ended = self._normalised("final_layer_norm", states[-1:])[0]
        vector = self._weights("head.weight") @ ended
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    def _layer(self, name: str, states: States) -> States:
        read = self._normalised(f"{name}.layer_norm1", states)
        states = states + self._attended(f"{name}.self_attn", read)
        read = self._normalised(f"{name}.layer_norm2", states)
        inner = ACTIVATIONS[self.shape.activation](self._linear(f"{name}.mlp.fc1", read))
        return states + self._linear(f"{name}.mlp.fc2", inner)

    def _attended(self, name: str, states: States) -> States:
        """Each token looks at itself and at what stands before it."""
        count, width = states.shape
        by_head = (count, self.shape.heads, width // self.shape.heads)
        query, key, value = (
            self._linear(f"{name}.{one}_proj", states).reshape(by_head).transpose(1, 0, 2)
            for one in "qkv"
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(by_head[2])
        scores[:, np.triu(np.ones((count, count), bool), 1)] = -np.inf
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = (shares @ value).transpose(1, 0, 2).reshape(count, width)
        return self._linear(f"{name}.out_proj", mixed)

    def _linear(self, name: str, states: States) -> Float[np.ndarray, "token inner"]:
        return states @ self._weights(f"{name}.weight").T + self._weights(f"{name}.bias")

    def _normalised(self, name: str, states: States) -> States:
        centred = states - states.mean(axis=-1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + self.shape.epsilon)
        scaled = centred / spread
        return scaled * self._weights(f"{name}.weight") + self._weights(f"{name}.bias")


def _quick_gelu(x: States) -> States:
    with np.errstate(over="ignore"):  # a large negative input: the quotient is 0, as it should be
        return x / (1 + np.exp(np.float32(-1.702) * x))


def _gelu(x: States) -> States:
    error = np.array([math.erf(value) for value in (x / math.sqrt(2)).ravel().tolist()], x.dtype)
    return x * 0.5 * (1 + error.reshape(x.shape))


ACTIVATIONS: dict[str, Callable[[States], States]] = {"quick_gelu": _quick_gelu, "gelu": _gelu}


class StoredWeights:
    """The weights of a tower as they lie in safetensors files: mapped, not read."""

    def __init__(self, folder: Path, run: Path | None) -> None:
        """Find them.

        Args:
            folder: Of a CLIP model in the `transformers` format.
            run: Weights of a run on top of it, `weights.safetensors`.

        Raises:
            ValueError: A file is no such file, or in a type of number that numpy lacks.
            OSError: A file cannot be read.
        """
        self._found: dict[str, Weight] = {}
        self._take(folder / "model.safetensors", "text_model.", "text_projection.")
        if run is not None:
            self._take(run, "model.text.trunk.model.", "model.text.head.")

    def __call__(self, name: str) -> Weight:
        """A tensor in float32.

        Raises:
            KeyError: There is none of that name.
        """
        return self._found[name]

    def _take(self, path: Path, trunk: str, head: str) -> None:
        for key, values in mapped(path, (trunk, head)).items():
            name = key.removeprefix(trunk) if key.startswith(trunk) else f"head.{key[len(head) :]}"
            self._found[name] = np.asarray(values, np.float32)


def mapped(path: Path, prefixes: tuple[str, ...]) -> dict[str, Weight]:
    """Tensors of a safetensors file whose names begin so, mapped into memory.

    Raises:
        ValueError: It is no such file, or in a type of number that numpy lacks.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > 2**27:
            raise ValueError(f"{path} is no safetensors file.")
        header: dict[str, Any] = json.loads(file.read(length))
    content = np.memmap(path, np.uint8, "r", offset=8 + length)
    found: dict[str, Weight] = {}
    for key, told in header.items():
        if key.startswith(prefixes):
            first, last = told["data_offsets"]
            kind = {"F32": np.float32, "F16": np.float16}.get(told["dtype"])
            if kind is None:
                raise ValueError(f"{path}: {key} is in {told['dtype']}.")
            found[key] = content[first:last].view(kind).reshape(told["shape"])
    return found
