"""Kills trainings at many points, and ends each of them.

usage: killed_training.py TOWERS FOLDER < PLAN    TOWERS holds a tiny `clip`

PLAN is a JSON list of {"ranks", "workers", "kind"}: kinds are `step`, `save`, `rename` and `any time`, and
`asked`, which is SIGTERM in a step. Writes a list of what became of each. Every process is forked from this
one, which has imported torch.
"""

import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import numpy as np
import torch
from spread_training import MadeUp

import trichord.checkpoint.tensor_files as tensor_files
import trichord.training.loop as loop
import trichord.training.session
from trichord.checkpoint import Run, fresh_model
from trichord.config import (
    AdamW,
    ClipAudio,
    ClipText,
    ClipVision,
    Cross,
    Draw,
    Experiment,
    LogMel,
    Stage,
    TriModal,
)
from trichord.distributed import process_group
from trichord.features.source import MediaSource
from trichord.media import Decoder
from trichord.training.fit import fit
from trichord.training.learner import Learner
from trichord.training.session import Session
from trichord.types import Caption, Clip

LONGEST = 120
"""Seconds after which a process that should have ended is a failure."""


def experiment_of(towers):
    """Two stages of a tower that hears, with masks, dropout and a fusion; six steps in all."""
    clip = str(towers / "clip")
    sound = ClipAudio(name=clip, log_mel=LogMel(mels=32), frames=32, longest=4, token="clip")
    both = Draw(captions=("audio",), terms=("at", "aa", "ct"))
    stage = Stage(
        name="hears",
        trains=("text", "vision", "audio"),
        towers=("audio",),
        draws=(both, Draw(captions=("audio",), terms=("at", "vt"))),
        criterion=("clip<-audio",),
        batch_size=4,
        epochs=2,
        optimizer=AdamW(lr=3e-3, warmup_steps=2, schedule="cosine", trunk_share=0.3),
    )
    return Experiment(
        system="killed",
        model=TriModal(
            text=ClipText(name=clip),
            vision=ClipVision(name=clip),
            audio=sound,
            fusion=Cross(layers=1, heads=2, from_text=False, dropout=0.3),
        ),
        stages=(stage, replace(stage, name="heads", towers=(), draws=(both,), epochs=1)),
        seed=7,
    )


