"""Trichord: language, sound and sight in one embedding space. Train it, measure it, search with it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trichord.api.collection import Collection
    from trichord.api.hits import Hits
    from trichord.api.model import Embedded, Model, load
    from trichord.api.training import fit
    from trichord.types import Hit, Moment, UserError

    __version__: str

__all__ = [
    "Collection",
    "Embedded",
    "Hit",
    "Hits",
    "Model",
    "Moment",
    "UserError",
    "__version__",
    "fit",
    "load",
]

_HOMES = {
    "Collection": "trichord.api.collection",
    "Hits": "trichord.api.hits",
    "fit": "trichord.api.training",
    **dict.fromkeys(("Embedded", "Model", "load"), "trichord.api.model"),
    **dict.fromkeys(("Hit", "Moment", "UserError"), "trichord.types"),
}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first used: `import trichord` loads nothing heavy."""
    if name == "__version__":
        from importlib.metadata import version

        return version("trichord")
    if name not in _HOMES:
        raise _unknown(name)
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, also those that are not imported yet, and what every module has."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def _unknown(name: str) -> AttributeError:
    from difflib import get_close_matches

    close = get_close_matches(name, __all__, n=1)
    hint = f": did you mean {close[0]!r}?" if close else ""
    # With a name and without an object, Python does not add a second suggestion of its own.
    return AttributeError(f"module 'trichord' has no attribute {name!r}{hint}", name=name)
