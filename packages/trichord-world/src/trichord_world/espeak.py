"""One utterance of eSpeak NG, as a program: `python -I espeak.py LIBRARY VOICES PHRASE VOICE`.

eSpeak's phase and flutter are global state that no call resets, so what it says depends on all it
has said before. A fresh process for each utterance makes the samples a function of phrase and voice
alone. Only the standard library is imported, so that the process starts in hundredths of a second.
Output: the sample rate as a little-endian 32-bit number, then 16-bit samples.
"""

import ctypes
import struct
import sys

_SYNCHRONOUS = 2
_UTF8 = 1
_Sink = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def utter(library: str, voices: str, phrase: str, voice: str) -> bytes:
    """Speak once through the shared library; `voices` is eSpeak's own folder of voice files."""
    espeak = ctypes.CDLL(library)
    rate = int(espeak.espeak_Initialize(_SYNCHRONOUS, 0, voices.encode(), 0))
    pieces: list[bytes] = []

    def keep(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            pieces.append(ctypes.string_at(samples, 2 * count))
        return 0

    sink = _Sink(keep)
    espeak.espeak_SetSynthCallback(sink)
    if rate <= 0 or espeak.espeak_SetVoiceByName(voice.encode()) != 0:
        raise ValueError(f"eSpeak NG has no voice {voice!r} (sample rate {rate}).")
    # Breathy voices have noise, which eSpeak seeds with the time of day.
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))
    text = phrase.encode()
    espeak.espeak_Synth(
        text, ctypes.c_size_t(len(text) + 1), ctypes.c_uint(0), 0, ctypes.c_uint(0),
        ctypes.c_uint(_UTF8), None, None,
    )  # fmt: skip
    return struct.pack("<i", rate) + b"".join(pieces)


if __name__ == "__main__":
    sys.stdout.buffer.write(utter(*sys.argv[1:5]))
