"""Searches a second over HTTP, at the load that is meant and at ten times that.

    python studies/service.py [--moments 100000] [--seconds 60] [--clients 20] [--threads 1]

Makes a collection of synthetic moments (both vectors of 512 numbers), serves it in a process of its
own as `trichord serve` does, and asks for texts whose vectors are remembered: by vectors alone, what
is measured is HTTP, the line, and the exact search. Writes studies/results/service.json.

Clients and server share the machine. The server's processor seconds a search are given too: other work
on the machine disturbs them less than it disturbs the clock.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from record import record

from trichord.models.embedder import Embedder
from trichord.search.collection import Description, StoredCollection
from trichord.search.table import Entry, FileEntries, FileVersion
from trichord.service import serve
from trichord.types import Moment

DIM = 512
MOMENTS_A_FILE = 20
FILES_A_COMMIT = 250
TEXTS = 200
HITS = 20
OVERLOAD = 10
CALM = 40
"""Looks in a row, 0.05 s apart, that find the server at rest."""
TICKS = os.sysconf("SC_CLK_TCK")


class Texts(Embedder):
    """A model of texts alone, whose vectors come from nowhere."""

    aligned = True
    fingerprint = "synthetic"

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.fusion = None

    def embed_text(self, texts: Sequence[str], toward: str = "vision") -> np.ndarray:
        """One vector a text, the same each time."""
        return np.stack([unit(np.random.default_rng(crc32(text.encode()))) for text in texts])


def unit(random: np.random.Generator, rows: int | None = None) -> np.ndarray:
    shape = DIM if rows is None else (rows, DIM)
    found = random.normal(size=shape).astype(np.float32) + 0.02
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def fill(folder: Path, moments: int) -> None:
    """A collection of so many moments."""
    made = StoredCollection.begin(
        folder,
        Description(
            run="synthetic",
            fingerprint="synthetic",
            seconds=10.0,
            hop=5.0,
            vision_dim=DIM,
            audio_dim=DIM,
        ),
    )
    random = np.random.default_rng(0)
    portion: list[FileEntries] = []
    for file in synthetic(random, moments // MOMENTS_A_FILE):
        portion.append(file)
        if len(portion) == FILES_A_COMMIT:
            made.table.put(portion)
            portion = []
    made.table.put(portion)
    made.table.compact()


def synthetic(random: np.random.Generator, files: int) -> Iterator[FileEntries]:
    for number in range(files):
        name = f"/archive/{number // 100:04}/{number:06}.mp4"
        sight, sound = unit(random, MOMENTS_A_FILE), unit(random, MOMENTS_A_FILE)
        yield FileEntries(
            version=FileVersion(file=name, signature=f"{number:032x}", size=1, mtime_ns=number),
            entries=tuple(
                Entry(
                    moment=Moment(file=name, start=5.0 * i, end=5.0 * i + 10.0),
                    status="ok",
                    vision=sight[i],
                    audio=sound[i],
                )
                for i in range(MOMENTS_A_FILE)
            ),
        )


@dataclass
class Load:
    """What clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    retry: int = 0

    def summary(self, wall: float) -> dict[str, object]:
        """As it is written down."""
        taken = np.array(self.seconds or [np.nan]) * 1000
        refused = sum(n for status, n in self.statuses.items() if status in (429, 503))
        return {
            "searches a second": len(self.seconds) / wall,
            "p50 ms": float(np.percentile(taken, 50)),
            "p99 ms": float(np.percentile(taken, 99)),
            "answers by status": {str(k): v for k, v in sorted(self.statuses.items())},
            "5xx other than 503": sum(
                n for status, n in self.statuses.items() if status >= 500 and status != 503
            ),
            "refusals with Retry-After": f"{self.retry} of {refused}",
        }


