"""The provenance of a run: its experiment, towers, clips and start."""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from trichord.config import Experiment, Provenance
from trichord.config.experiment import settings_of
from trichord.encoders.hub import folder_of
from trichord.encoders.weight_files import weight_files
from trichord.media import file_signature

UNKNOWN = "unknown"


def provenance_of(
    experiment: Experiment,
    *,
    clips: tuple[str, str] | None,
    start: Provenance | None,
    parts: Mapping[str, str],
) -> Provenance:
    """The provenance of a run of an experiment.

    Args:
        experiment: With the current paths of its towers.
        clips: Signature and name of the manifest, or another origin of the run; None: no clips.
        start: Provenance of the run that it starts from, if there is one and it is known.
        parts: Origins of parts from outside the package.
    """
    settings, names = settings_of(experiment), dict[str, str]()
    for tower, made in experiment.model.towers().items():
        place = f"model.{tower.replace('_', '-')}.name"
        settings[place], names[place] = weights_mark(made.name), Path(made.name).name
    if clips is not None:
        settings["clips"], names["clips"] = clips
    settings |= {f"parts.{name}": origin for name, origin in parts.items()}
    del settings["seed"]
    if start is not None or experiment.start is None:
        del settings["start"]
    else:
        settings["start"] = experiment.start.name
    if start is not None:
        settings |= {f"start.{name}": value for name, value in start.settings.items()}
        names |= {f"start.{name}": value for name, value in start.names.items()}
    selects = experiment.select_on_test and bool(experiment.stages)
    return Provenance(
        settings=settings,
        names=names,
        seeds=(experiment.seed, *(start.seeds if start else ())),
        selected_on_test=selects or (start is not None and start.selected_on_test),
    )


def weights_mark(name: str) -> str:
    """Signature of a tower's weights, the same on every machine; its name if they are not available.

    Args:
        name: Folder, hub name or name of weights.
    """
    folder = folder_of(name)
    files = weight_files(folder) if folder else None
    if files is None:
        return Path(name).name
    digest = blake2b(digest_size=12)
    for file in files.paths:
        digest.update(f"{file.name} {file_signature(file)}\n".encode())
    return digest.hexdigest()


def read_provenance(noted: dict[str, Any]) -> Provenance:
    """Provenance from JSON."""
    return Provenance(
        settings=noted["settings"],
        names=noted["names"],
        seeds=tuple(noted["seeds"]),
        selected_on_test=noted["selected_on_test"],
    )
