"""Text towers as ONNX graphs, written once for all tests of a session."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from trichord.config import ClapText, ClipText
from trichord.encoders.clap import ClapTextEncoder
from trichord.encoders.clip import ClipTextEncoder
from trichord.encoders.encoder import Encoder
from trichord.encoders.graph import Graph, Sizes
from trichord.exporting.graphs import write_graph, write_text_graph


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


def once(store: Path) -> Callable[[Encoder, Path, Path], None]:
    """`write_text_graph` that copies the files of an encoder that it has written before.

    Torch takes seconds to write a graph, and every indexing has one written.

    Args:
        store: A folder for the files.
    """

    def write(encoder: Encoder, graph: Path, tokenizer: Path) -> None:
        if not _is_known(encoder):
            write_text_graph(encoder, graph, tokenizer)
            return
        held = store / _digest(encoder, graph, tokenizer)
        if not held.exists():
            write_text_graph(encoder, graph, tokenizer)
            part = held.with_suffix(".part")
            part.mkdir()
            for file in (graph, graph.with_name(f"{graph.name}.data"), tokenizer):
                shutil.copy(file, part)
            part.rename(held)
        for file in held.iterdir():
            shutil.copy(file, graph.parent)

    return write


def _is_known(encoder: Encoder) -> bool:
    """Whether the graph follows from weights and settings: no plugin's code, no file, no refusal."""
    own = type(encoder) in (ClipTextEncoder, ClapTextEncoder)
    return own and not isinstance(encoder.trunk, Graph) and encoder.arithmetic == "float32"


def _digest(encoder: Encoder, graph: Path, tokenizer: Path) -> str:
    """Of all that the files follow from."""
    tokens, trunk = encoder.tokenizer.backend_tokenizer.to_str(), encoder.trunk
    settings = {
        name: value
        for name, value in vars(trunk).items()
        if isinstance(value, str | int | float | tuple)
    }
    told = (type(encoder), trunk, settings, trunk.model.config, encoder.max_tokens, tokens)
    digest = hashlib.blake2b(repr((told, graph.name, tokenizer.name)).encode(), digest_size=16)
    for name, value in encoder.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()
