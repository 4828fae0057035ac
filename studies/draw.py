"""The table and the picture of docs/explanation/performance.md, from studies/results.

    python studies/draw.py

Prints the table and writes docs/images/performance.png. Every figure was measured beside what it is
compared with, in one run; what that was is in the result's protocol.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib import pyplot
from record import RESULTS, ROOT

PICTURE = ROOT / "docs" / "images" / "performance.png"
Reading = Callable[[Any], float]


@dataclass(frozen=True)
class Line:
    """A comparison: what with what, and where its ratio stands."""

    what: str
    beside: str
    result: str
    ratio: Reading


LIMITS = (
    Line(
        "decoding, median over files", "best bare PyAV loop", "decode", lambda r: r["median_ratio"]
    ),
    Line(
        "indexing, processor time",
        "decoding and towers alone",
        "indexing",
        lambda r: r["towers on the processor"]["1 threads of torch"]["share of the bound"],
    ),
    Line(
        "contrastive loss, 8,192 pairs",
        "its four bare products",
        "loss",
        lambda r: r["side by side"]["bounds"]["share of the bare products' rate that we reach"],
    ),
    Line(
        "step with cached gradients",
        "one forward pass more",
        "cached_gradients",
        lambda r: r["bound of the ratio"] / r["ratio of time"],
    ),
    Line(
        "ranks in both directions",
        "one bare product, float64",
        "ranks",
        lambda r: 1 / r["trained"]["ranks / bare product"],
    ),
    Line(
        "extraction beside a waiting encoder",
        "the slower stage",
        "bulk",
        lambda r: r["overlap"]["overlapping over bound"],
    ),
)
PEERS = (
    Line(
        "from file to tensors",
        "CLIP4VLA's preparation",
        "authors_way",
        lambda r: next(iter(r["folders"].values()))["one worker"]["times_as_fast_processor"],
    ),
    Line(
        "ViT-B/32 in eight bits",
        "plain transformers",
        "towers",
        lambda r: r["pictures"]["ways"]["ours, int8 graph"]["times plain"],
    ),
    Line(
        "ViT-B/32 as a graph, float32",
        "plain transformers",
        "towers",
        lambda r: r["pictures"]["ways"]["ours, graph"]["times plain"],
    ),
    Line(
        "memory of the loss, 8,192 pairs",
        "transformers' own",
        "loss",
        lambda r: (
            r["side by side"]["ways"]["transformers"]["peak memory, MB"]
            / r["side by side"]["ways"]["tiled"]["peak memory, MB"]
        ),
    ),
    Line(
        "time of the loss, 8,192 pairs",
        "transformers' own",
        "loss",
        lambda r: (
            r["side by side"]["ways"]["transformers"]["processor seconds"]
            / r["side by side"]["ways"]["tiled"]["processor seconds"]
        ),
    ),
    Line(
        "a search by text, from the prompt",
        "importing torch and CLIP's text tower",
        "startup",
        lambda r: (
            r["processor seconds"]["import torch and CLIP's text tower"]
            / r["processor seconds"]["search by a text"]
        ),
    ),
)


def main() -> None:
    held = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    figure, panels = pyplot.subplots(2, 1, figsize=(9, 6), constrained_layout=True)
    titles = ("share of the limit", "times better than a peer")
    for panel, lines, title in zip(panels, (LIMITS, PEERS), titles, strict=True):
        drawn = [(line, line.ratio(held[line.result])) for line in lines]
        for line, ratio in drawn:
            print(f"| {line.what} | {line.beside} | {ratio:.2f} | `{line.result}` |")
        draw(panel, drawn, title)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=120)


def draw(panel: Any, drawn: list[tuple[Line, float]], title: str) -> None:
    names = [f"{line.what}\nbeside {line.beside}" for line, _ in drawn]
    ratios = [ratio for _, ratio in drawn]
    bars = panel.barh(names, ratios, color="#4477aa")
    panel.bar_label(bars, [f"{ratio:.2f}" for ratio in ratios], padding=3, fontsize=8)
    panel.axvline(1, color="#aa3377", linewidth=1)
    panel.invert_yaxis()
    panel.set_xlim(0, max(*ratios, 1) * 1.12)
    panel.set_title(title, loc="left", fontsize=10)
    panel.tick_params(axis="y", labelsize=7)


if __name__ == "__main__":
    main()
