"""The way to read media: a pool of child processes that probe and decode files."""

import dataclasses
import math
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from queue import LifoQueue
from types import TracebackType
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from trichord.media.decoded import Decoded, Work, samples_in
from trichord.media.ipc import NONSENSE, Arrays, Header, IpcError
from trichord.media.plan import DecodePlan, Limits, Request, Span
from trichord.media.probe import STATUSES, AudioStream, Probe, Status, VideoStream
from trichord.media.worker import CrashedError, LateError, Worker

Item = TypeVar("Item")
Result = TypeVar("Result")
Part = TypeVar("Part", VideoStream, AudioStream, Work)

AHEAD_PER_WORKER = 2
"""Requests taken before their turn, so that no worker waits while the caller is busy."""


class Decoder:
    """Probes and decodes media files in `workers` child processes that can be killed.

    A bad file costs its own answers and no more: what goes wrong is a status, never an exception.
    The same file and span give the same arrays, bit for bit, on whichever worker and whatever
    other spans are asked for with it (only what FFmpeg makes up for damaged pictures may
    depend on where decoding began). Use it as a context manager; children start when needed.
    """

    def __init__(self, workers: int = 2, limits: Limits | None = None) -> None:
        if workers < 1:
            raise ValueError("A decoder needs at least one worker.")
        self.limits = limits or Limits()
        self.workers = [Worker(self.limits) for _ in range(workers)]
        # The last worker used is the next one: its child
        # runs already, and others may never have to start.
        self._idle: LifoQueue[Worker] = LifoQueue()
        for worker in self.workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="trichord-media")
        # Whoever forgets to close it, or cannot, leaves no children behind.
        # The list, not a method of this object: that would keep the object alive.
        weakref.finalize(self, _close_all, self.workers)

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
        # Whoever is not idle is at work, perhaps for minutes: killed, not waited for.
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
        message = {"kind": "probe", "path": str(path)}
        return self._ask(message, lambda header, arrays: None, self._probe_from(str(path)))[1]

    def decode(self, path: str | Path, spans: Sequence[Span], plan: DecodePlan) -> list[Decoded]:
        """Decode spans of a file, which may overlap, in one pass; results in their order."""
        return self.decode_measured(Request(path=path, spans=spans, plan=plan))[0]

    def decode_measured(self, request: Request) -> tuple[list[Decoded], Work]:
        """Decode a request and say what it cost."""

        def take(header: Header, arrays: Arrays) -> tuple[int, Decoded]:
            number = header["span"]
            if number not in range(len(request.spans)):
                raise IpcError("a span nobody asked for")
            return number, _decoded_from(header, arrays, request.plan, self.limits)

        taken, (failed, work) = self._ask(_message(request), take, _end_from)
        found = dict(taken)
        results = [
            found.get(n)
            or dataclasses.replace(
                failed, start=start, end=start if end is None else end, audio_start=start
            )
            for n, (start, end) in enumerate(request.spans)
        ]
        return results, work

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

    def _ask(
        self,
        message: Header,
        take: Callable[[Header, Arrays], Item],
        conclude: Callable[[Header], Result],
    ) -> tuple[list[Item], Result]:
        """The answers to a message and the last one, or a status that says why there is none."""
        worker = self._idle.get()
        try:
            return _asked_twice(worker, message, take, conclude)
        except LateError:
            reason = f"not done within {self.limits.wall_seconds:g} s"
            return [], conclude({"status": "timeout", "reason": reason})
        except CrashedError:
            return [], conclude({"status": "corrupt", "reason": "decoder crashed"})
        finally:
            self._idle.put(worker)

    def _probe_from(self, path: str) -> Callable[[Header], Probe]:
        def read(answer: Header) -> Probe:
            found = answer.get("probe")
            if found is None:
                return Probe(path=path, status=_status(answer), reason=str(answer["reason"]))
            video, audio = found["video"], found["audio"]
            return Probe(
                path=path,
                status=_status(found),
                reason=str(found["reason"]),
                container=str(found["container"]),
                size=int(found["size"]),
                duration=_seconds(found["duration"], 0.0, self.limits.seconds),
                video=_typed(VideoStream(**video)) if video else None,
                audio=tuple(_typed(AudioStream(**stream)) for stream in audio),
            )

        return read


def _close_all(workers: list[Worker]) -> None:
    for worker in workers:
        worker.close()


