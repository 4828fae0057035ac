"""Vectors of texts, by the model itself and by what stands for it."""

import numpy as np

from trichord.models.embedder import Embedder
from trichord.search.query_model import QueryModel

TEXTS = ["a dog barks", "someone says good morning"]


def same_vectors(short: "Embedder | QueryModel", model: Embedder) -> None:
    """Require that both give the same vectors, toward sight and toward sound."""
    for toward in ("vision", "audio"):
        found, expected = (one.embed_text(TEXTS, toward) for one in (short, model))
        np.testing.assert_allclose(found, expected, atol=1e-5)
