"""The way to read media: a pool of child processes that probe and decode files."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import LifoQueue
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trichord.media.decoded import Decoded, Work, samples_in
from trichord.media.plan import DecodePlan, Limits, Request, Span
from trichord.media.probe import STATUSES, AudioStream, Probe, Status, VideoStream
from trichord.media.wire import Arrays, Header, WireError
from trichord.media.worker import CrashedError, LateError, Worker

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD_PER_WORKER = 2
"""Requests taken before their turn, so that no worker waits while the caller is busy."""


class Decoder:
    """Probes and decodes media files in `workers` child processes that can be killed.

    A bad file costs its own answers and no more: what goes wrong is a status, never an exception.
    The same file and span give the same arrays, bit for bit, on whichever worker and whatever
    other spans are asked for with it. Use it as a context manager; children start when needed.
    """

    def __init__(self, workers: int = 2, limits: Limits | None = None) -> None:
        if workers < 1:
            raise ValueError("A decoder needs at least one worker.")
        self.limits = limits or Limits()
        self.workers = [Worker(self.limits) for _ in range(workers)]
        self._idle: LifoQueue[Worker] = LifoQueue()
        for worker in self.workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="trichord-media")

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all children; requests under way in other threads fail."""
        idle: list[Worker] = []
        while not self._idle.empty():
            idle.append(self._idle.get())
        for worker in self.workers:
            if worker in idle:
                worker.close()
            else:
                worker.abort()
        self._threads.shutdown(cancel_futures=True)

    def probe(self, path: str | Path) -> Probe:
        """What a file holds; a status also where it cannot be opened."""
        answer = self._ask({"kind": "probe", "path": str(path)}, lambda header, arrays: None)
        if "probe" not in answer:
            return Probe(path=str(path), status=answer["status"], reason=answer["reason"])
        return _probe_from(answer["probe"], str(path))

    def decode(self, path: str | Path, spans: Sequence[Span], plan: DecodePlan) -> list[Decoded]:
        """Decode spans of a file, which may overlap, in one pass; results in their order."""
        return self.decode_measured(Request(path=path, spans=spans, plan=plan))[0]

    def decode_measured(self, request: Request) -> tuple[list[Decoded], Work]:
        """Decode a request and say what it cost."""
        found: dict[int, Decoded] = {}

        def take(header: Header, arrays: Arrays) -> None:
            number = header["span"]
            if number in found or number not in range(len(request.spans)):
                raise WireError("a span nobody asked for")
            found[number] = _decoded_from(header, arrays, request.plan)

        answer = self._ask(_message(request), take)
        failed = Decoded(
            status=answer.get("status", "corrupt"),
            reason=answer.get("reason", "the decoder gave no answer"),
        )
        results = [
            found.get(n)
            or dataclasses.replace(
                failed, start=start, end=start if end is None else end, sound_start=start
            )
            for n, (start, end) in enumerate(request.spans)
        ]
        return results, Work(**answer.get("work", {}))

    def probe_all(self, paths: Iterable[str | Path]) -> Iterator[Probe]:
        """Probe many files on all workers; answers come in the order of the paths."""
        return self._in_order(self.probe, paths)

    def decode_all(self, requests: Iterable[Request]) -> Iterator[list[Decoded]]:
        """Decode many files on all workers; answers come in the order of the requests.

        Requests are drawn only a few ahead of what has been taken, so memory stays bounded.
        """
        return self._in_order(lambda request: self.decode_measured(request)[0], requests)

    def _in_order(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        ahead: deque[Future[Result]] = deque()
        try:
            for item in items:
                ahead.append(self._threads.submit(task, item))
                if len(ahead) >= AHEAD_PER_WORKER * len(self.workers):
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    def _ask(self, message: Header, take: Callable[[Header, Arrays], None]) -> Header:
        """The last answer to a message, or a status that says why there is none."""
        worker = self._idle.get()
        try:
            return _asked_twice(worker, message, take)
        except LateError:
            seconds = self.limits.wall_seconds
            return {"status": "timeout", "reason": f"not done within {seconds:g} s"}
        except CrashedError:
            return {"status": "corrupt", "reason": "decoder crashed"}
        finally:
            self._idle.put(worker)


def _asked_twice(worker: Worker, message: Header, take: Callable[[Header, Arrays], None]) -> Header:
    """Ask again where the child crashed, which may have been bad luck, not the file."""
    got: list[tuple[Header, Arrays]] = []
    try:
        answer = worker.ask(message, lambda header, arrays: got.append((header, arrays)))
    except CrashedError:
        got.clear()
        answer = worker.ask(message, lambda header, arrays: got.append((header, arrays)))
    try:
        for header, arrays in got:
            take(header, arrays)
        if not {"probe", "work", "status"} & answer.keys():
            raise WireError("an end without an answer")
    except (WireError, ValueError, KeyError, TypeError) as error:
        worker.kill()  # a child that lies is not asked again
        raise CrashedError(str(error)) from None
    return answer


def _message(request: Request) -> Header:
    plan: dict[str, Any] = dataclasses.asdict(request.plan)
    spans = [list(span) for span in request.spans]
    return {"kind": "decode", "path": str(request.path), "spans": spans, "plan": plan}


def _status(value: object) -> Status:
    for status in STATUSES:
        if status == value:
            return status
    raise WireError("an unknown status")


def _probe_from(answer: dict[str, Any], path: str) -> Probe:
    fields: dict[str, Any] = {**answer, "path": path, "status": _status(answer["status"])}
    fields["video"] = VideoStream(**answer["video"]) if answer["video"] else None
    fields["audio"] = tuple(AudioStream(**stream) for stream in answer["audio"])
    return Probe(**fields)


def _decoded_from(header: Header, arrays: Arrays, plan: DecodePlan) -> Decoded:
    """A span's answer, checked against what was asked for."""
    start, end = float(header["start"]), float(header["end"])
    times = arrays.pop("times", np.zeros(0))
    frames = arrays.pop("frames", None)
    if frames is not None:
        wanted = plan.frames.count if plan.frames is not None else 0
        shape = frames.shape
        if len(shape) != 4 or shape[3] != 3 or not 0 < len(frames) == len(times) <= wanted:
            raise WireError("frames nobody asked for")
    return Decoded(
        status=_status(header["status"]),
        reason=str(header["reason"]),
        start=start,
        end=end,
        sound_start=plan.sound_span(start, end)[0],
        frames=frames,
        times=times,
        audio=_sound_from(arrays, plan, plan.sound_length(start, end)),
    )


def _sound_from(arrays: Arrays, plan: DecodePlan, seconds: float) -> dict[int, NDArray[np.float32]]:
    if not {int(rate) for rate in arrays} <= set(plan.rates):
        raise WireError("sound nobody asked for")
    audio = {rate: arrays[str(rate)] for rate in plan.rates if str(rate) in arrays}
    for rate, samples in audio.items():
        count = samples_in(seconds, rate)
        shapes = [(1, count), (2, count)] if plan.stereo else [(count,)]
        if samples.shape not in shapes or samples.dtype != np.float32:
            raise WireError("sound of a wrong shape")
    return audio
