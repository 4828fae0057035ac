"""Towers as ONNX graphs, traced and written once for all tests of a session."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnx_ir

from trichord.config import ClapText, ClipText
from trichord.encoders.encoder import Encoder
from trichord.encoders.graph import Sizes
from trichord.exporting import graphs
from trichord.exporting.graphs import write_graph


def text_graphs(towers: Path) -> dict[str, ClipText | ClapText]:
    """The configurations of `text` and `sound_text` as graphs.

    Args:
        towers: A folder with `clip` and `clap`; the graphs lie in it.
    """
    return {
        "text": ClipText(
            name=written(ClipText(name=str(towers / "clip")), towers / "clip-graph"),
            arithmetic="graph",
        ),
        "sound_text": ClapText(
            name=written(ClapText(name=str(towers / "clap")), towers / "clap-graph"),
            arithmetic="graph",
        ),
    }


def written(tower: ClipText | ClapText, folder: Path, *, eight_bit: bool = False) -> str:
    """A text tower as a graph, with what prepares its inputs in a folder beside; the folder's name."""
    if not folder.exists():
        built = tower.build()
        write_graph(built, folder.with_name(f"{folder.name}.onnx"), eight_bit=eight_bit)
        built.tokenizer.save_pretrained(folder)
        Sizes(dim=built.dim, width=built.dim, positions=built.max_tokens).write(folder)
    return str(folder)


def traced_once() -> Callable[[Encoder], Any]:
    """What `torch.onnx` makes of an encoder, made once for encoders of the same code and weights.

    Torch takes seconds to trace an encoder, every indexing writes one, and an export another file of it.
    """
    trace, programs = graphs._traced, {}

    def traced(encoder: Encoder) -> Any:
        # Classes themselves are part of the key: a plugin may be loaded again with other code.
        key = (type(encoder), type(encoder.trunk), type(encoder.head), _digest(encoder))
        if key not in programs:
            programs[key] = _Program(trace(encoder).model_proto)
        return programs[key]

    return traced


class _Program:
    """What `torch.onnx` made, a copy for each use: writing a model changes it."""

    def __init__(self, proto: Any) -> None:
        self.bytes = proto.SerializeToString()

    @property
    def model_proto(self) -> Any:
        return onnx.load_from_string(self.bytes)

    @property
    def model(self) -> Any:
        return onnx_ir.from_proto(self.model_proto)


def _digest(encoder: Encoder) -> str:
    """Of all that the graph follows from, beside the code."""
    trunk = encoder.trunk
    settings = {
        name: value
        for name, value in vars(trunk).items()
        if isinstance(value, str | int | float | tuple)
    }
    lengths = [getattr(encoder, name, None) for name in ("max_tokens", "pads_to_max")]
    config = getattr(getattr(trunk, "model", None), "config", None)
    known = (trunk, encoder.head, settings, config, lengths, encoder.fingerprint)
    digest = hashlib.blake2b(repr(known).encode(), digest_size=16)
    for value in (*graphs.example_inputs(encoder), *encoder.state_dict().values()):
        digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()
