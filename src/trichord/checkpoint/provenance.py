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
EARLIER = ("start", "teacher")
"""Fields of an experiment that name other runs."""


def provenance_of(
    experiment: Experiment,
    *,
    clips: tuple[str, str] | None,
    earlier: Mapping[str, Provenance | None],
    parts: Mapping[str, str],
) -> Provenance:
    """The provenance of a run of an experiment.

    Args:
        experiment: With the current paths of its towers.
        clips: Signature and name of the manifest, or another origin of the run; None: no clips.
        earlier: Provenance of the runs that `start` and `teacher` name, where it is known.
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
    known = {role: run for role, run in earlier.items() if run is not None}
    for role in EARLIER:
        del settings[role]
        if role in known:
            settings |= {f"{role}.{name}": value for name, value in known[role].settings.items()}
            names |= {f"{role}.{name}": value for name, value in known[role].names.items()}
        elif (path := getattr(experiment, role)) is not None:
            settings[role] = path.name
    selects = experiment.select_on_test and bool(experiment.stages)
    return Provenance(
        settings=settings,
        names=names,
        seeds=(experiment.seed, *(seed for run in known.values() for seed in run.seeds)),
        selected_on_test=selects or any(run.selected_on_test for run in known.values()),
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
