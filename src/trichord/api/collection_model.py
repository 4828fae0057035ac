"""The model of a collection: the towers that a search by words needs, or all of it."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from trichord.api.carried import carried_model
from trichord.api.model import embedder_of
from trichord.api.shortcut import keep, kept_model
from trichord.search.query_model import QueryModel
from trichord.types.extras import NotInstalledError

if TYPE_CHECKING:  # a search by text never loads torch
    from trichord.models.embedder import Embedder
    from trichord.search.collection import Collection


def model_of(
    collection: "Collection", load: "Callable[[str], Embedder] | None" = None
) -> "Embedder | QueryModel":
    """The model of a collection, loaded as far as no short cut can stand for it.

    Args:
        collection: Of moments.
        load: Loads a model by the name that the collection has for it; `embedder_of` if not given.

    Raises:
        UserError: As for `embedder_of` and `fingerprint_of`; or the model has other weights than when
            the vectors were made.
        NotInstalledError: It would have to be loaded, and torch is not installed.
    """

    def whole() -> "Embedder":
        model = (load or embedder_of)(collection.description.run)
        collection.require(model.fingerprint)
        return model

    short = kept_model(collection, whole) or carried_model(collection, whole)
    if short is not None:
        return short
    try:
        model = whole()
    except NotInstalledError as error:
        raise NotInstalledError(
            f"{collection.name} holds no text towers to search it by words here: make it again with "
            f"'trichord index --portable', or install what reads others. {error}"
        ) from error
    keep(collection, model)
    return model


def lasting_model_of(
    collection: "Collection", load: "Callable[[str], Embedder] | None" = None
) -> "Embedder | QueryModel":
    """The model of a collection for a long time: whole where torch is installed, else as `model_of`."""
    if find_spec("torch") is None:
        return model_of(collection, load)
    return (load or embedder_of)(collection.description.run)
