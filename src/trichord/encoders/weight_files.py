"""The weight files in a model's folder, in the `transformers` format."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trichord.types import UserError

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
"""Names of single weight files in `transformers`; shards have an index."""


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The weight files of a model.

    Attributes:
        folder: Of the model.
        names: Of the files; several if they are shards.
        index: File that maps tensors to shards; None for one file.
    """

    folder: Path
    names: tuple[str, ...]
    index: str | None = None

    @property
    def safetensors(self) -> bool:
        """Whether they are safetensors; otherwise pickles, to read with `weights_only=True` only."""
        return self.names[0].endswith(".safetensors")

    @property
    def paths(self) -> list[Path]:
        """The files, in the order of their names."""
        return [self.folder / name for name in self.names]


def preferred(names: Collection[str], place: str = "") -> str | None:
    """The weight file of a model, or the index of shards, in a place; None: there is none.

    Safetensors are preferred to pickles, and one file to shards.
    """
    stems = (SAFETENSORS, f"{SAFETENSORS}.index.json", PICKLE, f"{PICKLE}.index.json")
    paths = [f"{place}/{stem}" if place else stem for stem in stems]
    return next((path for path in paths if path in names), None)


def weight_files(folder: Path) -> WeightFiles | None:
    """The weights in a folder; None if it has none.

    Raises:
        UserError: An index is damaged, or a shard that it names is missing.
    """
    first = preferred({path.name for path in folder.iterdir()} if folder.is_dir() else ())
    if first is None or not first.endswith(".index.json"):
        return None if first is None else WeightFiles(folder, (first,))
    shards = shards_of(folder / first)
    if missing := [name for name in shards if not (folder / name).is_file()]:
        raise UserError(
            f"{folder / first} names {missing[0]}, which is missing: fetch the whole model again."
        )
    return WeightFiles(folder, tuple(shards), first)


def shards_of(index: Path) -> list[str]:
    """The files that an index of sharded weights names.

    Raises:
        UserError: It is damaged, or names a file outside its folder.
    """
    try:
        weight_map: dict[str, Any] = json.loads(index.read_text())["weight_map"]
        shards = sorted({str(name) for name in weight_map.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index} is damaged: fetch the whole model again.") from error
    if not shards or any(Path(name).name != name for name in shards):
        raise UserError(f"{index} names no files beside it: fetch the whole model again.")
    return shards


def holds_code(error: BaseException) -> bool:
    """Whether torch refused a pickle that holds more than tensors; its message advises to run it."""
    # By its name: nothing here imports pickle.
    return type(error).__name__ == "UnpicklingError"
