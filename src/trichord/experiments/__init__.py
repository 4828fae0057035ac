"""Experiments by name. A new one is a value in this package and a line here."""

from trichord.config import Experiment
from trichord.experiments import clip4vla, crossed, slava

_ON_WORLD: dict[str, tuple[str, Experiment]] = {
    **{name: (what, slava.on_world(it)) for name, (what, it) in slava.SYSTEMS.items()},
    **{name: (what, clip4vla.on_world(it)) for name, (what, it) in clip4vla.ON_WORLD.items()},
    **crossed.ON_WORLD,
}
EXPERIMENTS: dict[str, tuple[str, Experiment]] = {
    **slava.SYSTEMS,
    **clip4vla.SYSTEMS,
    **crossed.SYSTEMS,
    **{
        f"world-{name}": (f"{what} With the stand-in towers of the generated world.", it)
        for name, (what, it) in _ON_WORLD.items()
    },
}
"""Name on the command line to its description and value."""
