"""A long file of GRID's sentences with their grammar: memory, a kill halfway, and seams."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from speech_sounds import RATE, sound_of, write_wave
from transcripts import seams

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
    kept, place = folder / "long.json", folder / "long"
    if kept.exists():
        return json.loads(kept.read_text())
    sounds = [sound_of(clip.path, decoder) for clip in clips]
    longest = max(LENGTHS.values()) * RATE
    whole = np.concatenate(sounds * -(-longest // sum(map(len, sounds))))
    found: dict[str, object] = {}
    for name, seconds in LENGTHS.items():
        path = place / f"{seconds}.wav"
        write_wave(path, whole[: seconds * RATE])
        found[name] = transcribed(path, place / "once", grammar)
    continued = transcribed(path, place / "killed", grammar, kill_at=seconds / 2)
    one, other = (
        from_json((place / out / f"{path.name}.transcript.json").read_text())[0].segments
        for out in ("once", "killed")
    )
    found[f"{name}, killed and continued"] = {**continued, "same words and times": one == other}
    lines = (data / "grid" / "grid_s1.csv").read_text().splitlines()
    rows = {Path(row["file"]).stem: row for row in csv.DictReader(lines)}
    said = [(sound, rows[clip.id]) for clip, sound in zip(clips, sounds, strict=True)]
    found["ten minutes without a pause"] = seams(said, grammar)
    kept.write_text(json.dumps(found))
    return found


def transcribed(
    path: Path, out: Path, grammar: Path, *, kill_at: float | None = None
) -> dict[str, object]:
    """Memory and time of `trichord transcribe`; killed after some seconds of sound, and continued."""
    line = [sys.executable, "-m", "trichord", "transcribe", str(path), "--vocabulary", str(grammar)]
    line += ["--output", str(out)]
    killed = {} if kill_at is None else {"killed at second": kill(line, out, path, kill_at)}
    began, process = time.monotonic(), subprocess.Popen(line)
    # The usage of this command and of what it started, not of the ones before.
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    stored, _ = from_json((out / f"{path.name}.transcript.json").read_text())
    return {
        **killed,
        "largest memory of a process, MiB": usage.ru_maxrss / 1024,
        "words": sum(len(one.words) for one in stored.segments),
        "last word, second": stored.segments[-1].end,
        "seconds": time.monotonic() - began,
        "processor seconds": usage.ru_utime + usage.ru_stime,
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
