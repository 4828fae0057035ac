"""The GPU kit: correctness, then speed, of one card, in minutes.

    python studies/gpu.py [--minutes 8] [--out FILE] [--parts NAME...] [--tiny]
    python studies/gpu.py --pack FOLDER [--python 3.12]

The card's machine needs torch, `transformers`, numpy and safetensors. Everything else travels in the folder
that --pack fills on a machine with a network; its `README` says how to start. Frames and sounds are
synthetic, weights random: nothing is fetched and nothing decoded.

The file (`gpu.json` in the folder of results) is written anew after every measurement, so a stop loses
one at most. --parts runs some parts and keeps the others of the file. A part that fails is noted with its
error, and the rest goes on. The command ends with 1 if a part of the correctness fails or was not reached.
--tiny makes everything small and runs without a GPU, too: for a test of the kit, not for figures.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_correctness as correctness
import gpu_speed as speed
import torch
from gpu_pack import pack
from record import RESULTS, circumstances

DEFAULT = RESULTS / "gpu.json"
Found = Iterator[tuple[str, dict[str, Any]]]


@dataclass
class Kit:
    """What the parts share."""

    device: torch.device
    scale: speed.Scale
    place: Path
    """For the weights."""
    parts: dict[str, dict[str, Any]]
    """What was found."""

    def found(self, part: str) -> dict[str, dict[str, Any]]:
        """The figures of an earlier part."""
        return self.parts.get(part, {}).get("found", {})

    @property
    def peaks(self) -> dict[str, float]:
        """TFLOP/s of products, by precision."""
        return {name: one["peak"] for name, one in self.found("matrix peak").items()}


@dataclass(frozen=True)
class Part:
    """A part of the kit: its seconds at most, of eight minutes, and what it yields."""

    seconds: int
    run: Callable[[Kit], Found]
    correctness: bool = False


PARTS: dict[str, Part] = {
    "losses": Part(30, lambda kit: correctness.losses(kit.device), correctness=True),
    "fusions": Part(30, lambda kit: correctness.fusions(kit.device, kit.place), correctness=True),
    "captions": Part(45, lambda kit: correctness.captions(kit.device, kit.place), correctness=True),
    "steps": Part(30, lambda kit: correctness.steps(kit.device, kit.place), correctness=True),
    "determinism": Part(
        40, lambda kit: correctness.determinism(kit.device, kit.place), correctness=True
    ),
    "one rank": Part(30, lambda kit: correctness.one_rank(kit.device, kit.place), correctness=True),
    "matrix peak": Part(20, lambda kit: speed.matrix_peak(kit.device, kit.scale)),
    "large losses": Part(45, lambda kit: speed.large_losses(kit.device, kit.scale, kit.peaks)),
    "caption writing": Part(
        30, lambda kit: speed.caption_writing(kit.device, kit.scale, kit.place)
    ),
    "extraction": Part(30, lambda kit: speed.extraction(kit.device, kit.scale, kit.place)),
    "pretraining": Part(
        200,
        lambda kit: speed.pretraining(kit.device, kit.scale, kit.place, kit.peaks.get("bfloat16")),
    ),
    "projection": Part(10, lambda kit: speed.projection(kit.found("pretraining"), kit.scale)),
    "towers": Part(
        100, lambda kit: speed.towers(kit.device, kit.scale, kit.place, kit.peaks.get("bfloat16"))
    ),
}
"""In the order of their run: what matters most, and what takes least, comes first."""


class OutOfTimeError(BaseException):
    """A part has used up its time; no `except Exception` on its way holds it up."""


@contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Raise `OutOfTimeError` in the block after so many seconds."""

    def stop(*_: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))  # 0 would be no limit
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_part(name: str, kit: Kit, limit: float, save: Callable[[], None]) -> None:
    """Run a part within its time; whatever it yields is saved at once."""
    part, began = PARTS[name], time.monotonic()
    entry: dict[str, Any] = {"state": "running", "found": {}}
    kit.parts[name] = entry
    save()
    # A part that ran out of time leaves its settings and its memory behind.
    prepare_torch()
    speed.free(kit.device)
    try:
        with time_limit(limit):
            for key, figures in part.run(kit):
                entry["found"][key] = figures
                save()
        failed = [str(key) for key, figures in entry["found"].items() if "failed" in figures]
        entry["state"] = f"complete but for {', '.join(failed)}" if failed else "complete"
    except OutOfTimeError:
        entry["state"] = f"out of time after {limit:.0f} s"
    except Exception as error:  # the rest is still worth its time
        traceback.print_exc()
        entry["state"] = f"failed: {type(error).__name__}: {error}"
    entry["seconds"] = round(time.monotonic() - began, 1)
    if part.correctness:
        passed = [one["passed"] for one in entry["found"].values()]
        entry["passed"] = entry["state"] == "complete" and bool(passed) and all(passed)
    save()
    print(f"{name}: {entry['state']}, {entry['seconds']} s", entry.get("passed", ""), flush=True)


