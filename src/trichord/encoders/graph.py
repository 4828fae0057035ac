"""Encoders as ONNX graphs of trunk and head, as `trichord export` writes them."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from trichord.encoders.hub import WEIGHTS
from trichord.types import UserError
from trichord.types.files import write_atomically

SIZES = "sizes.json"
FEATURES, SOUND = "features", "sound"
"""Names of a graph's output, and of its audio type input."""
ALONE = "trichord.alone"
"""Key in a graph's metadata: whether it takes steps one by one. Eight-bit graphs do, because their scales
depend on the whole batch, and vectors must not."""

Lengths = Callable[[Int[Tensor, "step token"]], Int[Tensor, " step"]]


def graph_path(name: str) -> Path:
    """The graph beside a folder."""
    return Path(f"{name.rstrip('/')}.onnx")


def folder_of_graph(name: str) -> Path:
    """The folder beside a graph, with its preprocessing.

    Raises:
        UserError: There is no such folder, or no graph beside it.
    """
    if name in WEIGHTS.kinds() or not graph_path(name).is_file():
        raise UserError(
            f"The graph {graph_path(name)} is missing: 'trichord export' makes it; repeat it, or use "
            "the run that was exported."
        )
    return Path(name)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of an encoder.

    Attributes:
        dim: Of the shared space.
        width: Of the trunk's features; those of a graph are projected.
        positions: Most tokens of a text; 0 for other modalities.
        side: Of a picture, in pixels; 0 for other modalities, or if unknown.
        tokens: Number of token embeddings; 0 for other modalities, or if unknown.
    """

    dim: int
    width: int
    positions: int = 0
    side: int = 0
    tokens: int = 0

    @classmethod
    def beside(cls, name: str) -> "Sizes":
        """Read the sizes from the folder beside a graph.

        Raises:
            UserError: They are missing or damaged.
        """
        path = folder_of_graph(name) / SIZES
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path} is missing or damaged: repeat 'trichord export'.") from error

    def write(self, folder: Path) -> None:
        """Write the sizes into the folder beside a graph."""
        write_atomically(folder / SIZES, json.dumps(asdict(self)))


class FixedTrunk(nn.Module):
    """A trunk that cannot train, without torch parameters.

    Attributes:
        fixed: Error message for training: what it is, and the remedy.
    """

    fixed: str

    def requires_grad_(self, requires_grad: bool = True) -> "FixedTrunk":
        """Freeze it, which changes nothing.

        Raises:
            UserError: It should train.
        """
        if requires_grad:
            raise UserError(self.fixed)
        return self

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: there is nothing to compile."""


def load_graph(name: str, lengths: Lengths | None = None) -> tuple["Graph", nn.Module, Sizes]:
    """Trunk, head and sizes of an exported encoder; the graph contains the head.

    Raises:
        UserError: The graph or its sizes are missing or damaged.
    """
    return Graph(name, lengths), nn.Identity(), Sizes.beside(name)


class Graph(FixedTrunk):
    """An ONNX graph as a trunk; it is loaded at its first use.

    Attributes:
        digest: Of the file, so that each graph has its own fingerprint.
    """

    digest: Tensor

    def __init__(self, name: str, lengths: Lengths | None = None) -> None:
        """Use the graph beside a folder.

        Args:
            name: The folder.
            lengths: Tokens of each text without padding; for graphs that take texts one by one.

        Raises:
            UserError: No such file.
        """
        super().__init__()
        folder_of_graph(name)
        self.file = graph_path(name)
        self.fixed = (
            f"{self.file} is an exported tower and does not train: start from the run that it was exported "
            "from."
        )
        self._lengths = lengths
        with self.file.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).digest()
        self.register_buffer("digest", torch.tensor(list(digest), dtype=torch.uint8))

    def forward(self, *inputs: Shaped[Tensor, "step ..."]) -> Float[Tensor, "step *token dim"]:
        """Projected features of each step; on the inputs' device."""
        return self.run(*inputs)

    def run(self, *inputs: Shaped[Tensor, "step ..."]) -> Float[Tensor, "step *token dim"]:
        """Run the graph, in one batch or step by step; texts without their padding."""
        if not self.alone:
            return self._compute(inputs)
        if self._lengths is None:
            rows = zip(*(one.split(1) for one in inputs), strict=True)
            return torch.cat([self._compute(row) for row in rows])
        [ids] = inputs
        lengths: list[int] = self._lengths(ids).tolist()
        read = [
            self._compute((text[None, :length],))[0]
            for text, length in zip(ids, lengths, strict=True)
        ]
        if read[0].ndim == 1:
            return torch.stack(read)
        # Features of padding are zero.
        padded = read[0].new_zeros(*ids.shape, read[0].shape[-1])
        for row, features in zip(padded, read, strict=True):
            row[: len(features)] = features
        return padded

    def _compute(self, inputs: tuple[Tensor, ...]) -> Float[Tensor, "step *token dim"]:
        names = [one.name for one in self.session.get_inputs()]
        feeds = {name: one.detach().cpu().numpy() for name, one in zip(names, inputs, strict=True)}
        [features] = self.session.run([FEATURES], feeds)
        return torch.from_numpy(features).to(inputs[0].device)

    @cached_property
    def session(self) -> Any:
        """The loaded graph, with as many threads as torch.

        Raises:
            UserError: The extra is not installed, or the file is damaged.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(
                f"{self.file} needs onnxruntime: pip install 'trichord[export]'."
            ) from error
        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # warnings about the machine would clutter the output
        accelerators = {"cuda": ["CUDAExecutionProvider"]}.get(self.digest.device.type, [])
        available: list[str] = onnxruntime.get_available_providers()
        providers = [name for name in accelerators if name in available] + ["CPUExecutionProvider"]
        try:
            return onnxruntime.InferenceSession(str(self.file), options, providers=providers)
        except Exception as error:  # its exceptions have no other common class
            raise UserError(
                f"{self.file} is damaged ({str(error).splitlines()[0]}): repeat 'trichord export'."
            ) from error

    @cached_property
    def alone(self) -> bool:
        """Whether it takes steps one by one."""
        metadata: dict[str, str] = self.session.get_modelmeta().custom_metadata_map
        return bool(json.loads(metadata.get(ALONE, "false")))
