"""How much of a moment somebody speaks in, by Silero's voice activity detector (MIT)."""

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
"""The detector judges 32 ms at a time, in the light of the 4 ms before and of a recurrent state."""
STEPS_AT_ONCE = 512
SPOKEN = 0.5
"""Probability from which a step counts as speech: the detector's own default."""
_MODEL = "data/silero_vad_16k_sequence.onnx"


class SpeechDetector:
    """Silero's detector as an ONNX graph that reads many steps in one call."""

    def __init__(self) -> None:
        """Load it.

        Raises:
            UserError: The extra `speech` is not installed.
        """
        found = find_spec("silero_vad"), find_spec("onnxruntime")
        if None in found or not (model := _folder_of(found[0]) / _MODEL).is_file():
            raise UserError(
                "Telling speech from other sound needs silero-vad and onnxruntime: "
                'pip install "trichord[speech]".'
            )
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )

    def share(self, samples: Float[np.ndarray, " sample"]) -> float:
        """The share of a sound, 0 to 1, in which somebody speaks; of no sound at all it is 0.

        Args:
            samples: 16 kHz.
        """
        spoken = self.probabilities(samples) >= SPOKEN
        return float(spoken.mean()) if len(spoken) else 0.0

    def probabilities(self, samples: Float[np.ndarray, " sample"]) -> Float[np.ndarray, " step"]:
        """How probable speech is in each 32 ms of a 16 kHz sound, whose last step is filled up."""
        h = c = np.zeros((1, 1, STATE), np.float32)
        found: list[Any] = [np.zeros(0, np.float32)]
        for steps in _portions(samples):
            judged, h, c = self._session.run(None, {"input": steps, "h": h, "c": c})
            found.append(judged)
        return np.concatenate(found)


def speech_detector() -> SpeechDetector | None:
    """The detector, None where the extra `speech` is not installed."""
    try:
        return SpeechDetector()
    except UserError:
        return None


def _folder_of(spec: Any) -> Path:
    """Where a package lies; it is not imported, which would load all of its own needs."""
    return Path(next(iter(spec.submodule_search_locations or [""])))


def _portions(samples: Float[np.ndarray, " sample"]) -> Iterator[Float[np.ndarray, "step _"]]:
    """Steps of a sound, each behind the end of the one before, some at a time."""
    count = -(-len(samples) // STEP)
    padded = np.zeros(CONTEXT + count * STEP, np.float32)
    padded[CONTEXT : CONTEXT + len(samples)] = samples
    steps = sliding_window_view(padded, CONTEXT + STEP)[::STEP] if count else padded[:0, None]
    for first in range(0, count, STEPS_AT_ONCE):
        yield np.ascontiguousarray(steps[first : first + STEPS_AT_ONCE])
