"""A KV cache for CLIP's text tower, for generation token by token."""

from copy import copy
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from trichord.encoders.encoder import TextEncoder

KeyValues = tuple[Float[Tensor, "row head step width"], Float[Tensor, "row head step width"]]


class TextKVCache:
    """Keys and values of growing token sequences in every layer of CLIP's text tower.

    The tower's attention is causal, so a new token costs one step through the layers. The weights are
    those of the encoder (`transformers` has no cache for this tower); dropout is left out.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        """Create an empty cache.

        Args:
            encoder: CLIP's; only its trunk is used.
        """
        self.length = 0
        trunk: Any = encoder.trunk
        self._tower: Any = trunk.model
        self._layers: list[KeyValues | None] = [None for _ in self._tower.encoder.layers]

    def next_features(self, ids: Int[Tensor, " row"]) -> Float[Tensor, "row width"]:
        """Trunk features of one more token of each text.

        Args:
            ids: The newest token of each.

        Returns:
            Features after the last layer norm.

        Raises:
            ValueError: The texts already have as many tokens as the tower has positions.
        """
        places = self._tower.config.max_position_embeddings
        if self.length >= places:
            raise ValueError(f"The text tower has positions for {places} tokens, not for one more.")
        embeddings = self._tower.embeddings
        place = embeddings.position_embedding.weight[self.length]
        hidden: Tensor = embeddings.token_embedding(ids) + place
        for number, layer in enumerate(self._tower.encoder.layers):
            hidden = hidden + self._attend(number, layer.self_attn, layer.layer_norm1(hidden))
            hidden = hidden + layer.mlp(layer.layer_norm2(hidden))
        self.length += 1
        return self._tower.final_layer_norm(hidden)

    def rows(self, chosen: Int[Tensor, " row"]) -> "TextKVCache":
        """The rows of some indices, in their order; an index may occur several times."""
        selected = copy(self)
        selected._layers = [
            states and (states[0][chosen], states[1][chosen]) for states in self._layers
        ]
        return selected

    def _attend(
        self, number: int, attention: Any, hidden: Float[Tensor, "row width"]
    ) -> Float[Tensor, "row width"]:
        """Attention of the newest tokens to all tokens so far, in one layer."""

        def heads(values: Tensor) -> Tensor:
            return values.unflatten(-1, (attention.num_heads, 1, -1))

        keys, values = heads(attention.k_proj(hidden)), heads(attention.v_proj(hidden))
        if (states := self._layers[number]) is not None:
            keys = torch.cat([states[0], keys], dim=2)
            values = torch.cat([states[1], values], dim=2)
        self._layers[number] = (keys, values)
        query = heads(attention.q_proj(hidden))
        attended = F.scaled_dot_product_attention(query, keys, values, scale=attention.scale)
        return attention.out_proj(attended.flatten(1))