async def ask(port: int, until: float, load: Load, seed: int) -> None:
    """A client that asks again as soon as it has its answer, or a tenth of a second after a refusal."""
    random = np.random.default_rng(seed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(request(f"text {random.integers(TEXTS)}"))
        status, head = await answer(reader)
        load.statuses[status] += 1
        if status == 200:
            load.seconds.append(time.perf_counter() - began)
        else:
            load.retry += b"retry-after" in head.lower()
            await asyncio.sleep(0.1)
    writer.close()


def request(text: str) -> bytes:
    body = json.dumps({"parts": [{"text": text}], "k": HITS}).encode()
    return (
        b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    await reader.readexactly(length)
    return int(head[9:12]), head


async def crowd(port: int, clients: int, seconds: float) -> Load:
    load, until = Load(), time.perf_counter() + seconds
    await asyncio.gather(*(ask(port, until, load, seed) for seed in range(clients)))
    return load


@dataclass
class Server:
    """The process that serves."""

    process: subprocess.Popen[str]
    port: int

    @property
    def cpu_seconds(self) -> float:
        """Of its processor so far."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / TICKS

    @property
    def works(self) -> bool:
        """Whether any of its threads runs, or would if it had a processor."""
        try:
            tasks = [*Path(f"/proc/{self.process.pid}/task").glob("*/stat")]
            return any(task.read_text().rpartition(")")[2].split()[0] == "R" for task in tasks)
        except OSError:  # a thread has ended meanwhile
            return True

    @property
    def mebibytes(self) -> float:
        """Of memory that it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def started(folder: Path, threads: int) -> Server:
    """Serve with so many threads in a matrix product; one leaves the other core to HTTP."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)},
    )
    address = process.stdout.readline().strip()
    return Server(process, int(address.rstrip("/").rpartition(":")[2]))


def wait_until_idle(server: Server) -> float:
    """Seconds until it works for nobody any more: what it makes beside searches is there then."""
    began, calm = time.perf_counter(), 0
    while calm < CALM:
        calm = 0 if server.works else calm + 1
        time.sleep(0.05)
    return time.perf_counter() - began - 0.05 * CALM


def measured(server: Server, clients: int, seconds: float) -> dict[str, object]:
    before, cpu, began = server.mebibytes, server.cpu_seconds, time.perf_counter()
    load = asyncio.run(crowd(server.port, clients, seconds))
    wall, spent = time.perf_counter() - began, server.cpu_seconds - cpu
    return {
        "clients": clients,
        "seconds": wall,
        **load.summary(wall),
        "server's processor ms a search": 1000 * spent / max(1, len(load.seconds)),
        "cores that the server got": spent / wall,
        "server's MiB before and after": [before, server.mebibytes],
    }


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--moments", type=int, default=100_000)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--clients", type=int, default=20)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--serve")
    asked = options.parse_args()
    if asked.serve:
        serve(
            asked.serve,
            load=lambda collection: Texts(),
            port=0,
            ready=lambda address: print(address, flush=True),
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        fill(Path(folder) / "collection", asked.moments)
        filled = time.perf_counter() - began
        began = time.perf_counter()
        server = started(Path(folder) / "collection", asked.threads)
        asyncio.run(crowd(server.port, 1, 0.1))
        ready = time.perf_counter() - began
        try:
            beside = wait_until_idle(server)
            asyncio.run(crowd(server.port, asked.clients, asked.seconds / 10))  # texts remembered
            result = {
                "moments": asked.moments,
                "dim": DIM,
                "hits": HITS,
                "threads in a matrix product": asked.threads,
                "seconds to fill the table": filled,
                "seconds until the first answer": ready,
                "seconds from there until it was at rest": beside,
                "load": measured(server, asked.clients, asked.seconds),
                "overload": measured(server, OVERLOAD * asked.clients, asked.seconds / 3),
                "after it": measured(server, asked.clients, asked.seconds / 3),
            }
        finally:
            server.process.terminate()
            server.process.wait(30)
    record("service", result)


if __name__ == "__main__":
    main()
