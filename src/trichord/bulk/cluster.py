"""Ray Data as the one who carries out shards, on this machine or on many."""

import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from trichord.bulk.shard_worker import Hand
from trichord.bulk.shards import Part, Shard, part_line, read_part, read_shard, shard_line
from trichord.types import UserError
from trichord.types.cores import cores

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "LANCE_CPU_THREADS", "RAYON_NUM_THREADS")
"""Variables that tell torch, Lance and the tokenizers how many threads they may use."""

STORE_BYTES = 128 * 1024**2
"""Of Ray's shared memory on this machine: only shards and what is said of them pass through it."""


class Cluster:
    """Actors of Ray Data, each with a model of its own. Use it as a context manager.

    The cluster is the one that `RAY_ADDRESS` names; without it, this machine. Media, model and
    destination must be reachable by the same names on all of its machines.
    """

    def __init__(self, count: int) -> None:
        """Hire actors, which start when there is work.

        Args:
            count: Actors.

        Raises:
            UserError: Ray is not installed.
        """
        try:
            ray: Any = import_module("ray")
            import_module("ray.data")
        except ImportError as error:
            raise UserError(
                '--runner ray: install what it needs: pip install "trichord[ray]".'
            ) from error
        self._ray = ray
        self.count = count
        # A Ray that the caller has started stays with the caller.
        self._ours = not ray.is_initialized()
        self._cpus = 1

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours and self._ray.is_initialized():
            self._ray.shutdown()

    def run(self, shards: Sequence[Shard]) -> Iterator[Part]:
        """Carry out shards; the parts of one come once all of it is done.

        Ray does a shard again whose actor has died.

        Raises:
            UserError: An actor met one.
        """
        if not shards:
            return
        self._begin(shards[0].towers.decoders)
        # Strings, which Ray keeps in Arrow columns as they are.
        lines = [{"shard": shard_line(shard)} for shard in shards]
        # A shard a block: blocks are what Ray hands out, and does again after a death.
        table = self._ray.data.from_items(lines, override_num_blocks=len(lines))
        on_gpu = shards[0].towers.device.startswith("cuda")
        done = table.map_batches(
            Actor,
            batch_size=1,
            # An actor more than there are shards would start for nothing.
            compute=self._ray.data.ActorPoolStrategy(size=min(self.count, len(shards))),
            num_cpus=self._cpus,
            num_gpus=1 if on_gpu else None,
        )
        for row in done.iter_rows():
            answer = json.loads(row["done"])
            if "error" in answer:
                raise UserError(answer["error"])
            yield from (read_part(part) for part in answer["parts"])

    def _begin(self, decoders: int) -> None:
        ray = self._ray
        self._cpus = max(1, decoders)
        if not ray.is_initialized():
            # Its core would report what it takes for a danger and Ray Data does on purpose.
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
            threads = str(max(1, cores() // self.count))
            local = "RAY_ADDRESS" not in os.environ
            ours: dict[str, Any] = {
                # More than there are, if need be: Ray would wait for
                # ever to place an actor on cores that it does not count.
                "num_cpus": max(cores(), self.count * self._cpus),
                "object_store_memory": STORE_BYTES,
                "include_dashboard": False,
            }
            with warnings.catch_warnings():
                # Ray forks only to start other programs.
                warnings.filterwarnings("ignore", message="lance is not fork-safe")
                ray.init(
                    # A cluster that runs has its own sizes, and Ray refuses others.
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
    """What Ray starts: a hand that takes shards as rows of one column."""

    def __init__(self) -> None:
        # Nobody closes it: Ray does not say when an actor ends.
        # The children that decode end when their pipe does.
        self._hand = Hand()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """Carry out the shards of a batch."""
        return {"done": [self._carry_out(line) for line in batch["shard"]]}

    def _carry_out(self, line: str) -> str:
        try:
            return json.dumps(
                {"parts": [part_line(part) for part in self._hand.carry_out(read_shard(line))]}
            )
        # As text: Ray would wrap the error in one of its own, with a traceback.
        except UserError as error:
            return json.dumps({"error": str(error)})
