"""The entry point to media: a pool of child processes that probe and decode files."""

import dataclasses
import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from queue import LifoQueue
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from trichord.media.decoded import Decoded, DecodeWork, Excerpt, samples_in
from trichord.media.ipc import MALFORMED, Arrays, Header, IpcError
from trichord.media.pipeline import parallel_map
from trichord.media.plan import DecodePlan, DecodeRequest, Limits, Span
from trichord.media.probe import STATUSES, AudioStream, Probe, Status, VideoStream
from trichord.media.subtitle_tracks import SubtitleTrack
from trichord.media.worker import CrashedError, LateError, Worker

Item = TypeVar("Item")
Result = TypeVar("Result")
Part = TypeVar("Part", VideoStream, AudioStream, DecodeWork)

AHEAD_PER_WORKER = 2
"""Requests submitted ahead, so that no worker waits while the caller is busy."""


class Decoder:
    """Probes and decodes media files in `workers` child processes that can be killed.

    A bad file affects its own results only: an error is a status, never an exception. The same file
    and span give the same arrays, bit for bit, on any worker and with any other spans (only what
    FFmpeg makes up for damaged frames may depend on where decoding started). Use it as a context
    manager; children start when needed.
    """

    def __init__(self, workers: int = 2, limits: Limits | None = None) -> None:
        if workers < 1:
            raise ValueError("A decoder needs at least one worker.")
        self.limits = limits or Limits()
        self.workers = [Worker(self.limits) for _ in range(workers)]
        # Last in, first out: the child of the worker used last is
        # already running, and others may never have to start.
        self._idle: LifoQueue[Worker] = LifoQueue()
        for worker in self.workers:
            self._idle.put(worker)
        # Ends the children if the caller does not close the decoder.
        # Takes the list, because a bound method would keep this object alive.
        weakref.finalize(self, _close_all, self.workers)

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all children; requests in progress in other threads fail."""
        # A busy worker may take minutes: it is killed, not waited for.
        idle: list[Worker] = []
        while not self._idle.empty():
            idle.append(self._idle.get())
        for worker in self.workers:
            if worker in idle:
                worker.close()
            else:
                worker.abort()

    def probe(self, path: str | Path) -> Probe:
        """Describe a file; if it cannot be opened, the status says why."""
        message = {"kind": "probe", "path": _absolute(path)}
        conclude = partial(_probe_from, path=str(path), limits=self.limits)
        return self._ask(message, lambda header, arrays: None, conclude)[1]

    def cut(
        self, path: str | Path, span: tuple[float, float], target: Path, *, exact: bool
    ) -> Excerpt:
        """Write a span of a file as a file of its own; see `excerpts.write_excerpt`.

        Args:
            path: The file.
            span: Start and end in seconds.
            target: The file to write, or to replace; its ending names its format.
            exact: Encode it again, so that it begins and ends exactly there.
        """
        message = {
            "kind": "cut",
            "path": _absolute(path),
            "span": list(span),
            "target": _absolute(target),
            "exact": exact,
        }
        return self._ask(message, lambda header, arrays: None, _excerpt_from)[1]

    def subtitles(self, path: str | Path) -> tuple[list[SubtitleTrack], str]:
        """The subtitle tracks of a file, and why they could not be read, empty if they could."""
        message = {"kind": "subtitles", "path": _absolute(path)}
        return self._ask(message, lambda header, arrays: None, _subtitles_from)[1]

    def decode(self, path: str | Path, spans: Sequence[Span], plan: DecodePlan) -> list[Decoded]:
        """Decode spans of a file in one pass; they may overlap. Results are in their order."""
        return self.decode_measured(DecodeRequest(path=path, spans=spans, plan=plan))[0]

    def decode_measured(self, request: DecodeRequest) -> tuple[list[Decoded], DecodeWork]:
        """Decode a request; also return what it cost."""

        def take(header: Header, arrays: Arrays) -> tuple[int, Decoded]:
            number = header["span"]
            if number not in range(len(request.spans)):
                raise IpcError("a span that was not requested")
            return number, _decoded_from(header, arrays, request.plan, self.limits)

        message = {
            "kind": "decode",
            "path": _absolute(request.path),
            "spans": [list(span) for span in request.spans],
            "plan": dataclasses.asdict(request.plan),
        }
        taken, (failed, work) = self._ask(message, take, _end_from)
        decoded = dict(taken)
        results = [
            decoded.get(n)
            or dataclasses.replace(
                failed, start=start, end=start if end is None else end, audio_start=start
            )
            for n, (start, end) in enumerate(request.spans)
        ]
        return results, work

    def probe_all(self, paths: Iterable[str | Path]) -> Iterator[Probe]:
        """Probe many files on all workers; results are in the order of the paths."""
        return self._in_order(self.probe, paths)

    def decode_all(self, requests: Iterable[DecodeRequest]) -> Iterator[list[Decoded]]:
        """Decode many files on all workers; results are in the order of the requests.

        Only a few requests are read ahead of the results taken, so memory stays bounded.
        """
        return self._in_order(lambda request: self.decode_measured(request)[0], requests)

    def _in_order(self, task: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        count = len(self.workers)
        return parallel_map(task, iter(items), count, AHEAD_PER_WORKER * count)

    def _ask(
        self,
        message: Header,
        take: Callable[[Header, Arrays], Item],
        conclude: Callable[[Header], Result],
    ) -> tuple[list[Item], Result]:
        """The answers to a message and the last one, or a status that says why there is none."""
        worker = self._idle.get()
        try:
            try:
                return _ask_once(worker, message, take, conclude)
            except CrashedError:  # the cause may not be the file
                return _ask_once(worker, message, take, conclude)
        except LateError:
            reason = f"not done within {self.limits.wall_seconds:g} s"
            return [], conclude({"status": "timeout", "reason": reason})
        except CrashedError:
            return [], conclude({"status": "corrupt", "reason": "decoder crashed"})
        finally:
            self._idle.put(worker)


def _absolute(path: str | Path) -> str:
    """A path as children need it: their working directory stays the one in which they were started."""
    return str(Path(path).absolute())  # `resolve` would follow links, and ".." may come after one


def _close_all(workers: list[Worker]) -> None:
    for worker in workers:
        worker.close()


def _ask_once(
    worker: Worker,
    message: Header,
    take: Callable[[Header, Arrays], Item],
    conclude: Callable[[Header], Result],
) -> tuple[list[Item], Result]:
    """Send a message. Each answer is checked at once, so that a faulty child cannot fill memory."""
    results: list[Item] = []
    # A probe has no spans: its only answer is the last one.
    most = len(message.get("spans", ()))

    def collect(header: Header, arrays: Arrays) -> None:
        if len(results) == most:
            raise IpcError("more answers than requested")
        results.append(take(header, arrays))

    try:
        return results, conclude(worker.ask(message, collect))
    except MALFORMED as error:
        worker.kill()
        raise CrashedError(str(error)) from None


def _probe_from(answer: Header, *, path: str, limits: Limits) -> Probe:
    fields = answer.get("probe")
    if fields is None:
        return Probe(path=path, status=_status(answer), reason=str(answer["reason"]))
    video = fields["video"]
    return Probe(
        path=path,
        status=_status(fields),
        reason=str(fields["reason"]),
        container=str(fields["container"]),
        size=int(fields["size"]),
        duration=_seconds(fields["duration"], 0.0, limits.seconds),
        video=_typed(VideoStream(**video)) if video else None,
        audio=tuple(_typed(AudioStream(**stream)) for stream in fields["audio"]),
    )


def _excerpt_from(answer: Header) -> Excerpt:
    fields = answer.get("excerpt")
    if fields is None:
        return Excerpt(status=_status(answer), reason=str(answer["reason"]))
    start, end = _seconds(fields["start"]), _seconds(fields["end"])
    return Excerpt(start=start, end=end, encoded=bool(fields["encoded"]))


def _subtitles_from(answer: Header) -> tuple[list[SubtitleTrack], str]:
    if "tracks" not in answer:
        return [], f"{_status(answer)}: {answer['reason']}"
    tracks = [
        SubtitleTrack(
            codec=str(one["codec"]),
            language=str(one["language"]),
            bitmap=bool(one["bitmap"]),
            cues=tuple((_seconds(a), _seconds(b), str(text)) for a, b, text in one["cues"]),
        )
        for one in answer["tracks"]
    ]
    return tracks, ""


def _status(answer: Header) -> Status:
    for status in STATUSES:
        if status == answer["status"]:
            return status
    raise IpcError("an unknown status")


def _seconds(value: object, least: float = -math.inf, most: float = math.inf) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise IpcError("a time that is no finite number")
    if not least <= value <= most:
        raise IpcError("a time beyond the limits")
    return float(value)


def _typed(part: Part) -> Part:
    """Check that the fields of an answer have their declared types and that numbers are finite."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        endless = isinstance(value, float) and not math.isfinite(value)
        if endless or not isinstance(value, cast("type", field.type)):
            raise IpcError(f"a wrong {field.name}")
    return part


