"""The process that opens untrusted files: requests on its standard input, answers on its output.

It bounds its own memory and processor time, holds no state between files, and may be killed at
any time.
"""

import dataclasses
import math
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from io import BufferedIOBase
from typing import Any, cast

from trichord.media.decoded import Decoded, Work
from trichord.media.failure import MediaError
from trichord.media.ipc import Header, IpcError, receive, send
from trichord.media.plan import DecodePlan, FramePlan, Limits, Span
from trichord.media.probe import Probe
from trichord.media.shared_buffer import BUFFER_BYTES, SharedBuffer, buffer_on
from trichord.media.source import Source, duration_of, open_source

Tell = Callable[[int, Decoded], None]
GRACE_SECONDS = 15
"""The parent kills a late child; one whose parent is gone kills itself this much later."""


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    requests = cast("BufferedIOBase", sys.stdin.buffer)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing else may write between messages
    try:
        # 0: the parent never sends arrays.
        first, _ = receive(requests, 0)
        limits = Limits(**first["limits"])
        buffer = buffer_on(first["buffer"])
        # The shared buffer lies in the child's address space, but is no cost of the file.
        _bound_memory(limits.memory_bytes + (0 if buffer is None else BUFFER_BYTES))
        import_module("av")  # the slow import, before the clock of the first request runs

        send(answers, {"ready": True})
        while True:
            request, _ = receive(requests, 0)
            _bound_time(limits)
            if buffer is not None:
                buffer.clear()
            _answer(request, limits, answers, buffer)
            _rest()
    except (IpcError, BrokenPipeError):
        return


def _bound_memory(memory_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # not a Unix
        return
    # Address space, because Linux heeds no limit on resident memory.
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _bound_time(limits: Limits) -> None:
    """Give this request its processor time, and a last resort should the parent be gone."""
    try:
        import resource
    except ImportError:
        return
    # The limit counts from the start of the process. Only the soft one is
    # moved: a hard limit could not be raised again for the next request.
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(used.ru_utime + used.ru_stime + limits.cpu_seconds)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
    signal.alarm(math.ceil(limits.wall_seconds) + GRACE_SECONDS)


def _rest() -> None:
    """Wait for the next request as long as it takes."""
    if hasattr(signal, "alarm"):
        signal.alarm(0)


def _answer(
    request: Header, limits: Limits, answers: BufferedIOBase, buffer: SharedBuffer | None
) -> None:
    def tell(number: int, decoded: Decoded) -> None:
        _send_decoded(answers, buffer, number, decoded)

    try:
        if request["kind"] == "probe":
            end = {"probe": dataclasses.asdict(_probe(request["path"], limits))}
        else:
            end = {"work": dataclasses.asdict(_decode(request, limits, tell))}
    except MediaError as failure:
        end = {"status": failure.status, "reason": failure.reason}
    except MemoryError:
        mib = limits.memory_bytes // 1024**2
        end = {"status": "too_big", "reason": f"needs more than {mib} MiB to decode"}
    except (IpcError, BrokenPipeError):
        # The parent has gone: there is nobody to tell.
        raise
    except Exception as error:
        # Libraries raise all sorts of errors over a bad
        # file; their text is cut, for it may quote the file.
        end = {"status": "corrupt", "reason": f"{type(error).__name__}: {error}"[:200]}
    send(answers, {"end": True, **end})


def _send_decoded(
    answers: BufferedIOBase, buffer: SharedBuffer | None, number: int, decoded: Decoded
) -> None:
    arrays: dict[str, Any] = {str(rate): samples for rate, samples in decoded.audio.items()}
    if decoded.frames is not None:
        arrays |= {"frames": decoded.frames, "times": decoded.times}
    header = {name: getattr(decoded, name) for name in ("status", "reason", "start", "end")}
    send(answers, {"span": number, **header}, arrays, buffer)


def _probe(path: str, limits: Limits) -> Probe:
    from trichord.media.inspection import inspect

    source = open_source(path, limits)
    try:
        return inspect(path, source, limits)
    finally:
        source.close()


def _decode(request: Header, limits: Limits, tell: Tell) -> Work:
    plan = request["plan"]
    frames = FramePlan(**plan["frames"]) if plan["frames"] else None
    plan = DecodePlan(
        frames=frames,
        rates=tuple(plan["rates"]),
        stereo=plan["stereo"],
        audio_seconds=plan["audio_seconds"],
    )
    source = open_source(request["path"], limits)
    try:
        if source.av is None:
            return _decode_still(source, request["spans"], plan, limits, tell)
        return _decode_spans(source, request["spans"], plan, limits, tell)
    finally:
        source.close()


def _decode_still(
    source: Source,
    spans: list[Span],
    plan: DecodePlan,
    limits: Limits,
    tell: Tell,
) -> Work:
    from trichord.media.still import decode_still

    still = decode_still(source, plan, limits)
    for number in range(len(spans)):
        tell(number, still)
    return Work(frames=1, bytes_read=source.file.bytes_read)


def _decode_spans(
    source: Source,
    spans: list[Span],
    plan: DecodePlan,
    limits: Limits,
    tell: Tell,
) -> Work:
    from trichord.media.decode_pass import DecodePass

    if not source.tracks():
        reason = "it holds neither picture nor sound that can be decoded"
        raise MediaError("corrupt" if source.missing else "unsupported", source.shortfall or reason)
    duration = duration_of(source, limits)
    inside: dict[int, tuple[float, float]] = {}
    for number, (start, end) in enumerate(spans):
        stop = duration if end is None else min(end, duration)
        reason = source.shortfall if end is None else ""  # where would the end be?
        # A file of one frame may have no length; a span from its start has that frame.
        if (start >= duration or stop <= 0) and (start, duration) != (0, 0):
            reason = reason or f"span outside the file, which is {duration:.3f} s long"
        if reason:
            tell(number, Decoded(status="corrupt", reason=reason, start=start, end=stop))
        else:
            inside[number] = (max(0.0, start), stop)
    decode_pass = DecodePass(source, inside, plan, limits, tell)
    decode_pass.run()
    return Work(
        frames=decode_pass.video.decoded if decode_pass.video is not None else 0,
        audio_seconds=decode_pass.audio.decoded if decode_pass.audio is not None else 0.0,
        seeks=decode_pass.seeks,
        bytes_read=source.file.bytes_read,
    )


if __name__ == "__main__":
    main()
