"""Cutting: the moments of a file, from its duration or its shots."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from trichord.media.decoded import Decoded
from trichord.media.decoder import Decoder
from trichord.media.plan import DecodeRequest
from trichord.media.probe import USABLE, Probe, Status
from trichord.search.moments import HOP, SECONDS, CutKind, Span, moments, moments_of_shots
from trichord.search.shots import cuts_in, looks

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Cut:
    """How files are cut into moments: length, and distance of starts, in seconds.

    `shots`: a moment for each shot; longer shots, and files without vision, are cut into windows.
    """

    seconds: float = SECONDS
    hop: float = HOP
    kind: CutKind = "window"


@dataclass(frozen=True, slots=True)
class CutFile:
    """A file and its moments; an unusable file has none, but a status and its reason."""

    file: str
    spans: Sequence[Span]
    status: Status = "ok"
    reason: str = ""


def cut_files(decoder: Decoder, files: Iterable[str], cut: Cut) -> Iterator[CutFile]:
    """Files with their moments, in order."""
    probes = decoder.probe_all(files)
    if cut.kind == "window":
        return (_cut(probe, [], cut) for probe in probes)
    return _cut_at_shots(decoder, probes, cut)


def decode_keyed(
    decoder: Decoder, keyed: Iterable[tuple[Key, DecodeRequest | None]]
) -> Iterator[tuple[Key, list[Decoded]]]:
    """Each key with the results of its request, in order, decoded ahead; empty without a request."""
    waiting: deque[tuple[Key, bool]] = deque()

    def requests() -> Iterator[DecodeRequest]:
        for key, request in keyed:
            waiting.append((key, request is not None))
            if request is not None:
                yield request

    for answers in decoder.decode_all(requests()):
        while not waiting[0][1]:
            yield waiting.popleft()[0], []
        yield waiting.popleft()[0], answers
    while waiting:
        yield waiting.popleft()[0], []


def _cut(probe: Probe, cuts: Sequence[float], cut: Cut) -> CutFile:
    if probe.status not in USABLE:
        return CutFile(probe.path, (), probe.status, probe.reason)
    return CutFile(
        probe.path,
        moments_of_shots(probe.duration or 0.0, cuts, cut.seconds, cut.hop)
        if cuts
        else moments(probe.duration or 0.0, cut.seconds, cut.hop),
    )


def _cut_at_shots(decoder: Decoder, probes: Iterable[Probe], cut: Cut) -> Iterator[CutFile]:
    requests = (
        ((number, probe), request)
        for number, probe in enumerate(probes)
        for request in _looks(probe)
    )
    for (_, probe), group in groupby(decode_keyed(decoder, requests), key=lambda pair: pair[0]):
        yield _cut(probe, cuts_in(part for _, answers in group for part in answers), cut)


def _looks(probe: Probe) -> Iterator[DecodeRequest | None]:
    if probe.status in USABLE and probe.video is not None and probe.duration:
        yield from looks(probe.path, probe.duration)
    else:
        yield None
