"""The environment and inputs of a run, so that it can be reproduced."""

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import av
import torch

from trichord.config import Experiment
from trichord.distributed import world_size
from trichord.encoders.hub import folder_of
from trichord.media import file_signature

VERSIONED = ("trichord", "torch", "transformers", "av", "numpy", "pylance")
PACKAGE = Path(__file__).parents[1]
_CHANGED = "git changed"
PATIENCE = 10.0
"""Seconds that a run waits for git to report the version of the code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a run's clips come from, and how they are read."""

    path: Path
    """The manifest."""
    source: Literal["features", "media"] = "features"
    features: Path | None = None
    """Where cached features lie, if not beside the manifest."""
    device: str = "auto"
    sharding: bool = False

    @property
    def signature(self) -> str:
        """Signature of the manifest."""
        return file_signature(self.path)

    def noted(self) -> dict[str, object]:
        """For the run's environment.json, with absolute paths."""
        features = None if self.features is None else str(self.features.absolute())
        return {
            "path": str(self.path.absolute()),
            "source": self.source,
            "features": features,
            "device": self.device,
            "sharding": self.sharding,
        }


def environment(manifest: str, experiment: Experiment, origin: Origin | None) -> dict[str, object]:
    """What a run was made with: versions, code, towers, machine, and the clips it learns from.

    Args:
        manifest: Signature of the manifest, or another origin of the run.
        experiment: Of the run.
        origin: The manifest and how it is read, if there is one.
    """
    return {
        **made_with(experiment),
        "manifest": manifest,
        "origin": None if origin is None else origin.noted(),
    }


def made_with(experiment: Experiment) -> dict[str, Any]:
    """Current versions, code, towers and machine."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "versions": {name: version(name) for name in VERSIONED}
        | {"ffmpeg": av.ffmpeg_version_info, "cuda": torch.version.cuda},
        "python": platform.python_version(),
        "git": git_state(PACKAGE),
        "towers": revisions(experiment),
        "machine": platform.platform(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "gpus": gpus,
        "ranks": world_size(),
    }


def revisions(experiment: Experiment) -> dict[str, str]:
    """The hub's commit of each tower that comes from a hub, by the tower's name there."""
    places = {name: folder_of(name) for name in experiment.model.weights}
    return {
        name: place.name
        for name, place in places.items()
        if place is not None and not Path(name).is_dir() and place.parent.name == "snapshots"
    }


@cache
def git_state(package: Path) -> dict[str, object] | None:
    """Commit of the checkout that holds a package, and whether its files were changed since.

    None without git, or if the package is only in a folder of another checkout, such as a virtual
    environment.
    """
    commit = _git(package, "rev-parse", "HEAD")
    if commit is None or _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    changes = _git(package, "status", "--porcelain", "--", ".")
    return {"commit": commit, "changed": bool(changes)}


def _git(folder: Path, *command: str) -> str | None:
    # Without optional locks git writes nothing into the repository.
    line = ["git", "--no-optional-locks", "-C", str(folder), *command]
    try:
        told = subprocess.run(line, capture_output=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.decode(errors="replace").strip()


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Differences from the environment of a run, one line each; unrecorded values are skipped.

    Args:
        then: A run's environment.json.
        now: From `made_with`.
    """
    before, after = _leaves(then), _leaves(now)
    found = [
        f"{name}: {before[name]} then, {value} now"
        for name, value in after.items()
        if name in before and before[name] != value
    ]
    if before.get(_CHANGED) and after.get(_CHANGED):
        found.append(
            "git: then and now with changes that no commit holds, which may not be the same"
        )
    return found


def _leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= {f"{name} {key}": leaf for key, leaf in _leaves(value).items()}
        else:
            found[name] = value
    return found
