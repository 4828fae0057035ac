"""How well and how fast speech is recognised without a network.

    python studies/transcripts.py DATA

DATA holds `grid` (sentences with their words and times) and `esc10` (sounds without speech).
"""

import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from record import record

from trichord.media import Decoder
from trichord.media.plan import DecodePlan
from trichord.speech.pocketsphinx import PocketSphinx
from trichord.speech.recogniser import RecogniserOptions
from trichord.speech.transcript import Word, from_json
from trichord.speech.voice import SpeechDetector, voiced_spans
from trichord.speech.windows import Lengths, WindowedRecogniser, WindowProgress

RATE = 16_000
CLIPS, MINUTES, HOURS = 40, 10, 3
PLAN = DecodePlan(frames=None, rates=(RATE,))
COLUMNS = 6
"""Words of a sentence of GRID."""


def main(data: Path) -> None:
    rows = list(csv.DictReader((data / "grid" / "grid_s1.csv").read_text().splitlines()))
    rows = [row for row in rows if (data / "grid" / "video" / row["file"]).is_file()]
    with tempfile.TemporaryDirectory() as folder, Decoder(workers=1) as decoder:
        words, grammar = vocabularies(rows, Path(folder))

        def sound(path: Path) -> np.ndarray:
            audio = decoder.decode(path, [(0.0, None)], PLAN)[0].audio
            return audio.get(RATE, np.zeros(0, np.float32))

        spoken = [(sound(data / "grid" / "video" / row["file"]), row) for row in rows[::3]]
        result = {
            "protocol": f"{CLIPS} clips of GRID, every 17th; {MINUTES} minutes of its sentences without "
            f"pauses; {HOURS} hours of its clips; all 400 clips of ESC-10",
            "word errors": {
                name: word_errors(rows[::17][:CLIPS], data, sound, file)
                for name, file in (("free", None), ("words", words), ("grammar", grammar))
            },
            "seams": seams(spoken, words),
            "without speech": without_speech(data / "esc10", sound),
            "three hours": three_hours([one for one, _ in spoken], words, Path(folder)),
        }
    record("transcripts", result)


def vocabularies(rows: Sequence[dict[str, str]], folder: Path) -> tuple[Path, Path]:
    """All words of GRID one a line, and the grammar of its sentences."""
    columns = list(zip(*(row["transcript"].split() for row in rows), strict=True))
    assert len(columns) == COLUMNS
    words, grammar = folder / "words.txt", folder / "grid.jsgf"
    words.write_text("\n".join(sorted({word for column in columns for word in column})))
    choices = " ".join(f"({' | '.join(sorted(set(column)))})" for column in columns)
    grammar.write_text(f"#JSGF V1.0;\ngrammar grid;\npublic <sentence> = {choices};\n")
    return words, grammar


def edits(truth: Sequence[str], words: Sequence[str]) -> int:
    """Levenshtein's distance."""
    row = np.arange(len(words) + 1)
    for number, one in enumerate(truth, start=1):
        above, row[0] = row.copy(), number
        for at, other in enumerate(words, start=1):
            row[at] = min(above[at] + 1, row[at - 1] + 1, above[at - 1] + (one != other))
    return int(row[-1])


def word_errors(
    rows: Sequence[dict[str, str]],
    data: Path,
    sound: Callable[[Path], np.ndarray],
    vocabulary: Path | None,
) -> dict[str, float]:
    recogniser = PocketSphinx(RecogniserOptions(vocabulary=vocabulary))
    windows = WindowedRecogniser(recogniser, SpeechDetector())
    wrong = count = 0
    seconds = spent = 0.0
    for row in rows:
        heard = sound(data / "grid" / "video" / row["file"])
        began = time.process_time()
        found = final(windows, heard).words
        spent += time.process_time() - began
        seconds += len(heard) / RATE
        truth = row["transcript"].split()
        wrong, count = wrong + edits(truth, [one.text for one in found]), count + len(truth)
    return {"rate": wrong / count, "processor seconds a minute": 60 * spent / seconds}


def final(windows: WindowedRecogniser, sound: np.ndarray) -> WindowProgress:
    progress = WindowProgress()
    read = lambda start, end: sound[round(start * RATE) : round(end * RATE)]  # noqa: E731
    for step in windows.steps(read, len(sound) / RATE, progress):
        progress = step
    return progress


