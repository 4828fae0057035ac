"""CLIP's text tower in numpy."""

from pathlib import Path

import numpy as np

from trichord.encoders.plain_layers import Layers, States, activation
from trichord.encoders.plain_text import PlainText, Source, Tokens
from trichord.encoders.plain_weights import StoredWeights
from trichord.types.arrays import Float

LEGACY_END = 2
"""What configurations written before transformers 4.31 call the end of text; it is the highest id."""


class PlainClip(PlainText):
    """As `ClipTextEncoder`."""

    def __init__(self, source: Source, tokenizer: Path) -> None:
        super().__init__(source, tokenizer)
        config = source.text_config("clip")
        self._count: int = config.get("num_hidden_layers", 12)
        self._end: int = config.get("eos_token_id", 49407)
        self._activation = activation(config.get("hidden_act", "quick_gelu"))
        self._weights = StoredWeights(source.files, source.role)
        self._layers = Layers(
            weights=self._weights,
            heads=config.get("num_attention_heads", 8),
            epsilon=config.get("layer_norm_eps", 1e-5),
        )

    def tokens(self, text: str) -> Tokens:
        """Token ids of a text up to its first end of text, that one included."""
        ids = super().tokens(text)
        end = ids.max() if self._end == LEGACY_END else self._end
        return ids[: int((ids == end).argmax()) + 1]

    def written(self) -> bytes:
        """Its weights as a file of a model in the `transformers` format."""
        return self._weights.written()

    def _vector(self, ids: Tokens) -> Float[np.ndarray, " dim"]:
        places = self._weights("embeddings.position_embedding.weight")
        states = self._weights("embeddings.token_embedding.weight")[ids] + places[: len(ids)]
        for number in range(self._count):
            states = self._layer(f"encoder.layers.{number}", states)
        ended = self._layers.normalised("final_layer_norm", states[-1:])
        return self._weights("head.weight") @ ended[0]

    def _layer(self, name: str, states: States) -> States:
        layers, attention = self._layers, f"{name}.self_attn"
        read = layers.normalised(f"{name}.layer_norm1", states)
        projections = (f"{attention}.{one}_proj" for one in ("q", "k", "v", "out"))
        states = states + layers.attended(projections, read, causal=True)
        read = layers.normalised(f"{name}.layer_norm2", states)
        inner = self._activation(layers.linear(f"{name}.mlp.fc1", read))
        return states + layers.linear(f"{name}.mlp.fc2", inner)
