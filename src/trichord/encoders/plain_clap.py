"""CLAP's text tower in numpy: RoBERTa, and two linear layers behind its first token."""

from pathlib import Path

import numpy as np

from trichord.encoders.plain_layers import Layers, States, activation
from trichord.encoders.plain_text import PlainText, Source, Tokens
from trichord.encoders.plain_weights import StoredWeights
from trichord.types.arrays import Float


class PlainClap(PlainText):
    """As `ClapTextEncoder`."""

    def __init__(self, source: Source, tokenizer: Path) -> None:
        super().__init__(source, tokenizer)
        config = source.text_config("clap")
        self._pad: int = config.get("pad_token_id", 1)
        if self._pad != source.pad:
            raise ValueError(f"{source.folder}: tower and tokenizer pad differently.")
        self._count: int = config.get("num_hidden_layers", 12)
        self._activation = activation(config.get("hidden_act", "gelu"))
        self._between = activation(config.get("projection_hidden_act", "relu"))
        self._weights = StoredWeights(source.files, source.role)
        self._layers = Layers(
            weights=self._weights,
            heads=config.get("num_attention_heads", 12),
            epsilon=config.get("layer_norm_eps", 1e-12),
        )

    def tokens(self, text: str) -> Tokens:
        """Token ids of a text without what pads it, should a text spell it out: no token looks at it."""
        ids = super().tokens(text)
        return ids[ids != self._pad]

    def written(self) -> bytes:
        """Its weights as a file of a model in the `transformers` format."""
        return self._weights.written()

    def _vector(self, ids: Tokens) -> Float[np.ndarray, " dim"]:
        states = self._embedded(ids)
        for number in range(self._count):
            states = self._layer(f"encoder.layer.{number}", states)
        pooled = np.tanh(self._layers.linear("pooler.dense", states[:1]))
        inner = self._between(self._layers.linear("head.linear1", pooled))
        return self._layers.linear("head.linear2", inner)[0]

    def _embedded(self, ids: Tokens) -> States:
        table, places, types = (
            self._weights(f"embeddings.{name}_embeddings.weight")
            for name in ("word", "position", "token_type")
        )
        first = self._pad + 1  # RoBERTa counts places from there
        states = table[ids] + types[0] + places[first : first + len(ids)]
        return self._layers.normalised("embeddings.LayerNorm", states)

    def _layer(self, name: str, states: States) -> States:
        layers, attention = self._layers, f"{name}.attention"
        projections = (f"{attention}.{one}" for one in _PROJECTIONS)
        mixed = layers.attended(projections, states, causal=False)
        states = layers.normalised(f"{attention}.output.LayerNorm", mixed + states)
        inner = self._activation(layers.linear(f"{name}.intermediate.dense", states))
        outer = layers.linear(f"{name}.output.dense", inner)
        return layers.normalised(f"{name}.output.LayerNorm", outer + states)


_PROJECTIONS = ("self.query", "self.key", "self.value", "output.dense")
