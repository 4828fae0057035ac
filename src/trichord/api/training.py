"""Training from Python."""

from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trichord.types.arguments import UserTypeError, described
from trichord.types.extras import extras_named
from trichord.types.plugins import provide

if TYPE_CHECKING:  # importing `trichord` must stay quick
    from trichord.config import Experiment

Place = str | Path


def fit(
    experiment: "Experiment | str",
    clips: Place,
    run: Place,
    *,
    source: Literal["features", "media"] = "features",
    features: Place | None = None,
    device: str = "auto",
    parts: Sequence[Any] = (),
    after_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train an experiment on clips and write a run; resumes an interrupted run.

    Args:
        experiment: A value, or what `trichord train` takes: a name, `FILE.py:NAME`, `FILE.json`.
        clips: A manifest: clips as JSON lines, with the splits 'train' and 'val'.
        run: The run directory to write.
        source: Read cached features (see `trichord extract`) and decode only for trunks that train, or
            decode everything.
        features: Folder of the cached features; beside the manifest if None.
        device: `cpu`, `cuda`, `cuda:N`, `mps`, or `auto`: `cuda` if there is a GPU, else `cpu`.
        parts: Config classes, loss terms and other parts of your own that the experiment names.
        after_epoch: Called with each epoch's numbers: stage, epoch, loss, criterion and more.

    Returns:
        The run's directory, for `trichord.load`.

    Raises:
        UserError: A value is impossible, features or media are missing, the stage learns nothing or
            diverges, or the disk is full.
    """
    if isinstance(experiment, PathLike):
        raise UserTypeError(f"experiment={described(experiment)}: give str(path).")
    provide(parts)
    with extras_named():
        from trichord.api.model import device_of
        from trichord.checkpoint import Run
        from trichord.experiments import load_experiment
        from trichord.training.clips import TrainingClips
        from trichord.training.fit import fit as train
        from trichord.training.fit import fitting_threads, learn_search_weights

    config = load_experiment(experiment) if isinstance(experiment, str) else experiment
    torch_device, path = device_of(device), Path(run)
    folder = None if features is None else Path(features)
    data = TrainingClips(manifest=Path(clips), source=source, features=folder, device=device)
    with data:
        if data.is_done(Run(path), config):
            return path
        model, sources = data.open(config)
        with fitting_threads(config, sources):
            train(
                config,
                model.to(torch_device),
                sources,
                Run(path),
                manifest=data.origin,
                after_epoch=after_epoch or (lambda _: None),
                conclude=partial(learn_search_weights, Run(path), config, model, sources),
            )
    return path
