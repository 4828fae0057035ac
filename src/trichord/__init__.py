"""Trichord: language, sound and sight in one embedding space. Train it, measure it, search with it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trichord.api.collection import Collection
    from trichord.api.model import Embedded, Model, load
    from trichord.api.training import fit
    from trichord.types import Hit, Moment, UserError

__all__ = [
    "Collection",
    "Embedded",
    "Hit",
    "Model",
    "Moment",
    "UserError",
    "fit",
    "load",
]

_HOMES = {
    "Collection": "trichord.api.collection",
    "fit": "trichord.api.training",
    **dict.fromkeys(("Embedded", "Model", "load"), "trichord.api.model"),
    **dict.fromkeys(("Hit", "Moment", "UserError"), "trichord.types"),
}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: `import trichord` loads nothing heavy."""
    if name not in _HOMES:
        raise AttributeError(f"module 'trichord' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
