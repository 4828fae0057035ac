"""Starts a script of this folder as several processes of one group, as a launcher does."""

import os
import socket
import subprocess
import sys
from pathlib import Path


def script(name):
    """The path of a script that lies here."""
    return Path(__file__).with_name(f"{name}.py")


def spread(name, count, *arguments):
    """So many processes; ends when all have ended well."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": str(count)}
    held = [
        subprocess.Popen(
            [sys.executable, script(name), *map(str, arguments)],
            env=os.environ | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]
    try:
        assert [one.wait(timeout=300) for one in held] == [0] * count
    finally:
        for one in held:
            one.kill()


def peak_memory(pid):
    """Bytes of memory that a living process has held at most."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
