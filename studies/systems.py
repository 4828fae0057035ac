"""The paper's systems on the generated world: five seeds, two settings of the composed captions.

Renders (or reuses) two worlds below a folder, trains all systems on cached features, evaluates them
on the test split and writes every seed, with the time that training took. Which of the paper's findings
hold is another study's question: `slava_table.py`.

    python studies/systems.py [FOLDER]
"""

import json
import sys
from pathlib import Path

from command import trichord
from record import record

from trichord.experiments.slava import SYSTEMS

SEEDS = "0 1 2 3 4"


def measure(place: Path, detail: str) -> dict[str, object]:
    """R@10 of every system, task and seed on one world, and the seconds of training."""
    world, clips, runs = place / "world", place / "clips.jsonl", place / "runs"
    trichord(f"world {world} --train 800 --val 100 --test 200 --detail {detail}")
    trichord(f"prepare avcaps {world} {clips}")
    trichord(f"extract {clips} --model world-clip-clap")
    seconds = {}
    for name, (_, experiment) in SYSTEMS.items():
        seeds = f" --seeds {SEEDS}" if experiment.stages else ""
        seconds[name] = trichord(f"train world-{name} {clips} {runs / name}{seeds}")
        trichord(f"evaluate {runs / name} {clips}")
    every = " ".join(str(runs / name) for name in SYSTEMS)
    figure = place / "comparison.png"
    trichord(f"compare {every} --figure {figure} --json {place / 'comparison.json'}")
    return {"training seconds": seconds, "R@10": recalls(runs), "ceiling": ceiling(runs)}


def recalls(runs: Path) -> dict[str, dict[str, list[float]]]:
    """R@10 by system and task, a number a seed."""
    found: dict[str, dict[str, list[float]]] = {}
    for path in sorted(runs.glob("**/evaluation.json")):
        report = json.loads(path.read_text())
        tasks = found.setdefault(report["experiment"], {})
        for row in report["rows"]:
            if "R@10" in row["estimates"]:
                tasks.setdefault(row["name"], []).append(row["estimates"]["R@10"]["value"])
    return found


def ceiling(runs: Path) -> dict[str, float]:
    """The best possible R@10 by task."""
    report = json.loads(next(iter(sorted(runs.glob("**/evaluation.json")))).read_text())
    return {row["name"]: row["ceiling"]["R@10"] for row in report["rows"] if row["ceiling"]}


def run(place: Path) -> None:
    """Measure both settings and write the result."""
    result: dict[str, object] = {
        "protocol": "world 800/100/200, seed 0; 5 training seeds; test split; pessimistic ties",
    }
    for detail in ("full", "brief"):
        result[detail] = measure(place / detail, detail)
    record("systems", result)


if __name__ == "__main__":
    run(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/systems"))
