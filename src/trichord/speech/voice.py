"""Where somebody speaks, by Silero's voice activity detector (MIT)."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from trichord.types import UserError
from trichord.types.arrays import Float

RATE = 16_000
STEP, CONTEXT, STATE = 512, 64, 128
"""The detector reads 32 ms at a time, with the 4 ms before and a recurrent state."""
STEPS_AT_ONCE = 512
SPOKEN = 0.5
"""Probability from which a step counts as speech: the detector's own default."""
STILL_SPOKEN = 0.35
"""Probability down to which speech goes on: the detector's own default."""
PAUSE = 0.4
"""Seconds; a shorter silence does not end a stretch of speech."""
SURE, SHORTEST = 0.9, 0.3
"""Probability of a voice beyond doubt, and seconds of it in the shortest stretch that is recognised.
Of 400 clips of ESC-10, which hold no speech, 13 have 0.1 s of it and 2 have 0.3 s (barks and sneezes);
of 100 sentences of GRID all have 0.8 s."""
MARGIN = 0.2
"""Seconds that are recognised before and after a stretch: the detector starts up to this late."""
_MODEL = "data/silero_vad_16k_sequence.onnx"


class SpeechDetector:
    """Silero's detector as an ONNX graph that reads many steps in one call."""

    def __init__(self, extra: str = "speech") -> None:
        """Load the graph.

        Args:
            extra: Named where it is not installed.

        Raises:
            UserError: The extra is not installed.
        """
        specs = find_spec("silero_vad"), find_spec("onnxruntime")
        if None in specs or not (model := _folder_of(specs[0]) / _MODEL).is_file():
            raise UserError(
                "Measuring speech needs silero-vad and onnxruntime: pip install "
                f'"trichord[{extra}]".'
            )
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )

    def share(self, samples: Float[np.ndarray, " sample"]) -> float:
        """The share of speech, 0 to 1; 0 without samples.

        Args:
            samples: 16 kHz.
        """
        speech = self.probabilities(samples) >= SPOKEN
        return float(speech.mean()) if len(speech) else 0.0

    def probabilities(self, samples: Float[np.ndarray, " sample"]) -> Float[np.ndarray, " step"]:
        """The probability of speech in each 32 ms at 16 kHz; the last step is padded."""
        h = c = np.zeros((1, 1, STATE), np.float32)
        batches: list[Any] = [np.zeros(0, np.float32)]
        for steps in _batches(samples):
            batch, h, c = self._session.run(None, {"input": steps, "h": h, "c": c})
            batches.append(batch)
        return np.concatenate(batches)


def speech_detector() -> SpeechDetector | None:
    """The detector; None if the extra `speech` is not installed."""
    try:
        return SpeechDetector()
    except UserError:
        return None


def voiced_spans(
    probabilities: Float[np.ndarray, " step"],
) -> tuple[list[tuple[float, float]], int]:
    """Start and end in seconds of each stretch of speech, with margins, and how many were too short.

    Args:
        probabilities: As `SpeechDetector.probabilities` returns them.
    """
    spans: list[tuple[float, float, int]] = []
    speaking = False
    for step, probability in enumerate(probabilities.tolist()):
        speaking = probability >= (STILL_SPOKEN if speaking else SPOKEN)
        if not speaking:
            continue
        start, end, sure = step * STEP / RATE, (step + 1) * STEP / RATE, int(probability >= SURE)
        if spans and start - spans[-1][1] < PAUSE:
            start, _, before = spans.pop()
            sure += before
        spans.append((start, end, sure))
    total = len(probabilities) * STEP / RATE
    long = [
        (max(0.0, start - MARGIN), min(total, end + MARGIN))
        for start, end, sure in spans
        if sure * STEP / RATE >= SHORTEST
    ]
    return long, len(spans) - len(long)


def _folder_of(spec: Any) -> Path:
    """The folder of a package, which is not imported: that would load its dependencies."""
    return Path(next(iter(spec.submodule_search_locations or [""])))


def _batches(samples: Float[np.ndarray, " sample"]) -> Iterator[Float[np.ndarray, "step _"]]:
    """The steps of a sound, each with the end of the one before, some at a time."""
    count = -(-len(samples) // STEP)
    padded = np.zeros(CONTEXT + count * STEP, np.float32)
    padded[CONTEXT : CONTEXT + len(samples)] = samples
    steps = sliding_window_view(padded, CONTEXT + STEP)[::STEP] if count else padded[:0, None]
    for first in range(0, count, STEPS_AT_ONCE):
        yield np.ascontiguousarray(steps[first : first + STEPS_AT_ONCE])
