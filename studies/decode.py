"""Processor time of one `Decoder` worker beside bare PyAV loops that give the same arrays.

    python studies/decode.py [DATA_DIR [MOVIES_DIR]]

DATA_DIR holds folders of real media, without it only movies rendered here are decoded (and the result is
called decode-rendered); MOVIES_DIR keeps these (default: a temporary folder).

Protocol: every file whose probe is usable, and rendered movies with long groups of pictures; 12
frames at bin centres with a short side of 224 and 16 kHz mono sound of the whole file; of the long
movies also the frames alone. Two bare loops: all frames in one pass, and a planned seek (only where
the keyframe before the next target lies ahead), with the sound in a pass of its own; each stops as
soon as it can. One decoding thread each, and one colour converter that is kept from frame to frame. The
bare loops give the same pixels (checked; the planned one is left out where it does not, as in open groups
of pictures) and as many samples, and run in this process without limits, checks, blocks or a pipe; ours
counts the child and this process together. All ways take turns, file by file, and so in each round, short
files four times; the least processor time of each over the rounds counts.
`ratio` is the better bare loop's over ours: 1 is as fast, more is faster. `ratio_quick_colours`: beside
bare loops that leave the conversion to RGB to swscale's defaults, whose numbers depend on the processor.
`parent_ms`: of ours, what this process spends on asking and on taking the arrays over.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from movies import LONG_GROUPS, TEN_MINUTES, render
from PIL import Image
from record import record

from trichord.media import USABLE, Decoded, DecodePlan, Decoder, FramePlan
from trichord.media.picture import display_size, pixel_aspect, target_size

FRAMES = FramePlan(rule="uniform", count=12, short_side=224)
RATE = 16_000
ROUNDS = 12
SPARING = 4
"""Of the ten-minute film one round in so many is enough."""
SHORT_SECONDS, TURNS = 0.06, 4
"""What takes less is asked for so often in each round: of little time a disturbance is a large share."""
FOLDERS = {"avclips": 100, "media_fixtures": 100, "grid/video": 5, "esc10/audio": 5}
"""Folders of the data, and how many files are taken of each."""
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
Arrays = tuple[list[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Job:
    """A file, what is wanted of it, and when a frame of it is to be looked at."""

    path: Path
    plan: DecodePlan
    looks: tuple[float, ...]
    planned: bool = True
    """Whether the planned bare loop gives the right frames."""

    @property
    def name(self) -> str:
        """What the result calls it."""
        kind = "" if self.plan.rates else ", frames alone"
        return f"{self.path.parent.name}/{self.path.name}{kind}"


class Bare:
    """Bare loops over one file."""

    def __init__(self, quick: bool) -> None:
        self.flags = None if quick else EXACT
        self.converter = VideoReformatter()

    def picture(self, frame: av.VideoFrame, stream: Any) -> np.ndarray:
        """A frame in the wanted size."""
        rgb = self.converter.reformat(frame, format="rgb24", interpolation=self.flags, threads=1)
        pixels = rgb.to_ndarray()
        aspect = pixel_aspect(frame, stream)
        shown = display_size(frame.width, frame.height, aspect, (1, 0, 0, 1))
        size = target_size(*shown, FRAMES.short_side)
        if size == (frame.width, frame.height):
            return pixels
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))

    def sequential(self, job: Job) -> Arrays:
        """One pass over all frames and all sound."""
        targets, frames, last = list(job.looks), [], None
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        pieces: list[av.AudioFrame] = []
        with av.open(str(job.path)) as container:
            video, tracks = opened(container, job)
            origin = start_of(tracks)
            for packet in container.demux(tracks):
                if packet.stream.type == "audio":
                    pieces += [p for f in packet.decode() for p in resampler.resample(f)]
                    continue
                for frame in packet.decode() if targets else ():
                    if last is not None and frame.pts < last.pts:
                        continue  # AVI knows no presentation times; FFmpeg's guesses go astray
                    while targets and frame.time - origin > targets[0] + 1e-6:
                        frames.append(self.picture(last or frame, video))
                        targets.pop(0)
                    last = frame
                if not targets and not job.plan.rates:
                    break
            frames += [self.picture(last, video) for _ in targets]
        return frames, joined(pieces, resampler)

    def planned(self, job: Job) -> Arrays:
        """Seeks where that saves decoding, the sound in a pass of its own."""
        frames: list[np.ndarray] = []
        with av.open(str(job.path)) as container:
            video, tracks = opened(container, job)
            if video is None:
                return frames, sound(job)
            origin = start_of(tracks)
            decoded, last, ahead = container.decode(video), None, None
            for target in job.looks:
                ticks = int((target + origin + 1e-6) / video.time_base)
                if last is None or key_before(video, ticks) > last.pts:
                    container.seek(ticks, stream=video)
                    decoded, last, ahead = container.decode(video), None, None
                while ahead is None or ahead.pts <= ticks:
                    if ahead is not None and (last is None or ahead.pts > last.pts):
                        last = ahead
                    ahead = next(decoded, None)
                    if ahead is None:
                        break
                frames.append(self.picture(last or ahead, video))
        return frames, sound(job)


def key_before(video: Any, ticks: int) -> int:
    entry = video.index_entries.search_timestamp(ticks)
    return video.index_entries[entry].timestamp if entry >= 0 else 0


def opened(container: Any, job: Job) -> tuple[Any, list[Any]]:
    """The picture track and the tracks that are wanted; one decoding thread each."""
    video = container.streams.best("video") if job.looks else None
    audio = container.streams.best("audio") if job.plan.rates else None
    tracks = [track for track in (video, audio) if track is not None]
    for track in tracks:
        track.codec_context.thread_count = 1
    return video, tracks


def start_of(tracks: list[Any]) -> float:
    starts = [float(s.start_time * s.time_base) for s in tracks if s.start_time is not None]
    return min(starts, default=0.0)


def sound(job: Job) -> np.ndarray:
    if not job.plan.rates:
        return np.zeros(0, np.float32)
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
    with av.open(str(job.path)) as container:
        audio = container.streams.best("audio")
        if audio is None:
            return np.zeros(0, np.float32)
        pieces = [p for f in container.decode(audio) for p in resampler.resample(f)]
    return joined(pieces, resampler)


def joined(pieces: list[av.AudioFrame], resampler: Any) -> np.ndarray:
    if not pieces:
        return np.zeros(0, np.float32)
    pieces += resampler.resample(None)
    return np.concatenate([piece.to_ndarray()[0] for piece in pieces])


def child_seconds(decoder: Decoder) -> float:
    """Processor time of the one child so far, by the kernel's clock of that process."""
    (worker,) = decoder.workers
    return time.clock_gettime(~worker.child.pid << 3 | 2) if worker.child else 0.0


