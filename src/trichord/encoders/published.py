"""Published weights: read without running code, renamed and checked against our modules."""

import zipfile
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from trichord.encoders.weight_files import holds_code
from trichord.types import UserError, first_line

SIZES_APART = {"input_resolution", "context_length", "vocab_size"}
"""Sizes that OpenAI's archives contain beside the weights."""
TRANSPOSED = {"proj", "text_projection"}
"""Matrices that OpenAI stores transposed."""
NAMED = 3
"""Number of keys that an error names."""

Names = Mapping[str, str]
"""Published names to ours. `*` in one of ours stands for q, k and v, which one published tensor contains;
published tensors with the same name of ours are concatenated."""


@dataclass(frozen=True, slots=True)
class PublishedTensors:
    """Tensors of a published file by their published names.

    `prefix` was removed from the names of a part; errors show it.
    """

    file: Path
    tensors: Mapping[str, Tensor]
    prefix: str = ""

    def part(self, prefix: str) -> "PublishedTensors":
        """The tensors below a prefix."""
        below = {
            name.removeprefix(prefix): value
            for name, value in self.tensors.items()
            if name.startswith(prefix)
        }
        return PublishedTensors(self.file, below, self.prefix + prefix)

    def shape(self, name: str, rank: int) -> tuple[int, ...]:
        """The shape of a tensor.

        Raises:
            UserError: There is none of that name, or it has another number of dimensions.
        """
        if name not in self.tensors:
            raise UserError(
                f"{self.file} lacks '{self.prefix}{name}': give the whole state_dict of the model."
            )
        shape = tuple(self.tensors[name].shape)
        if len(shape) != rank:
            raise UserError(
                f"{self.file}: '{self.prefix}{name}' has {len(shape)} dimensions instead of {rank}: "
                "it is of another model."
            )
        return shape

    def depth(self, blocks: str) -> int:
        """Number of blocks below a prefix."""
        return len(
            {
                name.removeprefix(blocks).partition(".")[0]
                for name in self.tensors
                if name.startswith(blocks)
            }
        )

    def renamed(self, names: Names, ours: nn.Module) -> dict[str, Tensor]:
        """The tensors under our names, as copies in single precision.

        Args:
            names: Names of all tensors.
            ours: The module they are for; only its shapes matter.

        Raises:
            UserError: A key is unknown or missing, or a tensor has another shape.
        """
        self.refuse_keys(self.tensors.keys() - names.keys(), names.keys() - self.tensors.keys())
        shapes = {name: value.shape for name, value in ours.state_dict().items()}
        sharing = Counter(names.values())
        tensors: dict[str, list[Tensor]] = {}
        for theirs, name in names.items():
            parts = [name.replace("*", part) for part in "qkv"] if "*" in name else [name]
            value = self.tensors[theirs]
            transposed = theirs.rpartition(".")[2] in TRANSPOSED
            expected = _published_shape(shapes[parts[0]], len(parts), sharing[name], transposed)
            if tuple(value.shape) != expected:
                raise UserError(
                    f"{self.file}: '{self.prefix}{theirs}' is {_by(value.shape)} instead of "
                    f"{_by(expected)}: it is of another model."
                )
            value = value.T if transposed else value
            pieces = (value,) if len(parts) == 1 else value.chunk(len(parts))
            for part, rows in zip(parts, pieces, strict=True):
                tensors.setdefault(part, []).append(rows)
        return {name: _joined(rows) for name, rows in tensors.items()}

    def refuse_keys(self, unknown: Collection[str], missing: Collection[str] = ()) -> None:
        """Refuse unknown and missing keys.

        Raises:
            UserError: There are any; names them.
        """
        odd = {"unknown": unknown, "missing": missing}
        problems = [
            f"{len(keys)} {what} ({self._some(keys)})" for what, keys in odd.items() if len(keys)
        ]
        if problems:
            raise UserError(
                f"{self.file} has other keys than the model: {', '.join(problems)}: choose the kind of "
                "import that fits, and give the whole state_dict and nothing else."
            )

    def _some(self, keys: Collection[str]) -> str:
        names = [" ".join(f"{self.prefix}{key}".split()) for key in sorted(keys)[:NAMED]]
        return ", ".join(names + ["..."] * (len(keys) > NAMED))


def _published_shape(
    ours: torch.Size, parts: int, sharing: int, transposed: bool
) -> tuple[int, ...]:
    if transposed:
        return tuple(reversed(ours))
    return (ours[0] * parts // sharing, *ours[1:]) if ours else ()


def _joined(rows: list[Tensor]) -> Tensor:
    whole = rows[0] if len(rows) == 1 else torch.cat(rows)
    return whole.to(torch.float32, copy=True, memory_format=torch.contiguous_format)


def _by(shape: Collection[int]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def read_published(file: Path) -> PublishedTensors:
    """Tensors of a safetensors file or of a pickled state_dict, without running code of the file.

    Raises:
        UserError: No such file, one of another kind, or a pickle of anything but tensors.
    """
    if not file.is_file():
        raise UserError(f"{file} is no file: give a .safetensors file or a pickled state_dict.")
    if file.suffix == ".safetensors":
        try:
            tensors = load_file(file)
        except Exception as error:  # the library's errors have no common class
            raise UserError(
                f"{file} is damaged or not safetensors ({first_line(error)})."
            ) from error
    else:
        tensors = _from_pickle(file)
    return PublishedTensors(file, {k: v for k, v in tensors.items() if k not in SIZES_APART})


def _from_pickle(file: Path) -> dict[str, Tensor]:
    if _is_torchscript(file):
        raise UserError(
            f"{file} is a TorchScript archive, which holds code: save its tensors with "
            "safetensors.torch.save_file(torch.jit.load(FILE).state_dict(), 'clip.safetensors') "
            "and import that."
        )
    try:
        state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged pickle may raise anything
        # torch's own message advises to run the code.
        why = "" if holds_code(error) else f" ({first_line(error)})"
        raise UserError(
            f"{file} is not a plain state_dict that can be read without running its code{why}: save its "
            "tensors as .safetensors and import that."
        ) from error
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor)
        for name, value in cast(dict[Any, Any], state).items()
    ):
        raise UserError(
            f"{file} holds something else than tensors by name: save the model's state_dict() alone."
        )
    return cast(dict[str, Tensor], state)


def _is_torchscript(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False  # older pickles are no archives; reading reports damaged ones


def block_names(theirs: str, ours: str, depth: int, parts: Names) -> dict[str, str]:
    """Names of the tensors of numbered blocks; `{}` in a part stands for weight and for bias."""
    return {
        f"{theirs}{n}.{part.format(kind)}": f"{ours}{n}.{name.format(kind)}"
        for n in range(depth)
        for part, name in parts.items()
        for kind in ("weight", "bias")
    }
