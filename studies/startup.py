"""From the prompt to the answer: what starting costs, beside importing torch alone.

    python studies/startup.py COLLECTION [--rounds 5]

COLLECTION is one that `trichord index` has made, of any model, with the extra `search` installed; the text
encoders in its folder `cache` are removed before the first search, which writes them again. Every line
runs in a process of its own, all lines in turn, the rounds one after another, so that files are in the
page cache and other work disturbs all alike; the least of the rounds is told, in processor seconds over
all threads and by the clock. The first search loads the whole model and writes its text encoders as ONNX
graphs; the second computes their digests; the later ones, each by another text, only read them. Writes
studies/results/startup.json.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from record import record

BUDGET = 1.5
"""Processor seconds from the prompt to the answer of a search that we allow ourselves."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("collection", type=Path)
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    trichord = [sys.executable, "-m", "trichord"]
    search = [*trichord, "search", str(asked.collection)]
    python = [sys.executable, "-c"]
    lines = {
        "python, nothing": [*python, "pass"],
        "import numpy": [*python, "import numpy"],
        "import trichord": [*python, "import trichord"],
        "trichord --help": [*trichord, "--help"],
        "trichord search --help": [*trichord, "search", "--help"],
        "an argument mistaken": [*search, "words", "--sond", "1"],
        "search by a text": [*search, "a red bell swings while it rings"],
        "import torch": [*python, "import torch"],
        "import torch and CLIP's text tower": [
            *python, "import torch; from transformers import CLIPTextModelWithProjection",
        ],
    }  # fmt: skip
    cache = asked.collection / "cache"
    shutil.rmtree(cache / "text-encoders", ignore_errors=True)
    first = measured([*search, "the first text"])
    time.sleep(3)  # digests of files are noted once the files are two seconds old
    second = measured([*search, "the second text"])
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in lines}
    for _ in range(asked.rounds):
        for name, line in lines.items():
            text = [f"{line[-1]} {time.time_ns()}"] if name == "search by a text" else line[-1:]
            taken[name].append(measured([*line[:-1], *text]))
    least = {name: least_of(times) for name, times in taken.items()}
    record(
        "startup",
        {
            "protocol": (
                f"each line in a process of its own, least of {asked.rounds} rounds, lines in turn; every "
                "search by another text"
            ),
            "processor seconds": {name: cpu for name, (cpu, _) in least.items()},
            "seconds by the clock": {name: wall for name, (_, wall) in least.items()},
            "first search of all, which loads the model and writes graphs": {
                "processor": first[0],
                "clock": first[1],
            },
            "second search, which computes digests": {"processor": second[0], "clock": second[1]},
            "budget": BUDGET,
            "search by a text / budget, processor": least["search by a text"][0] / BUDGET,
            "search by a text / import torch, processor": (
                least["search by a text"][0] / least["import torch"][0]
            ),
        },
    )


def measured(line: list[str]) -> tuple[float, float]:
    """Processor seconds, own and the system's, and seconds by the clock of a command."""
    before, began = os.times(), time.monotonic()
    done = subprocess.run(line, capture_output=True, check=False)
    after = os.times()
    if done.returncode not in (0, 2):
        raise SystemExit(done.stderr.decode())
    cpu = sum(after[2:4]) - sum(before[2:4])
    return cpu, time.monotonic() - began


def least_of(times: list[tuple[float, float]]) -> tuple[float, float]:
    """The least of each."""
    return min(cpu for cpu, _ in times), min(wall for _, wall in times)


if __name__ == "__main__":
    main()