def device_facts(device: torch.device) -> dict[str, Any]:
    """Name, memory and versions."""
    facts: dict[str, Any] = {"name": "cpu", "torch": torch.__version__, "tf32": "off"}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        facts |= {
            "name": card.name,
            "memory, GB": card.total_memory / 1e9,
            "multiprocessors": card.multi_processor_count,
            "capability": list(torch.cuda.get_device_capability(device)),
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }
    return facts


def prepare_torch() -> None:
    """Full single precision, and repeatable products where they are asked for."""
    # cuBLAS reads it at its first call; without it torch refuses deterministic products.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False  # torch allows it for convolutions by default


def write(path: Path, whole: Mapping[str, Any]) -> None:
    """Replace the file at once: a stop in the middle leaves the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    half.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
    half.replace(path)


def earlier(path: Path, facts: Mapping[str, Any], tiny: bool) -> dict[str, Any]:
    """The parts of an earlier run on the same device; none without a file."""
    if not path.is_file():
        return {}
    before = json.loads(path.read_text())
    if (before["device"], before["tiny"]) != (facts, tiny):
        sys.exit(f"--parts: {path} is of another device: name another file by --out.")
    return before["parts"]


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="of all parts together")
    parser.add_argument("--out", type=Path, default=DEFAULT, help="the file of figures")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), help="these alone")
    parser.add_argument("--tiny", action="store_true", help="small sizes, on a CPU too")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="only fill this folder")
    parser.add_argument("--python", default="3.12", help="with --pack: the version over there")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run the parts; 1 if a part of the correctness failed or was not reached."""
    asked = arguments(given)
    if asked.pack:
        pack(asked.pack, asked.python)
        return 0
    if not (torch.cuda.is_available() or asked.tiny):
        sys.exit("There is no CUDA device: --tiny runs on the CPU.")
    began = time.monotonic()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    facts = device_facts(device)
    parts = earlier(asked.out, facts, asked.tiny) if asked.parts else {}
    whole = {
        "protocol": " ".join(__doc__.split()),
        "device": facts,
        "tiny": asked.tiny,
        "measured on": circumstances(),
        "parts": parts,
    }
    with tempfile.TemporaryDirectory() as place:
        scale = speed.TINY if asked.tiny else speed.FULL
        kit = Kit(device, scale, Path(place), parts)
        for name in asked.parts or PARTS:
            left = 60 * asked.minutes - (time.monotonic() - began)
            limit = min(left, PARTS[name].seconds * asked.minutes / 8)
            run_part(name, kit, limit, lambda: write(asked.out, whole))
    failed = [name for name in asked.parts or PARTS if not parts[name].get("passed", True)]
    print(f"{asked.out}: " + (f"NOT correct: {', '.join(failed)}" if failed else "all correct"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
