"""A program of somebody's that uses Trichord, and looks whether its own process is as it was.

usage: caller.py FOLDER    holds `still.png`, `beep.wav`, `clip.mp4`, a run `run`; writes to `there`
"""

import locale
import logging
import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np

# What others change where they are imported is not ours. `transformers` imports peft to load a model.
import peft  # noqa: F401
import scipy.sparse
import scipy.special  # noqa: F401
import sympy  # noqa: F401
import torch
import transformers  # noqa: F401


def state():
    """What belongs to a process as a whole."""
    signals = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    return {
        "threads of torch": torch.get_num_threads(),
        "random numbers of torch": torch.get_rng_state().tolist(),
        "random numbers of NumPy": str(np.random.get_state()),  # noqa: NPY002
        "type of new tensors": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "signals": {one: signal.getsignal(one) for one in signals},
        "log": (logging.root.level, list(logging.root.handlers)),
        "locale": locale.setlocale(locale.LC_ALL),
        "folder": Path.cwd(),
    }


def use(folder):
    """Everything that the public names do."""
    import trichord

    with trichord.load("world-clip-clap", device="CPU") as untrained:
        untrained.embed_text(["a bell"])
    with trichord.load(folder / "run") as model:
        model.embed_text(["a bell"], "audio")
        model.embed_vision([folder / "still.png"])
        model.embed_audio([folder / "beep.wav"])
        list(model.embed_files([folder / "clip.mp4"]))
        with trichord.Collection.create(folder / "there", model, seconds=4.0) as made:
            made.add(folder / "clip.mp4", folder / "still.png")
    with trichord.Collection.open(folder / "there") as found:
        found.search("a bell")
        found.search(image=folder / "still.png")


def main(folder):
    torch.set_num_threads(2)
    torch.manual_seed(5)
    before = state()
    use(folder)
    after = state()
    changed = [name for name, value in before.items() if after[name] != value]
    sys.exit(f"changed: {', '.join(changed)}" if changed else 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
