"""Processes on this machine that carry out shards; one that dies costs its shard another try."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Lock, Thread
from typing import Any, Literal

from trichord.bulk.shards import Part, Shard, read_part, shard_line
from trichord.types import UserError
from trichord.types.cores import cores

TRIES = 3
"""Of a shard whose worker dies; then it is left undone and said so."""
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from trichord.bulk.child import main; main()"
ROOT = str(Path(__file__).resolve().parents[2])

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LANCE_CPU_THREADS", "RAYON_NUM_THREADS")
"""Variables by which torch, Lance and the tokenizers are told how many threads they have."""

_Told = tuple[Literal["part", "done", "lost", "error"], Any]


class Crew:
    """Worker processes, each with a model of its own. Use it as a context manager."""

    def __init__(self, count: int) -> None:
        """Hire workers, which start when there is work.

        Args:
            count: Workers; together they have as many threads as the machine has cores.
        """
        threads = str(max(1, cores() // count))
        # As many threads as cores in all, in torch as in Lance: more only wait for one another.
        self._environment = os.environ | dict.fromkeys(THREADS, threads)
        self.workers = [Worker(self._environment) for _ in range(count)]

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self.workers:
            worker.close()

    def run(self, shards: Sequence[Shard]) -> Iterator[Part]:
        """Carry out shards, each by whichever worker is free; parts come as they are stored.

        Of a shard that is done again, parts may come twice.

        Raises:
            UserError: A worker met one; or shards were left undone because their workers died.
        """
        todo: Queue[tuple[Shard, int]] = Queue()
        for shard in shards:
            todo.put((shard, 1))
        told: Queue[_Told] = Queue()
        over = Event()
        threads = [
            Thread(target=_serve, args=(worker, todo, told, over), daemon=True)
            for worker in self.workers[: max(1, len(shards))]
        ]
        for thread in threads:
            thread.start()
        try:
            lost = yield from _told_of(told, len(shards))
        except BaseException:
            self._end()  # at work with what nobody waits for
            raise
        finally:
            over.set()
            for thread in threads:
                thread.join()
        if lost:
            raise UserError(
                f"{len(lost)} of {len(shards)} shards are not done: their workers died {TRIES} times "
                f"({lost[0]}). What was stored is whole: repeat the command, with fewer --at-once if "
                "memory is short."
            )


class DiedError(Exception):
    """A worker ended in the middle of a shard; the text is the last that it said."""


class Worker:
    """One process, seen from the parent; it starts when it is given something to do."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (it lasts as long as the worker)
        self._closed = False
        self._starting = Lock()
        """Held so that closing finds every process that was started, and none starts after it."""
        self.process: subprocess.Popen[str] | None = None

    def carry_out(self, shard: Shard) -> Iterator[Part]:
        """Parts of a shard as they are stored.

        Raises:
            UserError: The worker met one.
            DiedError: The worker ended before the shard did.
        """
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(shard_line(shard) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                answer = json.loads(line)
                if "error" in answer:
                    raise UserError(answer["error"])
                if "end" in answer:
                    return
                yield read_part(answer["part"])
        except (OSError, ValueError) as error:  # a pipe without a reader, half a line
            raise self._died() from error
        raise self._died()

    def close(self) -> None:
        """End the process at once; no other is started."""
        with self._starting:
            self._closed = True
        self.kill()
        self._complaints.close()

    def kill(self) -> None:
        """End the process at once; the next shard starts another."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:  # unsent words for a dead process
                continue

    def _running(self) -> "subprocess.Popen[str]":
        with self._starting:
            if self._closed:
                raise DiedError("it was closed")
            if self.process is None:
                self._complaints.seek(0)
                self._complaints.truncate()
                self.process = subprocess.Popen(
                    [sys.executable, "-c", BOOT, ROOT],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._complaints,
                    text=True,
                    encoding="utf-8",
                    env=self._environment,
                    start_new_session=True,  # Ctrl-C is for the parent, which ends its workers itself
                )
            return self.process

    def _died(self) -> DiedError:
        process = self.process
        self.kill()
        if self._closed:
            return DiedError("it was closed")
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip().splitlines()
        code = None if process is None else process.returncode
        by = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return DiedError(said[-1][:200] if said and not by.startswith("killed") else by)


def _told_of(told: "Queue[_Told]", shards: int) -> Generator[Part, None, list[str]]:
    """Parts, until all shards are done or lost; returns why those were lost."""
    lost: list[str] = []
    while shards:
        what, value = told.get()
        if what == "part":
            yield value
        elif what == "error":
            raise value
        else:
            shards -= 1
            lost += [value] if what == "lost" else []
    return lost


def _serve(
    worker: Worker, todo: "Queue[tuple[Shard, int]]", told: "Queue[_Told]", over: Event
) -> None:
    """Give a worker one shard after another, until there is nothing left that could be done."""
    while not over.is_set():
        try:
            shard, tries = todo.get(timeout=0.1)
        except Empty:  # another worker may die yet and leave its shard
            continue
        try:
            for part in worker.carry_out(shard):
                told.put(("part", part))
            told.put(("done", None))
        except DiedError as death:
            if tries < TRIES:
                todo.put((shard, tries + 1))
            else:
                told.put(("lost", str(death)))
        except BaseException as error:  # it belongs to whoever waits for the parts
            told.put(("error", error))
            return
