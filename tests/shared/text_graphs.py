"""Text towers as ONNX graphs, written once for all tests of a session."""

from pathlib import Path

from trichord.config import ClapText, ClipText
from trichord.encoders.graph import Sizes
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
