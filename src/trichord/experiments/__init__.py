"""Experiments by name. A new one is a value in this package and a line here."""

from trichord.config import Experiment
from trichord.experiments.slava import SYSTEMS, on_world

EXPERIMENTS: dict[str, tuple[str, Experiment]] = {
    **SYSTEMS,
    **{
        f"world-{name}": (f"{what} With the stand-in towers of the generated world.", on_world(it))
        for name, (what, it) in SYSTEMS.items()
    },
}
"""Name on the command line to its description and value."""
