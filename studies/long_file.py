"""A long file of GRID's sentences with their grammar: memory, a kill halfway, and seams."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from speech_sounds import RATE, sound_of, write_wave
from transcripts import seams, usage

from trichord.media import Decoder
from trichord.speech.transcript import from_json
from trichord.types import Clip

LENGTHS = {"half an hour": 1_800, "three hours": 10_800}
"""Seconds."""


def repeated(grammar: Path, file: Path) -> Path:
    """A grammar of one sentence as one of several: a stretch of voice may have more than one."""
    head, _, body = grammar.read_text().partition("public <sentence> =")
    file.write_text(f"{head}public <said> = <sentence>+;\n<sentence> ={body}")
    return file


def long_file(
    clips: Sequence[Clip], data: Path, folder: Path, grammar: Path, decoder: Decoder
) -> dict[str, object]:
    """Figures of both lengths, and of the longer one killed halfway; kept in the folder."""
    place, kept = folder / "long", folder / "long.json"
    sounds = [sound_of(clip.path, decoder) for clip in clips]
    lines = (data / "grid" / "grid_s1.csv").read_text().splitlines()
    rows = {Path(row["file"]).stem: row for row in csv.DictReader(lines)}
    said = [(sound, rows[clip.id]) for clip, sound in zip(clips, sounds, strict=True)]
    files = {seconds: written(sounds, seconds, place) for seconds in LENGTHS.values()}
    short, long = (files[seconds] for seconds in LENGTHS.values())
    parts: dict[str, Callable[[], dict[str, object]]] = {
        "half an hour": lambda: transcribed(short, place / "once", grammar),
        "three hours": lambda: transcribed(long, place / "once", grammar),
        "three hours, killed and continued": lambda: continued(long, place, grammar),
        "ten minutes without a pause": lambda: seams(said, grammar),
    }
    found: dict[str, dict[str, object]] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in (one for one in parts if one not in found):
        found[name] = parts[name]()
        kept.write_text(json.dumps(found))
    return {name: found[name] for name in parts}


def written(sounds: Sequence[np.ndarray], seconds: int, folder: Path) -> Path:
    """A WAV file of so many seconds of sounds, one after another, again and again."""
    path = folder / f"{seconds}.wav"
    if not path.exists():
        times = -(-seconds * RATE // sum(map(len, sounds)))
        write_wave(path, np.concatenate(list(sounds) * times)[: seconds * RATE])
    return path


def continued(path: Path, place: Path, grammar: Path) -> dict[str, object]:
    """A transcription that was killed halfway, against the one that was not."""
    line = command(path, place / "killed", grammar)
    (place / "killed" / f"{path.name}.transcript.json").unlink(missing_ok=True)
    at = kill(line, place / "killed", path, max(LENGTHS.values()) / 2)
    usage(line)
    one, other = (
        from_json((place / out / f"{path.name}.transcript.json").read_text())[0].segments
        for out in ("once", "killed")
    )
    return {"killed at second": at, "same words and times": one == other}


def command(path: Path, out: Path, grammar: Path) -> list[str]:
    """The command that transcribes a file."""
    line = [sys.executable, "-m", "trichord", "transcribe", str(path)]
    return [*line, "--vocabulary", str(grammar), "--output", str(out)]


def transcribed(path: Path, out: Path, grammar: Path) -> dict[str, object]:
    """Memory and time of a transcription."""
    file = out / f"{path.name}.transcript.json"
    file.unlink(missing_ok=True)  # of a study that was interrupted: it would be skipped
    used = usage(command(path, out, grammar))
    stored, _ = from_json(file.read_text())
    return {
        "largest memory of a process, MiB": used.memory,
        "words": sum(len(one.words) for one in stored.segments),
        "last word, second": stored.segments[-1].end,
        "seconds": used.seconds,
        "processor seconds": used.processor,
    }


def kill(line: Sequence[str], out: Path, path: Path, at: float) -> float:
    """Start a transcription and kill it when it has reached a second; the second."""
    partial, reached = out / f"{path.name}.transcript.part.json", 0.0
    process = subprocess.Popen(line)
    while reached < at:
        time.sleep(0.5)
        assert process.poll() is None, "it ended before it was killed"
        reached = json.loads(partial.read_text())["position"] if partial.exists() else 0.0
    process.send_signal(signal.SIGKILL)
    process.wait()
    return reached
