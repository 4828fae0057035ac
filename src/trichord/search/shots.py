"""Where the shots of a video change, by its colours.

Four frames a second are compared by the histogram of their colours. A shot changes where a frame
differs from the one before by enough, and by more than frames around it do among themselves, so that
a pan or a shaken camera is no cut. Looking rarely is no economy alone: a dissolve, which changes each
frame a little, shows as one step (studies/shots.py measures this beside PySceneDetect).
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from trichord.media.decoded import Decoded
from trichord.media.plan import DecodePlan, FramePlan, Request
from trichord.search.moments import Span
from trichord.types.arrays import Float, Int, UInt8

RATE = 4.0
"""Frames looked at in a second: a cut is found to an eighth of a second."""
PORTION = 60.0
"""Seconds that one decoded span covers."""
PORTIONS_AT_ONCE = 4
"""Spans in a request, which has to end within the decoder's limit of time."""
LEVELS = 8
"""Steps of red, of green and of blue that a histogram tells apart."""
LEAST = 0.25
"""Share of the pixels whose colour must have changed."""
RATIO = 1.8
"""How many times the mean difference of its neighbours a cut must be."""
AROUND = 2
"""Differences before and after that are neighbours."""
APART = 0.6
"""Seconds that cuts are apart at least."""

PLAN = DecodePlan(
    frames=FramePlan(rule="rate", per_second=RATE, count=round(PORTION * RATE), short_side=36)
)


def looks(path: str, duration: float) -> Iterator[Request]:
    """Requests that together look at a whole file."""
    starts = np.arange(0.0, duration, PORTION).tolist()
    for i in range(0, len(starts), PORTIONS_AT_ONCE):
        spans: list[Span] = [
            (start, min(start + PORTION, duration)) for start in starts[i : i + PORTIONS_AT_ONCE]
        ]
        yield Request(path=path, spans=spans, plan=PLAN)


def cuts_in(answers: Iterable[Decoded]) -> list[float]:
    """Seconds at which a new shot begins, by the answers to `looks`; what is broken is passed over."""
    times: list[float] = []
    colours: list[Float[np.ndarray, " bin"]] = []
    for one in answers:
        if one.frames is not None:
            times += one.times.tolist()
            colours += [histogram(frame) for frame in one.frames]
    return cuts(times, np.array(colours).reshape(len(times), LEVELS**3))


def histogram(frame: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, " bin"]:
    """The share of a frame's pixels in each of `LEVELS`³ colours."""
    red, green, blue = np.moveaxis(frame.astype(np.int32) * LEVELS // 256, -1, 0)
    codes: Int[np.ndarray, " pixel"] = ((red * LEVELS + green) * LEVELS + blue).ravel()
    return np.bincount(codes, minlength=LEVELS**3) / codes.size


def cuts(times: Sequence[float], colours: Float[np.ndarray, "frame bin"]) -> list[float]:
    """Where shots change: in the middle between the frames before and after.

    Args:
        times: Of the frames, in seconds.
        colours: Their histograms.
    """
    steps = np.abs(np.diff(colours, axis=0)).sum(1) / 2
    found: list[float] = []
    for i, step in enumerate(steps):
        around = np.concatenate([steps[max(0, i - AROUND) : i], steps[i + 1 : i + 1 + AROUND]])
        usual = float(around.mean()) if len(around) else 0.0
        cut = (times[i] + times[i + 1]) / 2
        if step >= max(LEAST, RATIO * usual) and (not found or cut - found[-1] >= APART):
            found.append(cut)
    return found
