"""The nearest vectors of a gallery: by exact search, or by ANN indexes whose recall is measured."""

from trichord.search.nearest.ann_indexes import (
    BACKENDS,
    EXACT_UP_TO,
    AnnIndexes,
    IndexReport,
    Settings,
    settings_for_backend,
)
from trichord.search.nearest.approximate import Approximate, Nearest
from trichord.search.nearest.backends import Backend, FaissScan
from trichord.search.nearest.exact import Exact

__all__ = [
    "BACKENDS",
    "EXACT_UP_TO",
    "AnnIndexes",
    "Approximate",
    "Backend",
    "Exact",
    "FaissScan",
    "IndexReport",
    "Nearest",
    "Settings",
    "settings_for_backend",
]
