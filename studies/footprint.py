"""What an installation brings: packages and megabytes, beside sentence-transformers'.

    python studies/footprint.py

Each is installed into an empty environment of its own, by pip, with the versions of constraints.txt, and
every distribution that is there then is counted, the one that was asked for and torch's own among them.
torch is whatever build the package index of this machine has; builds for CUDA bring a dozen more.
Writes studies/results/footprint.json.
"""

import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path

from record import record

ROOT = Path(__file__).parents[1]
TORCH = "torch>=2.8,<2.14"
OURS, PEER = "trichord", "sentence-transformers"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pip("wheel", "--no-deps", "--wheel-dir", str(root), str(ROOT))
        [wheel] = root.glob("*.whl")
        asked = {
            OURS: [str(wheel)],
            f"{OURS}[search]": [f"{OURS}[search] @ {wheel.as_uri()}"],
            f"{OURS}[towers]": [f"{OURS}[towers] @ {wheel.as_uri()}", TORCH],
            PEER: [PEER, TORCH],
        }
        found = {name: installed(root / str(i), asked[name]) for i, name in enumerate(asked)}
        size = wheel.stat().st_size
    counts = {name: len(packages) for name, (packages, _) in found.items()}
    record(
        "footprint",
        {
            "protocol": (
                "pip install into an empty environment with the versions of constraints.txt; all "
                "distributions counted; megabytes of 10^6 bytes, compiled Python files left out"
            ),
            "distributions, itself included": counts,
            "distributions that it brings": {name: one - 1 for name, one in counts.items()},
            "brought / brought by the peer": (counts[OURS] - 1) / (counts[PEER] - 1),
            "megabytes": {name: megabytes for name, (_, megabytes) in found.items()},
            "wheel, megabytes": size / 1e6,
            "packages": {name: packages for name, (packages, _) in found.items()},
        },
    )


def installed(place: Path, asked: Sequence[str]) -> tuple[list[str], float]:
    """Distributions of an environment into which something was installed, and their megabytes."""
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    constraints = str(ROOT / "constraints.txt")
    pip("--python", str(python), "install", "--no-compile", "--constraint", constraints, *asked)
    [packages] = place.glob("lib/python*/site-packages")
    names = sorted(one.metadata["Name"] for one in distributions(path=[str(packages)]))
    files = (file for file in packages.rglob("*") if file.is_file())
    return names, sum(file.stat().st_size for file in files) / 1e6


def pip(*words: str) -> None:
    """Run pip, of this environment."""
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *words], check=True)


if __name__ == "__main__":
    main()
