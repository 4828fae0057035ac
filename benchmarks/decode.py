"""Clips a second of one `Decoder` worker beside bare PyAV loops, in one run on the same files.

    python benchmarks/decode.py MEDIA_DIR

Protocol: every file whose probe says `ok`; 12 frames at bin centres with a short side of 224 (PIL
bicubic) and 16 kHz mono sound of the whole file; one decoding thread each; the three ways take turns
file by file, three rounds, the fastest round of a file counts. The bare loops run in this process
without limits, checks or a pipe. Writes benchmarks/results/decode.json.
"""

import json
import sys
import time
from pathlib import Path

import av
import numpy as np
from PIL import Image

from trichord.media import DecodePlan, Decoder, FramePlan
from trichord.media.picture import wanted_size

FRAMES = FramePlan(rule="uniform", count=12, short_side=224)
RATE = 16_000
ROUNDS = 3
RESULT = Path(__file__).parent / "results" / "decode.json"


def picture(frame: av.VideoFrame) -> np.ndarray:
    image = frame.to_image()
    return np.asarray(image.resize(wanted_size(*image.size, 224), Image.Resampling.BICUBIC))


def sound(path: Path) -> np.ndarray:
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
    with av.open(str(path)) as container:
        pieces = [p for f in container.decode(audio=0) for p in resampler.resample(f)]
    pieces += resampler.resample(None)
    return np.concatenate([piece.to_ndarray()[0] for piece in pieces])


def targets_of(container: av.container.InputContainer) -> tuple[float, ...]:
    return FRAMES.times(0.0, container.duration / 1_000_000)


def sequential(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """One pass over all frames and all sound."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
    pieces, frames, last = [], [], None
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        targets = list(targets_of(container))
        for frame in container.decode(video=0, audio=0):
            if isinstance(frame, av.AudioFrame):
                pieces += resampler.resample(frame)
                continue
            while targets and frame.time > targets[0]:
                frames.append(picture(last or frame))
                targets.pop(0)
            last = frame
        frames += [picture(last) for _ in targets]
    pieces += resampler.resample(None)
    return frames, np.concatenate([piece.to_ndarray()[0] for piece in pieces])


def seeking(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """One seek a frame, the sound in a pass of its own."""
    frames = []
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        for target in targets_of(container):
            container.seek(int(target * 1_000_000))
            last = None
            for frame in container.decode(video=0):
                if frame.time > target and last is not None:
                    break
                last = frame
            frames.append(picture(last))
    return frames, sound(path)


def main() -> None:
    folder = Path(sys.argv[1])
    files = sorted(path for path in folder.iterdir() if path.is_file())
    plan = DecodePlan(frames=FRAMES, rates=(RATE,))
    with Decoder(1) as decoder:
        files = [path for path in files if decoder.probe(path).status == "ok"]
        ways = {
            "decoder": lambda path: decoder.decode(path, [(0.0, None)], plan),
            "sequential": sequential,
            "seeking": seeking,
        }
        best = {name: dict.fromkeys(files, float("inf")) for name in ways}
        for _ in range(ROUNDS):
            for path in files:
                for name, way in ways.items():
                    began = time.perf_counter()
                    way(path)
                    best[name][path] = min(best[name][path], time.perf_counter() - began)
    bare = [min(best["sequential"][path], best["seeking"][path]) for path in files]
    ours = [best["decoder"][path] for path in files]
    report = {
        "protocol": " ".join(__doc__.split("Protocol: ")[1].split()),
        "versions": {"av": av.__version__, "python": sys.version.split()[0]},
        "files": len(files),
        "clips_per_second": {
            name: round(len(files) / sum(t.values()), 2) for name, t in best.items()
        },
        "ratio_to_best_bare_loop_of_each_file": round(sum(bare) / sum(ours), 3),
        "files_at_95_percent_or_better": sum(
            b >= 0.95 * o for b, o in zip(bare, ours, strict=True)
        ),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
