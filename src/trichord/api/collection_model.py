"""The model of a collection: its text encoders alone, which text queries need, or all of it."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from trichord.api.model import embedder_of
from trichord.api.text_encoders import INSTALL, bundled, text_query_model
from trichord.search.query_model import QueryModel
from trichord.types import UserError
from trichord.types.extras import NotInstalledError, require_package
from trichord.types.files import exists

if TYPE_CHECKING:  # text queries never import torch
    from trichord.models.embedder import Embedder
    from trichord.search.collection import StoredCollection


def model_of(
    collection: "StoredCollection",
    load: "Callable[[str], Embedder] | None" = None,
    *,
    whole: bool = False,
) -> "Embedder | QueryModel":
    """The model of a collection; only its text encoders, without torch, if they are available as graphs.

    Args:
        collection: Of moments.
        load: Loads a model by its name in the collection; `embedder_of` by default.
        whole: All of it in any case.

    Raises:
        UserError: As for `embedder_of`; or the model's weights have changed since the vectors were made.
        NotInstalledError: The model must be loaded, and torch is not installed.
    """

    def load_model() -> "Embedder":
        model = (load or embedder_of)(run_of(collection))
        collection.require(model.fingerprint)
        return model

    if not whole and (model := text_query_model(collection, load_model)) is not None:
        return model
    try:
        return load_model()
    except NotInstalledError as error:
        if bundled(collection) and find_spec("onnxruntime") is None:
            remedy = f"needs onnxruntime to read its text encoders: {INSTALL}"
        else:
            remedy = (
                "holds no text encoders that can be used here: index it again with 'trichord index "
                "--portable'"
            )
        raise NotInstalledError(f"{collection.name} {remedy}, or install torch. {error}") from error


def persistent_model_of(
    collection: "StoredCollection", load: "Callable[[str], Embedder] | None" = None
) -> "Embedder | QueryModel":
    """The model of a collection for a long-running process: all of it if torch is installed."""
    if find_spec("torch") is None:
        return model_of(collection, load)
    return (load or embedder_of)(run_of(collection))


def run_of(collection: "StoredCollection") -> str:
    """Where the model of a collection is.

    Raises:
        UserError: It has been moved or deleted.
    """
    run = collection.run
    if Path(run).is_absolute() and not exists(run):
        require_package("torch")  # without it, that is what to say
        raise UserError(
            f"{collection.name}: its model {run} is not there any more: name its new place once with "
            "'trichord index PATH... ARCHIVE --model RUN'; an equal model elsewhere will do."
        )
    return run