def _end_from(answer: Header) -> tuple[Decoded, DecodeWork]:
    """The result of spans without an answer, and the cost of the pass."""
    if "work" in answer:
        missing = Decoded(status="corrupt", reason="the decoder gave no answer")
        return missing, _typed(DecodeWork(**answer["work"]))
    return Decoded(status=_status(answer), reason=str(answer["reason"])), DecodeWork()


def _decoded_from(header: Header, arrays: Arrays, plan: DecodePlan, limits: Limits) -> Decoded:
    """The answer for a span, checked against the plan."""
    start, end = _seconds(header["start"]), _seconds(header["end"])
    times = arrays.pop("times", np.zeros(0))
    frames = arrays.pop("frames", None)
    preview = arrays.pop("preview", None)
    if frames is not None:
        _check_frames(frames, times, plan, limits)
    if preview is not None:
        _check_preview(preview, plan)
    return Decoded(
        status=_status(header),
        reason=str(header["reason"]),
        start=start,
        end=end,
        audio_start=plan.audio_span(start, end)[0],
        frames=frames,
        times=times,
        preview=preview,
        audio=_audio_from(arrays, plan, plan.audio_length(start, end)),
    )


def _check_frames(
    frames: NDArray[Any], times: NDArray[Any], plan: DecodePlan, limits: Limits
) -> None:
    most = plan.frames.count if plan.frames is not None else 0
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
        raise IpcError("frames that are not RGB")
    if not 0 < len(frames) == len(times) <= most or times.dtype != np.float64 or times.ndim != 1:
        raise IpcError("frames that were not requested")
    if frames[0, :, :, 0].size > limits.pixels or not np.isfinite(times).all():
        raise IpcError("frames beyond the limits")


def _check_preview(preview: NDArray[Any], plan: DecodePlan) -> None:
    if preview.ndim != 3 or preview.shape[2] != 3 or preview.dtype != np.uint8:
        raise IpcError("a preview that is not RGB")
    if not 0 < max(preview.shape[:2]) <= (plan.preview or 0):
        raise IpcError("a preview that was not requested")


def _audio_from(arrays: Arrays, plan: DecodePlan, seconds: float) -> dict[int, NDArray[np.float32]]:
    if not {int(rate) for rate in arrays} <= set(plan.rates):
        raise IpcError("audio that was not requested")
    audio = {rate: arrays[str(rate)] for rate in plan.rates if str(rate) in arrays}
    for rate, samples in audio.items():
        count = samples_in(seconds, rate)
        shapes = [(1, count), (2, count)] if plan.stereo else [(count,)]
        if samples.shape not in shapes or samples.dtype != np.float32:
            raise IpcError("audio of a wrong shape")
    return audio
