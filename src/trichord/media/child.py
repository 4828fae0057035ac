"""The process that opens untrusted files: requests on standard input, answers on standard output.

It limits its own memory and processor time, keeps no state between files, and may be killed at any
time.
"""

import dataclasses
import math
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

from trichord.media.decoded import Decoded, DecodeWork, split_spans
from trichord.media.failure import MediaError
from trichord.media.ipc import Header, IpcError, receive, send
from trichord.media.media_file import MediaFile, duration_of, open_source
from trichord.media.plan import DecodePlan, FramePlan, Limits, Span

Emit = Callable[[int, Decoded], None]
GRACE_SECONDS = 15
"""The parent kills a late child; a child whose parent is gone ends itself this much later."""


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    requests = cast("BufferedIOBase", sys.stdin.buffer)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that nothing else writes between messages
    try:
        # 0: the parent never sends arrays.
        first, _ = receive(requests, 0)
        limits = Limits(**first["limits"])
        _limit_memory(limits.memory_bytes)
        import_module("av")  # a slow import: do it before the first request is timed

        send(answers, {"ready": True})
        while True:
            request, _ = receive(requests, 0)
            _limit_time(limits)
            _answer(request, limits, answers)
            if sys.platform != "win32":
                signal.alarm(0)  # to wait for the next request without a limit
    except (IpcError, BrokenPipeError):
        return


def _limit_memory(memory_bytes: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    # Address space, because Linux ignores a limit on resident memory.
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _limit_time(limits: Limits) -> None:
    """Limit the processor time of this request; set an alarm in case the parent is gone."""
    if sys.platform == "win32":
        return
    import resource

    # The limit counts from the start of the process. Only the soft limit is
    # set: a hard limit cannot be raised again for the next request.
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(used.ru_utime + used.ru_stime + limits.cpu_seconds)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
    signal.alarm(math.ceil(limits.wall_seconds) + GRACE_SECONDS)


def _answer(request: Header, limits: Limits, answers: BufferedIOBase) -> None:
    def emit(number: int, decoded: Decoded) -> None:
        header = {name: getattr(decoded, name) for name in ("status", "reason", "start", "end")}
        send(answers, {"span": number, **header}, _arrays(decoded))

    try:
        source = open_source(
            request["path"], limits, request.get("plan", {}).get("audio_track", "")
        )
        try:
            end = _perform(source, request, limits, emit)
        finally:
            source.close()
    except MediaError as failure:
        end = {"status": failure.status, "reason": failure.reason}
    except MemoryError:
        mib = limits.memory_bytes // 1024**2
        end = {"status": "too_big", "reason": f"needs more than {mib} MiB to decode"}
    except (IpcError, BrokenPipeError):
        # The parent is gone.
        raise
    except Exception as error:
        # Libraries raise many kinds of errors on a bad file.
        # The text is cut because it may quote the file.
        end = {"status": "corrupt", "reason": f"{type(error).__name__}: {error}"[:200]}
    send(answers, {"end": True, **end})


def _arrays(decoded: Decoded) -> dict[str, Any]:
    arrays: dict[str, Any] = {str(rate): samples for rate, samples in decoded.audio.items()}
    if decoded.frames is not None:
        arrays |= {"frames": decoded.frames, "times": decoded.times}
    if decoded.preview is not None:
        arrays["preview"] = decoded.preview
    return arrays


def _perform(source: MediaFile, request: Header, limits: Limits, emit: Emit) -> Header:
    """Do what a request asks of an open file; gives the last answer."""
    if request["kind"] == "probe":
        from trichord.media.inspection import inspect

        return {"probe": dataclasses.asdict(inspect(request["path"], source, limits))}
    if request["kind"] == "cut":
        return {"excerpt": _cut(source, request)}
    if request["kind"] == "subtitles":
        from trichord.media.subtitle_tracks import subtitle_tracks

        return {"tracks": [dataclasses.asdict(one) for one in subtitle_tracks(source)]}
    return {"work": dataclasses.asdict(_decode(source, request, limits, emit))}


def _cut(source: MediaFile, request: Header) -> Header:
    from trichord.media.excerpts import write_excerpt

    start, end = request["span"]
    return write_excerpt(source, start, end, Path(request["target"]), exact=request["exact"])


def _decode(source: MediaFile, request: Header, limits: Limits, emit: Emit) -> DecodeWork:
    spans, fields = request["spans"], request["plan"]
    frames = FramePlan(**fields["frames"]) if fields["frames"] else None
    plan = DecodePlan(**fields | {"frames": frames, "rates": tuple(fields["rates"])})
    if source.av is not None:
        return _decode_spans(source, request, plan, limits, emit)
    from trichord.media.still import decode_image

    return decode_image(source, spans, plan, limits, emit)


def _decode_spans(
    source: MediaFile,
    request: Header,
    plan: DecodePlan,
    limits: Limits,
    emit: Emit,
) -> DecodeWork:
    from trichord.media.decode_pass import DecodePass

    if not source.tracks():
        reason = "it has no video or audio that can be decoded"
        raise MediaError("corrupt" if source.missing else "unsupported", source.shortfall or reason)
    # The whole of a file that is cut off is looked for only if a span needs its end.
    spans: list[Span] = request["spans"]
    ends = [end for _, end in spans if end is not None]
    known = source.missing and len(ends) == len(spans)
    duration = max(ends) if known else duration_of(source, limits)
    inside, outside = split_spans(spans, duration)
    for number, refused in outside.items():
        emit(number, refused)
    decode_pass = DecodePass(source, inside, plan, limits, emit)
    decode_pass.run()
    passes = [decode_pass]
    if decode_pass.cut:
        # Times of frames depend on the end of a span, which is known only now.
        again = open_source(request["path"], limits, plan.audio_track)
        again.ends_early = decode_pass.ends_early
        passes.append(DecodePass(again, decode_pass.cut, plan, limits, emit))
        passes[-1].run()
        again.close()
    return DecodeWork(
        frames=sum(one.video.decoded for one in passes if one.video is not None),
        # From 0.0, because the parent accepts no int here.
        audio_seconds=sum((one.audio.decoded for one in passes if one.audio is not None), 0.0),
        seeks=sum(one.seeks for one in passes),
        bytes_read=sum(one.source.file.bytes_read for one in passes),
    )


if __name__ == "__main__":
    main()
