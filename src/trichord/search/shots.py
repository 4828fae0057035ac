"""Where the shots of a video change, by colour histograms.

Four frames a second are compared by their colour histograms. A shot changes where the difference of two
frames is large, and larger than the differences around it, so that a pan or a shaky camera is not a cut.
The low rate does not only save time: a dissolve, which changes each frame a little, becomes one step
(studies/shots.py measures this beside PySceneDetect).
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from trichord.media.decoded import Decoded
from trichord.media.plan import DecodePlan, DecodeRequest, FramePlan
from trichord.search.moments import Span
from trichord.types.arrays import Float, Int, UInt8

RATE = 4.0
"""Frames a second: a cut is found to an eighth of a second."""
SPAN = 60.0
"""Seconds of a decoded span."""
SPANS_AT_ONCE = 4
"""Spans of a request, which must finish within the decoder's time limit."""
LEVELS = 8
"""Levels of red, green and blue in a histogram."""
LEAST = 0.25
"""Least share of pixels whose colour changes at a cut."""
RATIO = 1.8
"""Least ratio of a cut's difference and the mean of its neighbours."""
AROUND = 2
"""Neighbours: differences before and after."""
APART = 0.6
"""Least distance of cuts in seconds."""

PLAN = DecodePlan(
    frames=FramePlan(rule="rate", per_second=RATE, count=round(SPAN * RATE), short_side=36)
)


def looks(path: str, duration: float) -> Iterator[DecodeRequest]:
    """Requests that together cover a file."""
    starts = np.arange(0.0, duration, SPAN).tolist()
    for i in range(0, len(starts), SPANS_AT_ONCE):
        spans: list[Span] = [
            (start, min(start + SPAN, duration)) for start in starts[i : i + SPANS_AT_ONCE]
        ]
        yield DecodeRequest(path=path, spans=spans, plan=PLAN)


def cuts_in(answers: Iterable[Decoded]) -> list[float]:
    """Times of cuts in seconds, from the results of `looks`; broken spans are skipped."""
    times: list[float] = []
    colours: list[Float[np.ndarray, " bin"]] = []
    for span in answers:
        if span.frames is not None:
            times += span.times.tolist()
            colours += [histogram(frame) for frame in span.frames]
    return cuts(times, np.array(colours).reshape(len(times), LEVELS**3))


def histogram(frame: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, " bin"]:
    """The share of a frame's pixels in each of `LEVELS`³ colours."""
    red, green, blue = np.moveaxis(frame.astype(np.int32) * LEVELS // 256, -1, 0)
    codes: Int[np.ndarray, " pixel"] = ((red * LEVELS + green) * LEVELS + blue).ravel()
    return np.bincount(codes, minlength=LEVELS**3) / codes.size


def cuts(times: Sequence[float], colours: Float[np.ndarray, "frame bin"]) -> list[float]:
    """Times of cuts: in the middle between the frames before and after.

    Args:
        times: Times of the frames, in seconds.
        colours: Their histograms.
    """
    steps = np.abs(np.diff(colours, axis=0)).sum(1) / 2
    result: list[float] = []
    for i, step in enumerate(steps):
        around = np.concatenate([steps[max(0, i - AROUND) : i], steps[i + 1 : i + 1 + AROUND]])
        mean = float(around.mean()) if len(around) else 0.0
        cut = (times[i] + times[i + 1]) / 2
        if step >= max(LEAST, RATIO * mean) and (not result or cut - result[-1] >= APART):
            result.append(cut)
    return result