def spent(decoder: Decoder, way: Callable[[], object]) -> tuple[float, float]:
    """Processor seconds of both processes together, and of this one."""
    before, child = time.process_time(), child_seconds(decoder)
    way()
    here = time.process_time() - before
    return here + child_seconds(decoder) - child, here


def jobs_of(data: Path | None, movies: Path, decoder: Decoder) -> list[Job]:
    whole = DecodePlan(frames=FRAMES, rates=(RATE,))
    found = [
        (path, whole)
        for folder, most in (FOLDERS.items() if data else ())
        for path in sorted(p for p in (data / folder).glob("*") if p.is_file())[:most]
    ]
    for movie in (*LONG_GROUPS, TEN_MINUTES):
        path = render(movie, movies)
        found += [(path, whole), (path, DecodePlan(frames=FRAMES))]
    jobs: list[Job] = []
    for path, plan in found:
        (decoded,) = decoder.decode(path, [(0.0, None)], plan)
        if decoded.status in USABLE:
            seen = decoded.frames is not None
            looks = FRAMES.times(decoded.start, decoded.end) if seen else ()
            job, bare = Job(path, plan, looks), Bare(quick=False)
            assert same(bare.sequential(job), decoded), job.name
            jobs.append(replace(job, planned=same(bare.planned(job), decoded)))
    return jobs


def same(bare: Arrays, ours: Decoded) -> bool:
    """Whether a bare loop gave our pixels and as much sound."""
    frames, samples = bare
    if RATE in ours.audio:
        length = len(ours.audio[RATE])
        if abs(len(samples) - length) > max(0.3 * RATE, 0.02 * length):
            return False
    return ours.frames is None or np.array_equal(np.stack(frames), ours.frames)


def ways_of(job: Job, decoder: Decoder) -> dict[str, Callable[[], object]]:
    exact, quick = Bare(quick=False), Bare(quick=True)
    ways: dict[str, Callable[[], object]] = {
        "ours": partial(decoder.decode, job.path, [(0.0, None)], job.plan),
        "sequential": partial(exact.sequential, job),
        "planned": partial(exact.planned, job),
        "quick sequential": partial(quick.sequential, job),
        "quick planned": partial(quick.planned, job),
    }
    return {name: way for name, way in ways.items() if job.planned or "planned" not in name}


def measured(jobs: list[Job], decoder: Decoder) -> dict[str, dict[str, Any]]:
    """All files in each round: what else the machine does for a while is not one file's misfortune."""
    ways = {job.name: ways_of(job, decoder) for job in jobs}
    times: dict[str, dict[str, list[tuple[float, float]]]] = {
        name: {way: [] for way in of_file} for name, of_file in ways.items()
    }
    for turn in range(ROUNDS):
        for name, of_file in ways.items():
            if turn % (SPARING if "600 s" in name else 1) == 0:
                for _ in range(turns(times[name])):
                    for way, work in of_file.items():
                        times[name][way].append(spent(decoder, work))
    return {name: summary(of_file) for name, of_file in times.items()}


def turns(times: dict[str, list[tuple[float, float]]]) -> int:
    """How often a file takes part in a round, by what it took so far."""
    return TURNS if 0 < min(both for both, _ in times["ours"] or [(0, 0)]) < SHORT_SECONDS else 1


def summary(times: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    least = {name: min(both for both, _ in values) for name, values in times.items()}
    return {
        "ms": {name: round(1000 * seconds, 1) for name, seconds in least.items()},
        "ratio": round(best(least, "sequential", "planned") / least["ours"], 3),
        "ratio_quick_colours": round(
            best(least, "quick sequential", "quick planned") / least["ours"], 3
        ),
        "parent_ms": round(1000 * min(here for _, here in times["ours"]), 1),
    }


def best(least: dict[str, float], *names: str) -> float:
    return min(least[name] for name in names if name in least)


def main() -> None:
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as scratch, Decoder(1) as decoder:
        movies = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(scratch) / "rendered"
        movies.mkdir(parents=True, exist_ok=True)
        files = measured(jobs_of(data, movies, decoder), decoder)
    ratios = [file["ratio"] for file in files.values()]
    record(
        "decode" if data else "decode-rendered",
        {
            "protocol": " ".join(__doc__.split("Protocol: ")[1].split()),
            "files": len(files),
            "median_ratio": round(statistics.median(ratios), 3),
            "least_ratio": min(ratios),
            "below_95_percent": [name for name, file in files.items() if file["ratio"] < 0.95],
            "per_file": files,
        },
    )


if __name__ == "__main__":
    main()
