"""Commands of Trichord, run in the process of a study."""

import sys
import time

from trichord.cli import main


def trichord(line: str) -> float:
    """Run a command; gives the seconds it took."""
    print(f"$ trichord {line}", flush=True)
    began = time.monotonic()
    if main(line.split()) != 0:
        sys.exit(f"failed: {line}")
    return time.monotonic() - began
