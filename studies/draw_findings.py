"""The picture of SLAVA's findings in docs/explanation/papers.md, from `slava_table.json`.

python studies/draw_findings.py
"""

import json
from typing import Any

from matplotlib import pyplot
from matplotlib.lines import Line2D
from record import RESULTS, ROOT

PICTURE = ROOT / "docs" / "images" / "findings.png"
COLOURS = {"holds": "#2a7f62", "does not hold": "#b3403a", "undecided": "#8a8a8a"}


def draw(findings: dict[str, dict[str, Any]]) -> None:
    """A row a finding: its interval, its mean, and a dot for each of the nine cells."""
    figure, axes = pyplot.subplots(figsize=(9, 0.3 * len(findings) + 1.2), layout="constrained")
    for row, one in enumerate(findings.values()):
        colour = COLOURS[one["verdict"]]
        axes.plot(one["cells"], [row] * len(one["cells"]), ".", color=colour, alpha=0.35, ms=6)
        axes.plot((one["low"], one["high"]), (row, row), color=colour, lw=3, solid_capstyle="butt")
        axes.plot(one["difference"], row, "|", color="black", ms=11)
    labels = [
        f"{name}  {one['first']} − {one['other']},  {one['task']}"
        + ("  (level)" if one["claim"] == "level" else "")
        for name, one in findings.items()
    ]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.axvline(0, color="black", lw=0.8)
    axes.invert_yaxis()
    axes.margins(y=0.02)
    axes.set_xlabel("difference of R@10, 95 % interval; dots: worlds with a pair of encoders")
    handles = [Line2D([], [], color=colour, lw=3) for colour in COLOURS.values()]
    axes.legend(handles, COLOURS, loc="lower right", fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    draw(json.loads((RESULTS / "slava_table.json").read_text(encoding="utf-8"))["findings"])
