"""Runs shards by Ray Data, on this machine or on many."""

import json
import logging
import os
import random
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from trichord.bulk.shard_worker import ShardWorker
from trichord.bulk.shards import Part, Shard, adapter
from trichord.types import UserError
from trichord.types.cores import cores

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LANCE_CPU_THREADS", "RAYON_NUM_THREADS")
"""Environment variables for the number of threads of torch, Lance and the tokenizers."""

STORE_BYTES = 128 * 1024**2
"""Ray's shared memory on this machine: only shards and their results pass through it."""


class RayRunner:
    """Actors of Ray Data, each with its own model. Use it as a context manager.

    The cluster is the one in `RAY_ADDRESS`, by default this machine. Media, model and destination
    must have the same names on all of its machines.
    """

    def __init__(self, count: int) -> None:
        """Prepare actors, which start when there is work.

        Args:
            count: Number of actors.

        Raises:
            UserError: Ray is not installed.
        """
        try:
            ray: Any = import_module("ray")
            import_module("ray.data")
        except ImportError as error:
            raise UserError('--runner ray needs Ray: pip install "trichord[ray]".') from error
        self._ray = ray
        self.count = count
        # If the caller has started Ray, the caller ends it.
        self._ours = not ray.is_initialized()
        self._cpus = 1

    def __enter__(self) -> "RayRunner":
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours and self._ray.is_initialized():
            self._ray.shutdown()

    def run(self, shards: Sequence[Shard]) -> Iterator[Part]:
        """Run shards; the parts of a shard come once all of it is done.

        Ray repeats a shard whose actor has died.

        Raises:
            UserError: Raised by an actor.
        """
        if not shards:
            return
        self._begin(shards[0].towers.decoders)
        # In random order: two commands at the same time then meet late and find most of each other's
        # work done. Not by the seeded generator: two commands with one seed would have the same order.
        shards = random.SystemRandom().sample(shards, len(shards))
        # Strings, because Ray stores them in Arrow columns unchanged.
        lines = [{"shard": adapter(Shard).dump_json(shard).decode()} for shard in shards]
        # One block per shard: Ray distributes blocks and repeats them after a death.
        table = self._ray.data.from_items(lines, override_num_blocks=len(lines))
        on_gpu = shards[0].towers.device.startswith("cuda")
        done = table.map_batches(
            Actor,
            batch_size=1,
            # More actors than shards would start for nothing.
            compute=self._ray.data.ActorPoolStrategy(size=min(self.count, len(shards))),
            num_cpus=self._cpus,
            num_gpus=1 if on_gpu else None,
        )
        for row in done.iter_rows():
            answer = json.loads(row["done"])
            if "error" in answer:
                raise UserError(answer["error"])
            yield from (adapter(Part).validate_python(part) for part in answer["parts"])

    def _begin(self, decoders: int) -> None:
        ray = self._ray
        self._cpus = max(1, decoders)
        if not ray.is_initialized():
            # Ray's core warns of things that Ray Data does on purpose.
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
            threads = str(max(1, cores() // self.count))
            local = "RAY_ADDRESS" not in os.environ
            ours: dict[str, Any] = {
                # Possibly more than there are: Ray would wait
                # forever to place an actor on cores that it does not count.
                "num_cpus": max(cores(), self.count * self._cpus),
                "object_store_memory": STORE_BYTES,
                "include_dashboard": False,
            }
            with warnings.catch_warnings():
                # Ray forks only to start other programs.
                warnings.filterwarnings("ignore", message="lance is not fork-safe")
                ray.init(
                    # A running cluster has its own sizes, and Ray refuses others.
                    **(ours if local else {}),
                    logging_level="ERROR",
                    log_to_driver=False,
                    runtime_env={"env_vars": dict.fromkeys(THREADS, threads)} if local else None,
                )
        logging.getLogger("ray.data").setLevel("ERROR")
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False


class Actor:
    """A worker of Ray, which gets shards as rows of one column."""

    def __init__(self) -> None:
        # Never closed, because Ray does not announce the end of an
        # actor. Decoding children end when their pipe closes.
        self._worker = ShardWorker()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Run the shards of a batch."""
        return {"done": [self._carry_out(line) for line in batch["shard"]]}

    def _carry_out(self, line: str) -> str:
        try:
            parts = self._worker.run_shard(adapter(Shard).validate_json(line))
            return json.dumps({"parts": [adapter(Part).dump_python(p, mode="json") for p in parts]})
        # As text, because Ray would wrap the error in its own, with a traceback.
        except UserError as error:
            return json.dumps({"error": str(error)})
