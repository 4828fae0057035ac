"""The modules of a `sentence-transformers` folder, read without that package.

Such a folder lists its modules in `modules.json`: a transformer, and what follows it, such as a pooling.
Trichord imports no class because a list names it: the classes that it reads are listed here.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trichord.types import Modality, UserError

MODULES = "modules.json"
PACKAGE = "sentence_transformers."
TRANSFORMERS = ("Transformer", "CLIPModel")
"""Modules that read the inputs; the second one is of older folders."""
FOLLOWING = ("Pooling", "Dense", "Normalize", "LayerNorm", "Dropout")
WITHOUT_WEIGHTS = frozenset({*TRANSFORMERS, "Pooling", "Normalize"})
"""Modules that add no weights to a transformer's own."""
MODALITIES: dict[str, Modality] = {"text": "text", "image": "vision", "audio": "audio"}
"""The package's names of modalities, and ours."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the list.

    Attributes:
        kind: Name of its class.
        folder: With its files.
    """

    kind: str
    folder: Path

    def config(self) -> dict[str, Any]:
        """Its settings; empty if it has no file of them.

        Raises:
            UserError: The file is damaged.
        """
        # The transformer's settings are beside its `config.json`, in a file that older versions of the
        # package named after the architecture.
        names = "sentence_*_config.json" if self.kind in TRANSFORMERS else "config.json"
        paths = sorted(self.folder.glob(names))
        return _read_object(paths[0]) if paths else {}


def read_modules(folder: Path) -> list[Module]:
    """The modules of a folder; the first one reads the inputs.

    Raises:
        UserError: The list is damaged, or names a class that is not read here, or a place outside the
            folder.
    """
    path = folder / MODULES
    try:
        listed = [(str(one["type"]), str(one["path"])) for one in json.loads(path.read_text())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: fetch the whole model again.") from error
    modules: list[Module] = []
    for kind, place in listed:
        if not kind.startswith(PACKAGE):
            raise UserError(
                f"{path} names the class '{kind}', which is no part of sentence-transformers: Trichord "
                "runs no code that comes with a model; choose another."
            )
        known = FOLLOWING if modules else TRANSFORMERS
        name = kind.rpartition(".")[2]
        if name not in known:
            raise UserError(
                f"{path} names the module {name} at place {len(modules) + 1}, and Trichord reads "
                f"{', '.join(known)} there: choose another model."
            )
        if not (folder / place).resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{path} names '{place}', outside of its folder: choose another model.")
        modules.append(Module(name, folder / place))
    if not modules:
        raise UserError(f"{path} names no module: fetch the whole model again.")
    return modules


def modalities(modules: list[Module]) -> list[Modality]:
    """The modalities that a folder's model reads; those that Trichord has no encoder for are left out."""
    config = modules[0].config().get("modality_config")
    if isinstance(config, dict):
        return [ours for theirs, ours in MODALITIES.items() if theirs in config]
    # Older versions of the package read pictures by one class alone.
    return ["text", "vision"] if modules[0].kind == "CLIPModel" else ["text"]


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged: fetch the whole model again.") from error
