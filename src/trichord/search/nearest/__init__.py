"""The nearest vectors of a gallery: exactly, or by structures that are disposable and measured."""

from trichord.search.nearest.approximate import Approximate
from trichord.search.nearest.backends import Backend
from trichord.search.nearest.exact import Exact
from trichord.search.nearest.faiss_structures import FaissScan
from trichord.search.nearest.neighbours import Nearest
from trichord.search.nearest.structures import (
    BACKENDS,
    EXACT_UP_TO,
    Report,
    Settings,
    Structures,
    settings_for_backend,
)

__all__ = [
    "BACKENDS",
    "EXACT_UP_TO",
    "Approximate",
    "Backend",
    "Exact",
    "FaissScan",
    "Nearest",
    "Report",
    "Settings",
    "Structures",
    "settings_for_backend",
]
