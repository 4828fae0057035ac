"""Shot changes found in films with known cuts: our detector beside PySceneDetect's, in one run.

    python studies/shots.py CLIPS_DIR

Protocol: seven films of 15 of the folder's clips each, in random order and random lengths, cropped to
320 x 224 at 25 frames a second, H.264 without keyframes at cuts; each third change is a dissolve of 8 to
20 frames. Frames with a short side of 36 from one decoder at a number of frames a second; all detectors see
the same frames. A change counts as found within half a second; cuts that are in the clips themselves
count against everybody. Our thresholds and rate were chosen on the last four films; the first three are
fresh. Needs scenedetect-headless. Writes studies/results/shots.json.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
from record import record
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector, HashDetector, HistogramDetector

from trichord.media import DecodePlan, Decoder, FramePlan
from trichord.search.shots import APART, RATE, cuts, histogram

FPS, SIZE = 25, (320, 224)
FILMS, FRESH, CLIPS = 7, 3, 15
NEAR = 0.5
Frames = np.ndarray
Found = Callable[[Frames, float], list[float]]


@dataclass
class Film:
    """A film and where its shots change, in seconds."""

    path: Path
    cuts: list[float]
    dissolves: list[float]
    seconds: float


def frames_of(path: Path, count: int) -> list[np.ndarray]:
    """The first frames of a clip at FPS, filled and cropped to SIZE."""
    frames: list[np.ndarray] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            while len(frames) < count and (frame.time or 0.0) + 1e-6 >= len(frames) / FPS:
                image = frame.to_image()
                scale = max(SIZE[0] / image.width, SIZE[1] / image.height)
                image = image.resize((round(image.width * scale), round(image.height * scale)))
                left, top = (image.width - SIZE[0]) // 2, (image.height - SIZE[1]) // 2
                frames.append(np.asarray(image.crop((left, top, left + SIZE[0], top + SIZE[1]))))
    return frames


def dissolved(before: list[np.ndarray], after: list[np.ndarray]) -> Iterator[np.ndarray]:
    for i, frame in enumerate(after):
        share = (i + 1) / (len(after) + 1)
        yield ((1 - share) * before[min(i, len(before) - 1)] + share * frame).astype(np.uint8)


def edited(film: Film, clips: list[Path], chance: random.Random) -> Iterator[np.ndarray]:
    """Frames of a film of these clips; notes in it where shots change."""
    tail: list[np.ndarray] = []
    shown = 0
    for number, clip in enumerate(clips):
        frames = frames_of(clip, chance.randint(50, 170))
        length = chance.choice((8, 12, 20)) if number % 3 == 1 else 0
        if length:
            film.dissolves.append((shown + length / 2) / FPS)
            joint = list(dissolved(tail, frames[:length]))
        else:
            film.cuts += [(shown + len(tail)) / FPS] if number else []
            joint = tail
        shot = [*joint, *frames[length:-20]]
        yield from shot
        shown, tail = shown + len(shot), frames[-20:]
    yield from tail
    film.seconds = (shown + len(tail)) / FPS


def make_film(path: Path, clips: list[Path], seed: int) -> Film:
    chance = random.Random(seed)
    film = Film(path, [], [], 0.0)
    with av.open(str(path), "w") as container:
        options = {"crf": "26", "preset": "veryfast", "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for frame in edited(film, chance.sample(clips, CLIPS), chance):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return film


def ours(frames: Frames, rate: float) -> list[float]:
    times = [(i + 0.5) / rate for i in range(len(frames))]
    return cuts(times, np.array([histogram(frame) for frame in frames]))


def theirs(kind: type[Any], **options: float) -> Found:
    def find(frames: Frames, rate: float) -> list[float]:
        detector = kind(min_scene_len=max(1, round(APART * rate)), **options)
        found: list[float] = []
        for i, frame in enumerate(frames):
            shown = np.ascontiguousarray(frame[:, :, ::-1])  # it reads blue first
            found += [
                at.frame_num / rate
                for at in detector.process_frame(FrameTimecode(i, fps=rate), shown)
            ]
        return found

    return find


WAYS: dict[str, Found] = {
    "ours": ours,
    "ContentDetector (27)": theirs(ContentDetector),
    "AdaptiveDetector (3)": theirs(AdaptiveDetector),
    "AdaptiveDetector (2)": theirs(AdaptiveDetector, adaptive_threshold=2.0),
    "HistogramDetector": theirs(HistogramDetector),
    "HashDetector": theirs(HashDetector),
}


def matched(found: list[float], film: Film) -> tuple[int, int, int]:
    """How many cuts and dissolves were found, and how many times there was neither."""
    truth = film.cuts + film.dissolves
    used: set[int] = set()
    for time_ in found:
        near = [i for i, at in enumerate(truth) if abs(at - time_) <= NEAR and i not in used]
        used.update(sorted(near, key=lambda i: abs(truth[i] - time_))[:1])
    sharp = sum(i < len(film.cuts) for i in used)
    return sharp, len(used) - sharp, len(found) - len(used)


def scores(way: Found, frames: list[Frames], films: list[Film], rate: float) -> dict[str, Any]:
    begun = time.process_time()
    found = [way(each, rate) for each in frames]
    spent = time.process_time() - begun
    sharp, soft, wrong = np.sum([matched(*pair) for pair in zip(found, films, strict=True)], 0)
    cut_count, soft_count = (sum(len(getattr(f, n)) for f in films) for n in ("cuts", "dissolves"))
    missed = cut_count + soft_count - sharp - soft
    right = 2 * (sharp + soft)
    return {
        "F1": round(float(right / (right + wrong + missed)), 3),
        "F1 of cuts": round(float(2 * sharp / (2 * sharp + wrong + cut_count - sharp)), 3),
        "found": f"{sharp} of {cut_count} cuts, {soft} of {soft_count} dissolves, {wrong} wrong",
        "ms for a minute of film": round(1000 * spent / sum(f.seconds for f in films) * 60),
    }


def main() -> None:
    clips = sorted(Path(sys.argv[1]).glob("*.mp4"))
    report: dict[str, Any] = {
        "protocol": " ".join(__doc__.split("Protocol: ")[1].split()),
        "scenedetect": version("scenedetect-headless"),
        "by frames a second": {},
    }
    with tempfile.TemporaryDirectory() as name, Decoder(workers=1) as decoder:
        films = [make_film(Path(name) / f"{n}.mp4", clips, n) for n in range(FILMS)]
        for rate in (RATE, float(FPS)):
            plan = DecodePlan(frames=FramePlan(per_second=rate, count=10**6, short_side=36))
            begun = time.perf_counter()
            frames = [decoder.decode(f.path, [(0.0, None)], plan)[0].frames for f in films]
            spent = time.perf_counter() - begun
            figures: dict[str, Any] = {
                "seconds to decode a minute": round(60 * spent / sum(f.seconds for f in films), 2)
            }
            for way, find in WAYS.items():
                figures[way] = {
                    "fresh films": scores(find, frames[:FRESH], films[:FRESH], rate),
                    "films that it was chosen on": scores(
                        find, frames[FRESH:], films[FRESH:], rate
                    ),
                }
            report["by frames a second"][f"{rate:g}"] = figures
    record("shots", report)


if __name__ == "__main__":
    main()
