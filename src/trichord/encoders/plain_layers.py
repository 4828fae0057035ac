"""Layers of transformers in numpy, over the tokens of one text."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from trichord.encoders.plain_weights import Weights
from trichord.types.arrays import Float

States = Float[np.ndarray, "token width"]
Activation = Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What all layers of a tower have in common.

    Attributes:
        weights: Of all of them, by name, in float32.
        heads: Of attention, in each.
        epsilon: Of the layer normalisation.
    """

    weights: Weights
    heads: int
    epsilon: float

    def linear(self, name: str, states: States) -> Float[np.ndarray, "token inner"]:
        """States through a matrix and its bias."""
        return states @ self.weights(f"{name}.weight").T + self.weights(f"{name}.bias")

    def normalised(self, name: str, states: States) -> States:
        """Each token's states with mean 0 and variance 1, scaled and moved as was learnt."""
        centred = states - states.mean(axis=-1, keepdims=True)
        spread = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + self.epsilon)
        scaled = centred / spread
        return scaled * self.weights(f"{name}.weight") + self.weights(f"{name}.bias")

    def attended(self, names: Iterable[str], states: States, *, causal: bool) -> States:
        """What each token makes of the others.

        Args:
            names: Of the layers that give queries, keys and values, and of the one behind them.
            states: Before it.
            causal: Whether a token looks at itself and at what stands before it only.
        """
        *read, behind = names
        count, width = states.shape
        by_head = (count, self.heads, width // self.heads)
        query, key, value = (
            self.linear(name, states).reshape(by_head).transpose(1, 0, 2) for name in read
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(by_head[2])
        if causal:
            scores[:, np.triu(np.ones((count, count), bool), 1)] = -np.inf
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed = (shares @ value).transpose(1, 0, 2).reshape(count, width)
        return self.linear(behind, mixed)


def activation(name: str) -> Activation:
    """What stands between the two layers of a block.

    Raises:
        ValueError: There is none of that name here.
    """
    if name not in _ACTIVATIONS:
        raise ValueError(f"No such activation here: {name}.")
    return _ACTIVATIONS[name]


def _quick_gelu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    with np.errstate(over="ignore"):  # a large negative input: the quotient is 0, as it should be
        return x / (1 + np.exp(np.float32(-1.702) * x))


def _gelu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    error = np.array([math.erf(value) for value in (x / math.sqrt(2)).ravel().tolist()], x.dtype)
    return x * 0.5 * (1 + error.reshape(x.shape))


def _relu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.maximum(x, 0)


_ACTIVATIONS: dict[str, Activation] = {"quick_gelu": _quick_gelu, "gelu": _gelu, "relu": _relu}
