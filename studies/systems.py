"""The paper's systems on the generated world: five seeds, two settings of the composed captions.

Renders (or reuses) two worlds below a folder, trains all systems on cached features, evaluates them
on the test split and writes what the paper's findings come to, with the time that training took.

    python studies/systems.py [FOLDER]
"""

import json
import sys
from pathlib import Path
from statistics import mean, stdev

from command import trichord
from record import record

from trichord.experiments.slava import SYSTEMS

SEEDS = "0 1 2 3 4"
TEXT_TASKS = (
    "visual<-visual", "visual<-audio", "visual<-audio_visual",
    "audio<-audio", "audio<-visual", "audio<-audio_visual",
)  # fmt: skip


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


def apart(lower: list[float], higher: list[float]) -> dict[str, float]:
    """The gap between two systems' means, beside the larger of their spreads over seeds."""
    return {
        "gap": round(mean(higher) - mean(lower), 4),
        "larger sd": round(max(stdev(lower), stdev(higher)), 4),
    }


def findings(of: dict[str, dict[str, list[float]]]) -> dict[str, object]:
    """What the paper reports, on this world."""
    sound = {name: tasks["visual<-sound"] for name, tasks in of.items() if "visual<-sound" in tasks}
    two_stages = ("wav2clip-frozen-text", "wav2clip-trainable-text")
    direct = ("audioclip", "slava-a-and-v", "slava-av", "audio-visual")
    best_two = max((sound[name] for name in two_stages), key=mean)
    worst_direct = min((sound[name] for name in direct), key=mean)
    seen = {name: tasks["visual<-visual"] for name, tasks in of.items() if name != "audio-visual"}
    trained = {name: values for name, values in seen.items() if name != "zero-shot"}
    others = [values for name, values in trained.items() if name != "audioclip"]
    joint, split = of["slava-a-and-v"], of["wav2clip-trainable-text"]
    return {
        "a: two stages below every system with L_av (visual<-sound)": apart(best_two, worst_direct),
        "a: indirect above two stages": apart(best_two, sound["slava-av-indirect"]),
        "a: indirect below direct": apart(sound["slava-av-indirect"], worst_direct),
        "b: audioclip lowest (visual<-visual)": apart(trained["audioclip"], min(others, key=mean)),
        "c: slava-a-and-v / audio-visual (visual<-sound)": round(
            mean(sound["slava-a-and-v"]) / mean(sound["audio-visual"]), 4
        ),
        "c: slava-a-and-v / wav2clip-trainable-text (text tasks)": {
            task: round(mean(joint[task]) / mean(split[task]), 4) for task in TEXT_TASKS
        },
    }


def run(place: Path) -> None:
    """Measure both settings and write the result."""
    result: dict[str, object] = {
        "protocol": "world 800/100/200, seed 0; 5 training seeds; test split; pessimistic ties",
    }
    for detail in ("full", "brief"):
        held = measure(place / detail, detail)
        held["findings"] = findings(held["R@10"])  # type: ignore[arg-type]
        result[detail] = held
        print(json.dumps(held["findings"], indent=2))
    record("systems", result)


if __name__ == "__main__":
    run(Path(sys.argv[1] if len(sys.argv) > 1 else "demo/systems"))
