"""Log-mel spectrograms of `Spectrogram` beside librosa's, in one run on the same recordings.

    python studies/spectrogram.py MEDIA_DIR...

Protocol: 16 kHz mono sound of up to 40 files of each folder; one core, one thread each. For the times
the recordings are joined and cut into clips of 3, 5 and 10 s; the ways take turns clip by clip, in an
order drawn for each of 60 turns, and medians count: of each way's milliseconds of processor time, which
other work on the machine disturbs least, and of the ratio within a turn. `librosa` is melspectrogram
and power_to_db, which makes its bands anew at each call; `librosa, bands at hand` is spared that;
`single precision` is torch.stft and one product with all bands. Differences are over whole recordings.
Writes studies/results/spectrogram.json.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import librosa
import numpy as np
import torch
from record import record

from trichord.config import LogMel
from trichord.encoders.spectrogram import Spectrogram, cut_segments, mel_bands
from trichord.media import DecodePlan, Decoder

RATE, MELS, HOP = 16_000, 224, 128
FILES, TURNS, BATCH = 40, 60, 16

Way = Callable[[np.ndarray], np.ndarray]


def recordings(folder: Path) -> list[np.ndarray]:
    """Sound of a folder's files, spread evenly over them."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    plan = DecodePlan(frames=None, rates=(RATE,))
    with Decoder(1) as decoder:
        heard = [decoder.decode(path, [(0.0, None)], plan)[0].audio for path in spread(files)]
    return [audio[RATE] for audio in heard if RATE in audio]