def seams(spoken: Sequence[tuple[np.ndarray, dict[str, str]]], words: Path) -> dict[str, object]:
    """Words at seams of sentences without pauses, against the same sound recognised whole."""
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < MINUTES * 60 * RATE:
        sound, row = spoken[len(parts) % len(spoken)]
        spans = [one.partition(":")[0].split("-") for one in row["align_25kHz_units"].split()]
        start, end = int(spans[1][0]) / 25_000, int(spans[-2][1]) / 25_000
        parts.append(sound[round(start * RATE) : round(end * RATE)])
    sound = np.concatenate(parts)
    recogniser, detector = PocketSphinx(RecogniserOptions(vocabulary=words)), SpeechDetector()
    whole = WindowedRecogniser(recogniser, detector, Lengths(block=1e4, window=4e3))
    full = final(whole, sound).words
    windows, places = WindowedRecogniser(recogniser, detector), []
    plain = windows._window

    def window(
        part: np.ndarray, start: float, end: float, before: WindowProgress
    ) -> WindowProgress:
        if start < before.reached:
            places.append((start, before.reached))
        return plain(part, start, end, before)

    windows._window = window
    joined = final(windows, sound).words

    def at_seam(word: Word) -> bool:
        return any(start < word.end and word.start < end for start, end in places)

    return {
        "seconds": len(sound) / RATE,
        "windows that overlap": len(places),
        "words whole": len(full),
        "words joined": len(joined),
        "words of the whole without one in their time": {
            "at seams": sum(at_seam(one) and uncovered(one, joined) for one in full),
            "elsewhere": sum(not at_seam(one) and uncovered(one, joined) for one in full),
        },
        "words without one of the whole in their time": {
            "at seams": sum(at_seam(one) and uncovered(one, full) for one in joined),
            "elsewhere": sum(not at_seam(one) and uncovered(one, full) for one in joined),
        },
        "words that overlap another": sum(b.start < a.end - 0.05 for a, b in pairwise(joined)),
    }


def uncovered(word: Word, others: Sequence[Word]) -> bool:
    """Whether less than half of a word's time has words."""
    shared = sum(max(0.0, min(word.end, o.end) - max(word.start, o.start)) for o in others)
    return shared < (word.end - word.start) / 2


def three_hours(sounds: Sequence[np.ndarray], words: Path, folder: Path) -> dict[str, object]:
    """Memory and time of a long file; killed after 20 seconds and continued."""
    path = folder / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        written = 0
        while written < HOURS * 3600 * RATE:
            for one in sounds:
                file.writeframesraw((np.clip(one, -1, 1) * 32767).astype("<i2").tobytes())
                written += len(one)
    line = [sys.executable, "-m", "trichord", "transcribe", str(path), "--vocabulary", str(words)]
    killed = subprocess.Popen([*line, "--output", str(folder / "out")])
    partial = folder / "out" / "long.wav.transcript.part.json"
    while not partial.exists():
        time.sleep(0.2)
    time.sleep(20)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    used = usage([*line, "--output", str(folder / "out")])
    stored, _ = from_json((folder / "out" / "long.wav.transcript.json").read_text())
    return {
        "hours": written / RATE / 3600,
        "largest memory of a process, MiB": used.memory,
        "words": sum(len(one.words) for one in stored.segments),
        "last word, second": stored.segments[-1].end,
        "seconds after the kill": used.seconds,
        "processor seconds after the kill": used.processor,
    }


@dataclass(frozen=True)
class Usage:
    """What a command took; `memory` is the most of one of its processes in MiB."""

    memory: float
    seconds: float
    processor: float


def usage(line: Sequence[str]) -> Usage:
    """Run a command.

    Its memory is read while it runs: `getrusage` counts that of the process that started it too, which a
    child has until it executes its program.
    """
    began, process, memory = time.monotonic(), subprocess.Popen(line), 0.0
    while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        memory = max(memory, *map(peak, descendants(process.pid)))
        time.sleep(0.2)
    _, status, used = ended
    assert status == 0, line
    return Usage(memory, time.monotonic() - began, used.ru_utime + used.ru_stime)


def descendants(process: int) -> list[int]:
    """A process and all that it started and that still run."""
    found = [process]
    for one in found:
        lists = Path(f"/proc/{one}/task").glob("*/children")
        found += [int(child) for file in lists for child in text_of(file).split()]
    return found


def peak(process: int) -> float:
    """The most memory that a process has had since it began its program, MiB; 0 if it has ended."""
    sizes = [
        line.split()[1]
        for line in text_of(f"/proc/{process}/status").splitlines()
        if "VmHWM" in line
    ]
    return int(sizes[0]) / 1024 if sizes else 0.0


def text_of(file: str | Path) -> str:
    """The text of a file of `/proc`; none of a process that has ended."""
    try:
        return Path(file).read_text()
    except OSError:
        return ""


def without_speech(data: Path, sound: Callable[[Path], np.ndarray]) -> dict[str, int]:
    """Clips of ESC-10 in which something is taken for speech."""
    detector = SpeechDetector()
    rows = list(csv.DictReader((data / "esc10.csv").read_text().splitlines()))
    taken = [
        bool(voiced_spans(detector.probabilities(sound(data / "audio" / row["file"])))[0])
        for row in rows
    ]
    return {"clips": len(rows), "taken for speech": sum(taken)}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
