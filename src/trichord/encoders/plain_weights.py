"""Weights of a text tower as they lie in safetensors files, without what reads such files for torch."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from trichord.encoders.weight_files import weight_files
from trichord.types.arrays import Float

Weight = Float[np.ndarray, "..."]
Weights = Callable[[str], Weight]

COUNTED = ("I64", "I32", "U8", "BOOL")
"""Types of number that are no weights: older files also hold the numbers of a tower's places."""


class StoredWeights:
    """The weights of a tower: mapped, not read."""

    def __init__(self, files: Iterable[str | Path], role: str = "text") -> None:
        """Find them.

        Args:
            files: Of a model in the `transformers` format, and of a run on top of it.
            role: What a run calls the tower.

        Raises:
            ValueError: A file is no such file, or in a type of number that numpy lacks.
            OSError: A file cannot be read.
        """
        parts = {
            "text_model.": "",
            "text_projection.": "head.",
            f"model.{role}.trunk.model.": "",
            f"model.{role}.head.": "head.",
        }
        self._found: dict[str, Weight] = {}
        for file in files:
            for key, values in mapped(Path(file), tuple(parts)).items():
                part = next(part for part in parts if key.startswith(part))
                self._found[parts[part] + key[len(part) :]] = np.asarray(values, np.float32)

    def __call__(self, name: str) -> Weight:
        """A tensor in float32, by its name in the tower, or in its head as `head.…`.

        Raises:
            KeyError: There is none of that name.
        """
        return self._found[name]

    def written(self) -> bytes:
        """All of them as one file of a model in the `transformers` format."""
        from safetensors.numpy import save  # comes with the towers

        named = {
            f"text_projection.{name[5:]}" if name.startswith("head.") else f"text_model.{name}": one
            for name, one in self._found.items()
        }
        return save({name: np.ascontiguousarray(one) for name, one in named.items()})


def weights_of(folder: Path) -> list[Path]:
    """The files that hold the weights of a model.

    Raises:
        ValueError: There are none but pickles, which only torch reads.
        UserError: An index of several files is damaged, or one of them is missing.
    """
    files = weight_files(folder)
    if files is None or not files.safetensors:
        raise ValueError(f"{folder} has no safetensors.")
    return files.paths


def is_cached(folder: Path) -> bool:
    """Whether a folder is a hub's, in the cache on this machine."""
    return folder.parent.name == "snapshots"


def mapped(path: Path, prefixes: tuple[str, ...]) -> dict[str, Weight]:
    """Weights of a safetensors file whose names begin so, mapped into memory.

    Raises:
        ValueError: It is no such file, or in a type of number that numpy lacks.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > 2**27:
            raise ValueError(f"{path} is no safetensors file.")
        header: dict[str, Any] = json.loads(file.read(length))
    content = np.memmap(path, np.uint8, "r", offset=8 + length)
    found: dict[str, Weight] = {}
    for key, told in header.items():
        if key.startswith(prefixes) and told["dtype"] not in COUNTED:
            first, last = told["data_offsets"]
            kind = {"F32": np.float32, "F16": np.float16}.get(told["dtype"])
            if kind is None:
                raise ValueError(f"{path}: {key} is in {told['dtype']}.")
            found[key] = content[first:last].view(kind).reshape(told["shape"])
    return found
