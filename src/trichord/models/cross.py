"""CLIP4VLA's cross transformer: text tokens, frames and audio segments as one sequence."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Form = Literal["clip", "bert"]
"""The transformer of the authors' released code, or the older one of their Table 1."""

TYPES = 3
"""Text, vision and audio, in this order."""
STD = 0.02
"""Of initial weights, as published."""


class CrossTransformer(nn.Module):
    """A few layers of self-attention over steps of different modalities.

    Two published forms. `clip`: CLIP's own blocks (layer norm first, QuickGELU), no norm at the end,
    dropout on the embedded input only; it usually starts from CLIP's text tower (`start_from`).
    `bert`: BERT's blocks (layer norm last, exact GELU), dropout throughout, a tanh pooler. Initial
    weights are N(0, 0.02), biases zero, in both. At 512 dimensions and published sizes they have
    12,650,496 and 17,335,296 parameters, and 513 more in `similarity`.

    Names in published checkpoints and here (N: the block):

        clip form
        cross.positional_embedding                              positions.weight
        cross.token_type_embeddings.weight                      types.weight
        cross.transformer.resblocks.N.attn.in_proj_{weight,bias}    blocks.N.attention.entry.*
        cross.transformer.resblocks.N.attn.out_proj.*           blocks.N.attention.exit.*
        cross.transformer.resblocks.N.ln_1.*                    blocks.N.attention_norm.*
        cross.transformer.resblocks.N.mlp.c_fc.*                blocks.N.expand.*
        cross.transformer.resblocks.N.mlp.c_proj.*              blocks.N.contract.*
        cross.transformer.resblocks.N.ln_2.*                    blocks.N.inner_norm.*

        bert form
        cross.embeddings.position_embeddings.weight             positions.weight
        cross.embeddings.token_type_embeddings.weight           types.weight
        cross.embeddings.LayerNorm.*                            norm.*
        cross.encoder.layer.N.attention.self.{query,key,value}.*    blocks.N.attention.entry.*, the
                                                                the three concatenated
        cross.encoder.layer.N.attention.output.dense.*          blocks.N.attention.exit.*
        cross.encoder.layer.N.attention.output.LayerNorm.*      blocks.N.attention_norm.*
        cross.encoder.layer.N.intermediate.dense.*              blocks.N.expand.*
        cross.encoder.layer.N.output.dense.*                    blocks.N.contract.*
        cross.encoder.layer.N.output.LayerNorm.*                blocks.N.inner_norm.*
        cross.pooler.dense.*                                    pooler.0.*

        both
        similarity_dense.*                                      similarity.*

    Source: CLIP4VLA's released code (`clip`) and its log of the MSR-VTT run (`bert`); the paper only
    says "N-layer transformer".
    """

    def __init__(
        self,
        *,
        form: Form,
        dim: int,
        layers: int = 4,
        heads: int = 8,
        inner: int | None = None,
        positions: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        """Initialise the weights.

        Args:
            form: One of the two published forms.
            dim: Of the shared space, and of every layer.
            layers: Number of blocks.
            heads: Of each attention; a divisor of `dim`.
            inner: Width of the layer inside a block; published: 4 `dim` (clip), 6 `dim` (bert).
            positions: Rows of the position table; published: 77 (clip), 512 (bert).
            dropout: Of the embedded input; `bert`: also of attention and of every layer's output.

        Raises:
            ValueError: `heads` does not divide `dim`.
        """
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide {dim} dimensions.")
        bert = form == "bert"
        self.form: Form = form
        self.positions = nn.Embedding(positions or (512 if bert else 77), dim)
        self.types = nn.Embedding(TYPES, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-12) if bert else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        width = inner or (6 if bert else 4) * dim
        self.blocks = nn.ModuleList(_Block(form, dim, heads, width, dropout) for _ in range(layers))
        self.pooler = nn.Sequential(nn.Linear(dim, dim), nn.Tanh()) if bert else nn.Identity()
        self.similarity = nn.Linear(dim, 1)
        self.apply(_draw)

    def start_from(self, text_model: nn.Module) -> None:
        """Copy the first blocks of a CLIP text tower, and as many of its positions as there are here.

        Args:
            text_model: A `CLIPTextModel` of `transformers`, with or without projection.

        Raises:
            ValueError: This is the `bert` form, or the tower is shallower or of other sizes.
        """
        if self.form != "clip":
            raise ValueError("Only the clip form can start from a CLIP text tower.")
        tower = {
            name.removeprefix("text_model."): value
            for name, value in text_model.state_dict().items()
        }
        table = tower["embeddings.position_embedding.weight"]
        self._require_shape_of(text_model, tower)
        for i, block in enumerate(self.blocks):
            start = f"encoder.layers.{i}."
            layer = {
                name.removeprefix(start): value
                for name, value in tower.items()
                if name.startswith(start)
            }
            block.load_state_dict(_block_state(layer))
        with torch.no_grad():
            self.positions.weight[: len(table)] = table[: self.positions.num_embeddings]

    def forward(
        self,
        sequence: Float[Tensor, "batch step dim"],
        types: Int[Tensor, " step"],
        mask: Bool[Tensor, "batch step"],
        positions: Int[Tensor, " step"] | None = None,
        *,
        causal_steps: int = 0,
        cache: "CrossCache | None" = None,
    ) -> Float[Tensor, "batch step dim"]:
        """Self-attention over the unmasked steps of each row.

        Args:
            sequence: Steps; masked values are never read.
            types: Of each step: text 0, vision 1, audio 2.
            mask: Which steps are real.
            positions: Of each step; by default counted from 0.
            causal_steps: This many first steps are generated text: each sees the text before it,
                itself and all media steps, and no other step sees them (UniLM's mask; CLIP4VLA, eq. 6).
            cache: Steps of earlier calls, which these see as well; this call's steps are added.

        Returns:
            Contextualised steps; undefined where masked, but finite.

        Raises:
            ValueError: More steps than the position table has rows.
        """
        count, rows = sequence.shape[1], self.positions.num_embeddings
        if count > rows:
            raise ValueError(
                f"A sequence of {count} steps is longer than the {rows} positions of the cross "
                "transformer: raise its 'positions' or give it fewer steps."
            )
        if positions is None:
            positions = torch.arange(count, device=sequence.device)
        hidden = sequence.masked_fill(~mask.unsqueeze(-1), 0.0)
        hidden = hidden + self.positions(positions) + self.types(types)
        hidden = self.dropout(self.norm(hidden))
        visible = _visible(mask, causal_steps)
        if cache is None:
            for block in self.blocks:
                hidden = block(hidden, visible)
            return hidden
        visible = cache.extend(mask, visible)
        for block, layer in zip(self.blocks, cache.layers, strict=True):
            hidden = block(hidden, visible, layer)
        return hidden

    def new_cache(self) -> "CrossCache":
        """An empty cache for `forward`."""
        return CrossCache([KeyValues() for _ in self.blocks])

    def pool(self, hidden: Float[Tensor, "batch step dim"]) -> Float[Tensor, "batch dim"]:
        """The output of the first step, through the pooler in BERT's form."""
        return self.pooler(hidden[:, 0])

    def _require_shape_of(self, text_model: nn.Module, tower: dict[str, Tensor]) -> None:
        first = self.blocks[0]
        assert isinstance(first, _Block)
        depth = sum(name.endswith("self_attn.q_proj.weight") for name in tower)
        inner, dim = tower["encoder.layers.0.mlp.fc1.weight"].shape
        config = getattr(text_model, "config", None)
        heads = getattr(config, "num_attention_heads", first.attention.heads)
        theirs = {"dim": dim, "inner": inner, "heads": heads}
        ours = {
            "dim": first.expand.in_features,
            "inner": first.expand.out_features,
            "heads": first.attention.heads,
        }
        if theirs != ours:
            raise ValueError(f"The text tower has {theirs}, the cross transformer {ours}.")
        if depth < len(self.blocks):
            raise ValueError(
                f"The text tower has {depth} layers, the cross transformer {len(self.blocks)}."
            )


class KeyValues:
    """Keys and values of the previous steps in one layer of attention."""

    def __init__(
        self, states: tuple[Float[Tensor, "row head step width"], ...] | None = None
    ) -> None:
        self._states = states

    def append(
        self,
        keys: Float[Tensor, "row head step width"],
        values: Float[Tensor, "row head step width"],
    ) -> tuple[Float[Tensor, "row head all width"], Float[Tensor, "row head all width"]]:
        """Append steps, and return the keys and values of all steps."""
        if self._states is not None:
            keys = torch.cat([self._states[0], keys], dim=2)
            values = torch.cat([self._states[1], values], dim=2)
        self._states = (keys, values)
        return keys, values

    def rows(self, indices: Int[Tensor, " row"]) -> "KeyValues":
        """The rows of some indices, in their order; an index may occur several times."""
        return KeyValues(self._states and tuple(one[indices] for one in self._states))


@dataclass
class CrossCache:
    """A KV cache: keys and values of each layer, and the mask of the steps."""

    layers: list[KeyValues]
    mask: Bool[Tensor, "row step"] | None = None

    def rows(self, indices: Int[Tensor, " row"]) -> "CrossCache":
        """The rows of some indices, in their order; an index may occur several times."""
        mask = None if self.mask is None else self.mask[indices]
        return CrossCache([layer.rows(indices) for layer in self.layers], mask)

    def extend(
        self, mask: Bool[Tensor, "row step"], visible: Bool[Tensor, "row _ step"]
    ) -> Bool[Tensor, "row _ all"]:
        """Append the mask of new steps, and return which of all steps these see."""
        if self.mask is None:
            self.mask = mask
            return visible
        before = self.mask[:, None].expand(-1, visible.shape[1], -1)
        self.mask = torch.cat([self.mask, mask], dim=1)
        return torch.cat([before, visible], dim=2)


def _visible(mask: Bool[Tensor, "batch step"], causal_steps: int) -> Bool[Tensor, "batch _ step"]:
    """Which steps each step sees; all if it would see none, because a softmax over nothing is NaN."""
    sees = mask[:, None]
    if causal_steps:
        step = torch.arange(mask.shape[1], device=mask.device)
        text = step < causal_steps
        sees = sees & (~text | (text[:, None] & (step <= step[:, None])))
    return sees | ~sees.any(dim=2, keepdim=True)


class _Attention(nn.Module):
    """Multi-head attention; the rows of `entry` are queries, keys and values, in this order."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.entry = nn.Linear(dim, 3 * dim)
        self.exit = nn.Linear(dim, dim)

    def forward(
        self,
        hidden: Float[Tensor, "batch step dim"],
        visible: Bool[Tensor, "batch _ all"],
        cache: KeyValues | None = None,
    ) -> Float[Tensor, "batch step dim"]:
        split = self.entry(hidden).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        if cache is not None:
            key, value = cache.append(key, value)
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=visible[:, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.exit(attended.transpose(1, 2).flatten(2))


class _Block(nn.Module):
    """CLIP's block, or BERT's."""

    def __init__(self, form: Form, dim: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.form = form
        dropout, epsilon = (dropout, 1e-12) if form == "bert" else (0.0, 1e-5)
        self.attention = _Attention(dim, heads, dropout)
        self.attention_norm = nn.LayerNorm(dim, eps=epsilon)
        self.expand = nn.Linear(dim, inner)
        self.contract = nn.Linear(inner, dim)
        self.inner_norm = nn.LayerNorm(dim, eps=epsilon)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        hidden: Float[Tensor, "batch step dim"],
        visible: Bool[Tensor, "batch _ all"],
        cache: KeyValues | None = None,
    ) -> Float[Tensor, "batch step dim"]:
        if self.form == "clip":
            hidden = hidden + self.attention(self.attention_norm(hidden), visible, cache)
            wide = self.expand(self.inner_norm(hidden))
            return hidden + self.contract(wide * torch.sigmoid(1.702 * wide))
        hidden = self.attention_norm(hidden + self.dropout(self.attention(hidden, visible, cache)))
        inner = self.contract(F.gelu(self.expand(hidden)))
        return self.inner_norm(hidden + self.dropout(inner))


def _draw(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)


def _block_state(layer: dict[str, Tensor]) -> dict[str, Tensor]:
    """A block's state from that of a `transformers` CLIP layer."""
    names = {
        "self_attn.out_proj": "attention.exit",
        "layer_norm1": "attention_norm",
        "mlp.fc1": "expand",
        "mlp.fc2": "contract",
        "layer_norm2": "inner_norm",
    }
    state: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        parts = [layer[f"self_attn.{part}_proj.{kind}"] for part in ("q", "k", "v")]
        state[f"attention.entry.{kind}"] = torch.cat(parts)
        state |= {f"{ours}.{kind}": layer[f"{theirs}.{kind}"] for theirs, ours in names.items()}
    return state
