"""Torch's number of threads while small heads train."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext

from trichord.config import Experiment
from trichord.features.source import FeatureSource, Source
from trichord.types.threads import torch_threads

SMALL = 2**28
"""Multiply-adds of a batch's heads below which one thread is faster: on two cores 2.4 times as fast as two
threads at 2**23."""


@contextmanager
def fitting_threads(experiment: Experiment, sources: Sequence[Source]) -> Generator[None]:
    """Use one thread for small heads, and restore the number of threads afterwards."""
    batch = max((stage.batch_size for stage in experiment.stages), default=0)
    small = any(
        isinstance(source, FeatureSource) and source.work_per_clip * batch < SMALL
        for source in sources
    )
    with torch_threads(1) if small else nullcontext():
        yield
