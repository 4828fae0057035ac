"""Run directories: a run on disk, and checkpoints to resume interrupted training."""

from trichord.checkpoint.environment import Origin
from trichord.checkpoint.run import Progress, Run, Saved, Untrained, fresh_model

__all__ = ["Origin", "Progress", "Run", "Saved", "Untrained", "fresh_model"]