def _asked_twice(
    worker: Worker,
    message: Header,
    take: Callable[[Header, Arrays], Item],
    conclude: Callable[[Header], Result],
) -> tuple[list[Item], Result]:
    """Ask again where the child crashed, which may have been bad luck, not the file."""
    try:
        return _asked(worker, message, take, conclude)
    except CrashedError:
        return _asked(worker, message, take, conclude)


def _asked(
    worker: Worker,
    message: Header,
    take: Callable[[Header, Arrays], Item],
    conclude: Callable[[Header], Result],
) -> tuple[list[Item], Result]:
    """Every answer is checked as it comes: a child that lies cannot pile up what nobody wants."""
    got: list[Item] = []
    # A probe has no spans: its only answer is the last one.
    most = len(message.get("spans", ()))

    def collect(header: Header, arrays: Arrays) -> None:
        if len(got) == most:
            raise IpcError("more answers than were asked for")
        got.append(take(header, arrays))

    try:
        return got, conclude(worker.ask(message, collect))
    except NONSENSE as error:
        worker.kill()
        raise CrashedError(str(error)) from None


def _message(request: Request) -> Header:
    spans = [list(span) for span in request.spans]
    plan = _described(request.plan)
    return {"kind": "decode", "path": str(request.path), "spans": spans, "plan": plan}


@lru_cache(16)  # many requests have one plan
def _described(plan: DecodePlan) -> dict[str, Any]:
    return dataclasses.asdict(plan)


def _status(answer: Header) -> Status:
    for status in STATUSES:
        if status == answer["status"]:
            return status
    raise IpcError("an unknown status")


def _seconds(value: object, least: float = -math.inf, most: float = math.inf) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise IpcError("a time that is none")
    if not least <= value <= most:
        raise IpcError("a time beyond the limits")
    return float(value)


def _typed(part: Part) -> Part:
    """A part of an answer, if its fields are what they are declared to be, and numbers finite."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        endless = isinstance(value, float) and not math.isfinite(value)
        if endless or not isinstance(value, cast("type", field.type)):
            raise IpcError(f"a wrong {field.name}")
    return part


def _end_from(answer: Header) -> tuple[Decoded, Work]:
    """What spans without an answer are, and what the pass cost."""
    if "work" in answer:
        missing = Decoded(status="corrupt", reason="the decoder gave no answer")
        return missing, _typed(Work(**answer["work"]))
    return Decoded(status=_status(answer), reason=str(answer["reason"])), Work()


def _decoded_from(header: Header, arrays: Arrays, plan: DecodePlan, limits: Limits) -> Decoded:
    """A span's answer, checked against what was asked for."""
    start, end = _seconds(header["start"]), _seconds(header["end"])
    times = arrays.pop("times", np.zeros(0))
    frames = arrays.pop("frames", None)
    if frames is not None:
        _check_frames(frames, times, plan, limits)
    return Decoded(
        status=_status(header),
        reason=str(header["reason"]),
        start=start,
        end=end,
        audio_start=plan.audio_span(start, end)[0],
        frames=frames,
        times=times,
        audio=_audio_from(arrays, plan, plan.audio_length(start, end)),
    )


def _check_frames(
    frames: NDArray[Any], times: NDArray[Any], plan: DecodePlan, limits: Limits
) -> None:
    wanted = plan.frames.count if plan.frames is not None else 0
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise IpcError("frames that are no pictures")
    if not 0 < len(frames) == len(times) <= wanted or times.dtype != np.float64 or times.ndim != 1:
        raise IpcError("frames nobody asked for")
    if frames[0, :, :, 0].size > limits.pixels or not np.isfinite(times).all():
        raise IpcError("frames beyond the limits")


def _audio_from(arrays: Arrays, plan: DecodePlan, seconds: float) -> dict[int, NDArray[np.float32]]:
    if not {int(rate) for rate in arrays} <= set(plan.rates):
        raise IpcError("sound nobody asked for")
    audio = {rate: arrays[str(rate)] for rate in plan.rates if str(rate) in arrays}
    for rate, samples in audio.items():
        count = samples_in(seconds, rate)
        shapes = [(1, count), (2, count)] if plan.stereo else [(count,)]
        if samples.shape not in shapes or samples.dtype != np.float32:
            raise IpcError("sound of a wrong shape")
    return audio
