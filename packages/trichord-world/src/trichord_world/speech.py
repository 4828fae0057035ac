"""Spoken phrases by eSpeak NG, whose library comes with the package `espeakng-loader`.

eSpeak NG is GPL-3.0-or-later. Only the extra `trichord[world]` depends on it, it is loaded by a
process of its own, and nothing outside the generated world uses it.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trichord.types import UserError
from trichord_world import espeak
from trichord_world.format import RATE
from trichord_world.law import VOICES

__all__ = ["VOICES", "spoken"]

_AUDIBLE = 0.01  # of the peak; eSpeak's pauses before and after a phrase lie below it


def _installation() -> tuple[str, str]:
    try:
        import espeakng_loader  # pyright: ignore[reportMissingTypeStubs]: it ships none
    except ImportError:
        raise UserError(
            "The generated world speaks through eSpeak NG: pip install 'trichord[world]'."
        ) from None
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


def _resampled(wave: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Band-limited from `rate` to RATE, by cutting or padding the spectrum."""
    step = int(np.gcd(rate, RATE))
    up, down = RATE // step, rate // step
    blocks = -(-wave.size // down)  # whole blocks on both sides: no sample of drift
    spectrum = np.fft.rfft(wave, blocks * down)
    return np.fft.irfft(spectrum, blocks * up) * (up / down)


@cache
def spoken(phrase: str, voice: str) -> NDArray[np.float32]:
    """The phrase in the voice, at RATE, peak 1, without the silence around it: (sample,).

    The same bytes in every process. Remembered for the life of the process (read-only array).

    Raises:
        UserError: espeakng-loader is missing, or eSpeak NG fails with its library.
        ValueError: eSpeak NG does not know the voice or says nothing.
    """
    if voice not in VOICES:
        raise ValueError(f"{voice!r} is none of the world's voices {VOICES}.")
    library, voices = _installation()
    command = [sys.executable, "-I", "-S", str(Path(espeak.__file__)), library, voices]
    said = subprocess.run([*command, phrase, voice], capture_output=True, check=False)
    if said.returncode != 0:
        reason = said.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise UserError(
            f"eSpeak NG failed with {library} ({' '.join(reason) or said.returncode}):"
            " pip install --force-reinstall espeakng-loader."
        )
    rate = int(np.frombuffer(said.stdout, "<i4", 1)[0])
    wave = np.frombuffer(said.stdout, "<i2", offset=4) / 32768
    if not wave.any():
        raise ValueError(f"eSpeak NG says nothing for {phrase!r}.")
    wave = _resampled(wave, rate)
    loud = np.flatnonzero(np.abs(wave) > _AUDIBLE * np.abs(wave).max())
    wave = wave[loud[0] : loud[-1] + 1]
    wave = (wave / np.abs(wave).max()).astype(np.float32)
    wave.flags.writeable = False
    return wave