def spread(files: list[Path]) -> list[Path]:
    return files[:: max(1, -(-len(files) // FILES))]


def by_librosa(window: int = 512, shape: str = "hann") -> Way:
    def decibels(wave: np.ndarray) -> np.ndarray:
        power = librosa.feature.melspectrogram(
            y=wave,
            sr=RATE,
            n_fft=window,
            hop_length=HOP,
            n_mels=MELS,
            fmax=RATE / 2,
            window=shape,
        )
        return librosa.power_to_db(power).T

    return decibels


def by_librosa_with_bands() -> Way:
    bands = librosa.filters.mel(sr=RATE, n_fft=512, n_mels=MELS, fmax=RATE / 2)

    def decibels(wave: np.ndarray) -> np.ndarray:
        power = np.abs(librosa.stft(wave, n_fft=512, hop_length=HOP)) ** 2
        return librosa.power_to_db(bands @ power).T

    return decibels


def in_single_precision(window: int = 512, shape: str = "hann") -> Way:
    bands = mel_bands(rate=RATE, mels=MELS, window=window, highest=RATE / 2)
    rows = torch.from_numpy(bands.T.astype(np.float32))
    weights = torch.hann_window(window) if shape == "hann" else torch.hamming_window(window)

    def decibels(wave: np.ndarray) -> np.ndarray:
        spectrum = torch.stft(
            torch.from_numpy(wave),
            window,
            HOP,
            window=weights,
            pad_mode="constant",
            return_complex=True,
        )
        power = rows @ (spectrum.real.square() + spectrum.imag.square())
        found = 10 * power.clamp(min=1e-10).log10()
        return found.clamp(min=float(found.max()) - 80).T.numpy()

    return decibels


def by_trichord(window: int = 512, shape: str = "hann") -> Way:
    spectrogram = Spectrogram(
        LogMel(window=window, shape="hamming" if shape == "hamming" else "hann")
    )
    return lambda wave: spectrogram(torch.from_numpy(wave)).numpy()


def milliseconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return 1000 * (time.process_time() - began)


def turns(ways: dict[str, Callable[[int], object]]) -> dict[str, list[float]]:
    """Milliseconds of each way in each turn; the first turn warms up and is dropped."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    random = np.random.default_rng(0)
    for turn in range(TURNS + 1):
        for name in random.permutation(list(ways)):
            taken[name].append(milliseconds(lambda way=ways[name], turn=turn: way(turn)))
    return {name: times[1:] for name, times in taken.items()}


def median_ratio(slow: list[float], fast: list[float]) -> float:
    return round(statistics.median(s / f for s, f in zip(slow, fast, strict=True)), 2)


def times_of(sound: np.ndarray, seconds: int) -> dict[str, object]:
    clips = [sound[start : start + seconds * RATE] for start in clip_starts(sound, seconds)]
    ways = {
        "trichord": by_trichord(),
        "librosa": by_librosa(),
        "librosa, bands at hand": by_librosa_with_bands(),
        "single precision": in_single_precision(),
    }
    taken = turns(
        {name: lambda turn, way=way: way(clips[turn % len(clips)]) for name, way in ways.items()}
    )
    return {
        "milliseconds": {n: round(statistics.median(t), 2) for n, t in taken.items()},
        "librosa / trichord": median_ratio(taken["librosa"], taken["trichord"]),
        "librosa, bands at hand / trichord": median_ratio(
            taken["librosa, bands at hand"], taken["trichord"]
        ),
    }


def clip_starts(sound: np.ndarray, seconds: int) -> range:
    return range(0, len(sound) - seconds * RATE + 1, seconds * RATE)


def batch_times(sound: np.ndarray) -> dict[str, object]:
    """Sixteen clips of 10 s one by one, together, and each as three equal channels."""
    waves = torch.from_numpy(sound[: BATCH * 10 * RATE]).reshape(BATCH, -1)
    spectrogram = Spectrogram(LogMel())
    ways = {
        "one by one": lambda _: [spectrogram(wave) for wave in waves],
        "together": lambda _: spectrogram(waves),
        "one by one, three equal channels": lambda _: [
            spectrogram(wave.expand(3, -1)) for wave in waves
        ],
    }
    taken = turns(ways)
    return {
        "milliseconds a clip": {
            name: round(statistics.median(times) / BATCH, 2) for name, times in taken.items()
        },
        "one by one / together": median_ratio(taken["one by one"], taken["together"]),
    }


def gpu_times(sound: np.ndarray) -> dict[str, object] | None:
    """The same sixteen clips together on a GPU, until the decibels are there; wall-clock time."""
    if not torch.cuda.is_available():
        return None
    waves = torch.from_numpy(sound[: BATCH * 10 * RATE]).reshape(BATCH, -1)
    spectrogram, moved, taken = Spectrogram(LogMel()), waves.cuda(), []
    for _ in range(TURNS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        found = spectrogram(moved)
        torch.cuda.synchronize()
        taken.append(1000 * (time.perf_counter() - began))
    return {
        "device": torch.cuda.get_device_name(),
        "milliseconds a clip": round(statistics.median(taken) / BATCH, 3),
        "largest difference to the CPU, dB": float((found.cpu() - spectrogram(waves)).abs().max()),
    }


def difference(waves: list[np.ndarray], left: Way, right: Way) -> float:
    return max(float(np.abs(left(wave) - right(wave)).max()) for wave in waves)


def agreement(waves: list[np.ndarray]) -> dict[str, dict[str, float]]:
    """Largest difference to librosa in dB over all cells of all recordings."""
    cases = [(window, shape) for window in (512, 1024) for shape in ("hann", "hamming")]
    return {
        name: {
            f"{window} {shape}": difference(waves, way(window, shape), by_librosa(window, shape))
            for window, shape in cases
        }
        for name, way in (("trichord", by_trichord), ("single precision", in_single_precision))
    }


def windows(waves: list[np.ndarray]) -> dict[str, object]:
    """What a window of 1024 points changes."""
    short, long = Spectrogram(LogMel(window=512)), Spectrogram(LogMel(window=1024))
    pairs = [(short(wave), long(wave)) for wave in map(torch.from_numpy, waves)]
    bands = {w: mel_bands(rate=RATE, mels=MELS, window=w, highest=RATE / 2) for w in (512, 1024)}
    heard = torch.from_numpy((bands[512] > 0).any(axis=0))
    apart = [right - left for left, right in pairs]
    level = 20 * np.log10(2)  # twice as many points hear four times the power
    pictures = [(cut_segments(left[None]), cut_segments(right[None])) for left, right in pairs]
    return {
        "empty bands": {str(w): int((b == 0).all(axis=0).sum()) for w, b in bands.items()},
        "seconds a frame sees": {"512": 512 / RATE, "1024": 1024 / RATE},
        "frames that hear a click": {"512": click_frames(short), "1024": click_frames(long)},
        "1024 minus 512, dB": {
            "mean, bands that 512 hears": mean(d[:, heard] for d in apart),
            "mean absolute, bands that 512 hears": mean(d[:, heard].abs() for d in apart),
            "the same beyond the 6.02 dB of its length": mean(
                (d[:, heard] - level).abs() for d in apart
            ),
            "mean absolute, bands empty at 512": mean(d[:, ~heard].abs() for d in apart),
            "mean absolute, all bands": mean(d.abs() for d in apart),
        },
        "mean absolute difference of the normalised segments": mean(
            (right - left).abs() for left, right in pictures
        ),
    }


def click_frames(spectrogram: Spectrogram) -> int:
    wave = torch.zeros(RATE)
    wave[RATE // 2] = 1
    loudest = spectrogram(wave).amax(dim=1)
    return int((loudest > loudest.min()).sum())


def mean(parts: Iterable[torch.Tensor]) -> float:
    return round(float(torch.stack([part.mean() for part in parts]).mean()), 3)


def main() -> None:
    warnings.filterwarnings("ignore", "Empty filters", UserWarning)
    torch.set_num_threads(1)
    waves = [wave for folder in sys.argv[1:] for wave in recordings(Path(folder))]
    sound = np.concatenate(waves)
    report = {
        "protocol": " ".join(__doc__.split("Protocol: ")[1].split()),
        "recordings": len(waves),
        "seconds of sound": round(len(sound) / RATE),
        "times": {f"{seconds} s": times_of(sound, seconds) for seconds in (3, 5, 10)},
        f"{BATCH} clips of 10 s": batch_times(sound),
        "GPU": gpu_times(sound),
        "largest difference to librosa, dB": agreement(waves),
        "window of 1024": windows(waves),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "librosa": librosa.__version__,
    }
    record("spectrogram", report)


if __name__ == "__main__":
    main()