def film(path, number):
    """Half a second of a gray picture and a tone of its own."""
    with av.open(str(path), "w") as container:
        sight = container.add_stream("mpeg4", rate=4)
        sight.width, sight.height, sight.pix_fmt = 48, 32, "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for i in range(2):
            gray = np.full((32, 48, 3), 20 * number % 256, np.uint8)
            frame = av.VideoFrame.from_ndarray(gray, format="rgb24")
            frame.pts = i
            container.mux(sight.encode(frame))
        tone = np.sin(np.arange(8_192) * (0.05 + 0.01 * number)).astype(np.float32)[None]
        for start in range(0, 8_192, 1024):
            piece = np.ascontiguousarray(tone[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            container.mux(sound.encode(frame))
        for stream in (sight, sound):
            container.mux(stream.encode(None))


def clips_in(folder):
    """Eight to learn from and twelve to validate on."""
    return [
        Clip(
            id=f"c{i}",
            path=str(folder / f"c{i}.mp4"),
            captions=(Caption(text=f"sound {i}", about="audio"),),
            audio_type="verbal" if i % 2 else "nonverbal",
            split="train" if i < 8 else "val",
        )
        for i in range(20)
    ]


class Points:
    """Places in a training where it may be killed; sends this process a signal at one of them."""

    def __init__(self, kind=None, number=None, sent=signal.SIGKILL):
        self.kind, self.number, self.sent = kind, number, sent
        self.reached = Counter()

    def reach(self, kind):
        if (kind, self.reached[kind]) == (self.kind, self.number):
            os.kill(os.getpid(), self.sent)
        self.reached[kind] += 1

    def around(self, kind, work):
        def reached(*given, **how):
            self.reach(kind)
            made = work(*given, **how)
            self.reach(kind)
            return made

        return reached

    def watch(self, steps):
        """Hook into this process, which was forked for it; each step adds a byte to a file."""
        Learner.loss = self.around("step", Learner.loss)
        loop.clip_gradients = self.around("step", loop.clip_gradients)
        Path.replace = self.around("rename", Path.replace)
        Path.unlink = self.around("rename", Path.unlink)
        os.fsync = self.around("save", os.fsync)
        tensor_files.replacing = self.torn(tensor_files.replacing)
        after_step = Session.after_step

        def counted(session, optimizer, loss):
            with steps.open("ab") as file:
                file.write(b".")
            self.reach("step")
            after_step(session, optimizer, loss)

        Session.after_step = counted
        trichord.training.session.SECONDS_BETWEEN_SAVES = -1.0

    def torn(self, replacing):
        @contextmanager
        def opened(path):
            with replacing(path) as file:
                yield Torn(file, self)

        return opened


class Torn:
    """A file of which half of each piece is on the disk when its writer may be killed."""

    def __init__(self, file, points):
        self.file, self.points = file, points

    def write(self, piece):
        half = len(piece) // 2
        self.file.write(piece[:half])
        self.file.flush()
        self.points.reach("save")
        self.file.write(piece[half:])

    def __getattr__(self, name):
        return getattr(self.file, name)


class Trials:
    """Trainings of one experiment, killed and ended."""

    def __init__(self, towers, folder):
        self.folder = folder
        self.experiment = experiment_of(towers)
        self.model = fresh_model(self.experiment)
        self.clips = clips_in(folder)
        for number, clip in enumerate(self.clips):
            film(clip.path, number)

    def train(self, run, rank, workers, points):
        """In a process of its own: train as one of the ranks that the environment tells of."""
        points.watch(run.with_suffix(".steps") if rank == 0 else Path(os.devnull))
        with process_group("cpu"), Decoder(workers) if workers else MadeUp() as decoder:
            splits = [[c for c in self.clips if c.split == s] for s in ("train", "val")]
            sources = [MediaSource(clips, self.model, decoder) for clips in splits]
            fit(
                self.experiment,
                self.model,
                sources,
                Run(run),
                manifest="m",
                after_epoch=lambda numbers: None,
            )
        run.with_suffix(f".points-{rank}").write_text(json.dumps(points.reached))

    def start(self, run, world_size, workers, victim=None, points=None):
        """Fork the processes of a training; gives their numbers, the victim's at its place."""
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = str(free.getsockname()[1])
        held = []
        for rank in range(world_size):
            child = os.fork()
            if child == 0:
                os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port}
                os.environ |= {"WORLD_SIZE": str(world_size), "RANK": str(rank)}
                code = 1
                with run.with_suffix(f".log-{rank}").open("a") as log:
                    os.dup2(log.fileno(), 2)
                    try:
                        own = points if rank == victim and points else Points()
                        self.train(run, rank, workers, own)
                        code = 0
                    except SystemExit as end:
                        code = end.code
                    except BaseException:
                        traceback.print_exc()
                        sys.stderr.flush()
                os._exit(code)
            held.append(child)
        return held

    def ended(self, held, victim, *, alone):
        """Exit codes of a training; what outlives a victim that dies alone is killed, as by torchrun."""
        codes = {victim: wait(held[victim], time.monotonic() + LONGEST)}
        for rank, one in enumerate(held):
            if alone and rank != victim:
                os.kill(one, signal.SIGKILL)
            if rank != victim:
                codes[rank] = wait(one, time.monotonic() + LONGEST)
        return [codes[rank] for rank in range(len(held))]

    def ends_well(self, run, world_size, workers):
        """Whether a training comes to its end, and the seconds that it took."""
        begun = time.monotonic()
        held = self.start(run, world_size, workers)
        codes = [wait(one, begun + LONGEST) for one in held]
        return codes == [0] * world_size, time.monotonic() - begun

    @cache  # noqa: B019
    def whole(self, world_size, workers):
        """The uninterrupted run, how often each rank reached each kind of point, and its seconds."""
        run = self.folder / f"whole-{world_size}-{workers}"
        well, seconds = self.ends_well(run, world_size, workers)
        assert well, [run.with_suffix(f".log-{rank}").read_text() for rank in range(world_size)]
        found = [
            json.loads(run.with_suffix(f".points-{rank}").read_text()) for rank in range(world_size)
        ]
        return run, found, seconds

    def trial(self, number, asked, chance):
        """Kill a training, end it, and set it beside the one that was not killed."""
        world_size, workers, kind = asked["ranks"], asked["workers"], asked["kind"]
        whole, reached, seconds = self.whole(world_size, workers)
        run = self.folder / f"killed-{number}"
        place = {"asked": "step", "any time": "step"}.get(kind, kind)
        victim = chance.choice([rank for rank in range(world_size) if reached[rank].get(place)])
        points = Points(place, chance.randrange(reached[victim][place]))
        points.sent = signal.SIGTERM if kind == "asked" else signal.SIGKILL
        held = self.start(run, world_size, workers, victim, None if kind == "any time" else points)
        if kind == "any time":
            time.sleep(chance.uniform(0, seconds))
            os.kill(held[victim], signal.SIGKILL)
        codes = self.ended(held, victim, alone=kind != "asked")
        before = size(run.with_suffix(".steps"))
        well, _ = self.ends_well(run, world_size, workers)
        again = size(run.with_suffix(".steps")) - before
        return asked | {
            "codes": codes,
            "resumed": well,
            "equal": well and alike(Run(whole), Run(run)),
            "steps lost": before + again - size(whole.with_suffix(".steps")),
            "left": sorted(p.name for p in run.iterdir()) if run.is_dir() else [],
            "said": "".join(
                run.with_suffix(f".log-{i}").read_text()[-400:] for i in range(world_size)
            ),
        }


def wait(child, until):
    """Exit code of a process, negative for a signal; it is killed when its time is up."""
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def size(path):
    return path.stat().st_size if path.exists() else 0


def alike(one, other):
    """Whether the weights of two complete runs are the same bit for bit, and all numbers too."""
    first, second = one.weights()[0], other.weights()[0]
    same = first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )
    return same and one.metrics() == other.metrics()


def main(towers, folder, plan):
    torch.set_num_threads(1)
    trials, chance = Trials(towers, folder), random.Random(0)
    found = [trials.trial(i, asked, chance) for i, asked in enumerate(plan)]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.load(sys.stdin))
