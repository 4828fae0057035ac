"""Which files of a model's folder hold its weights, in the `transformers` format."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trichord.types import UserError

SAFETENSORS, PICKLE = "model.safetensors", "pytorch_model.bin"
"""The two names that `transformers` gives to weights in one file; sharded ones have an index instead."""


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The files that hold a model's weights.

    Attributes:
        folder: Where they are.
        names: Of the weights themselves; several where they are sharded.
        index: Which tensor is in which of several files; None for one file.
    """

    folder: Path
    names: tuple[str, ...]
    index: str | None = None

    @property
    def safetensors(self) -> bool:
        """Whether they are safetensors; otherwise pickles, to be read by `weights_only=True` alone."""
        return self.names[0].endswith(".safetensors")

    @property
    def paths(self) -> list[Path]:
        """The files, in the order of their names."""
        return [self.folder / name for name in self.names]


def preferred(names: Collection[str]) -> str | None:
    """Of a model's files the weights to take, or the index of sharded ones; None: there are none.

    Safetensors come before pickles, in whatever number of files, and one file before shards.
    """
    stems = (SAFETENSORS, f"{SAFETENSORS}.index.json", PICKLE, f"{PICKLE}.index.json")
    return next((name for name in stems if name in names), None)


def weight_files(folder: Path) -> WeightFiles | None:
    """The weights in a folder; None where it has none.

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
