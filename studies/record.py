"""Where figures are kept: studies/results/NAME.json, with the machine and the state of the code."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = Path(os.environ.get("STUDY_RESULTS", ROOT / "studies" / "results"))
"""Another folder for a try in small, which must not replace figures."""
VERSIONED = ("torch", "transformers", "numpy", "av", "pylance", "faiss-cpu", "onnxruntime", "ray")


def record(name: str, result: Mapping[str, object]) -> None:
    """Write a subject's figures, with what they were measured on, and print them.

    Args:
        name: Of the file, without ending.
        result: Values that JSON knows; the script's protocol among them.
    """
    whole = {**result, "measured on": circumstances()}
    folder = Path(os.environ.get("STUDY_RESULTS", RESULTS))  # --quick sets it later than the import
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(whole, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text + "\n")
    print(text)


def circumstances() -> dict[str, object]:
    """Machine, load, versions and commit; `changed` where the checkout holds more than the commit."""
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "load over 1, 5 and 15 minutes": [round(load, 1) for load in os.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: found for name in VERSIONED if (found := installed(name))},
        "commit": git("rev-parse", "--short", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--", "src")),
    }


def processor() -> str:
    """What the machine calls its processor."""
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def installed(name: str) -> str | None:
    """A package's version; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git(*words: str) -> str:
    """What git says of this checkout; empty where there is none, and where git is not installed."""
    asked = ["git", "-C", str(ROOT), *words]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""
