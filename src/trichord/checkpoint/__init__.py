"""Run directories: a run on disk, and checkpoints to resume interrupted training."""

from trichord.checkpoint.environment import Origin, differences, made_with
from trichord.checkpoint.run import Progress, Run, Saved, fresh_model
from trichord.checkpoint.tensor_files import DamagedError, read_tensors, write_tensors
from trichord.checkpoint.weights import load_owned, owned_state

__all__ = [
    "DamagedError",
    "Origin",
    "Progress",
    "Run",
    "Saved",
    "differences",
    "fresh_model",
    "load_owned",
    "made_with",
    "owned_state",
    "read_tensors",
    "write_tensors",
]
