"""Whisper by `faster-whisper` (CTranslate2), where it is installed; it is in none of our extras."""

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from trichord.speech.recogniser import RecogniserOptions
from trichord.speech.transcript import Word
from trichord.types import UserError, first_line
from trichord.types.arrays import Float
from trichord.types.extras import NotInstalledError


class FasterWhisper:
    """A Whisper in the format of CTranslate2, from a folder."""

    name = "faster-whisper"

    def __init__(self, options: RecogniserOptions) -> None:
        """Load the model.

        Raises:
            UserError: faster-whisper is not installed, or there is no such folder or model.
        """
        if options.vocabulary is not None:
            raise UserError("--vocabulary goes with --engine pocketsphinx: leave it out.")
        try:
            package: Any = import_module("faster_whisper")
        except ModuleNotFoundError as error:
            raise NotInstalledError(
                "--engine faster-whisper: it is not installed: pip install faster-whisper."
            ) from error
        # By name it would download what it finds at a hub, of whatever commit.
        folder = Path(options.model)
        if not options.model or not (folder / "model.bin").is_file():
            raise UserError(
                f"--model {options.model or 'is missing'}: faster-whisper needs a folder with model.bin, "
                "in the format of CTranslate2."
            )
        device = options.device.partition(":")[0]
        try:
            self._model = package.WhisperModel(str(folder), device=device, local_files_only=True)
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(
                f"--model {folder}: faster-whisper cannot read it ({first_line(error)}): give the folder "
                "of a whole model."
            ) from error
        self.languages = tuple(self._model.supported_languages)
        try:
            number = version("faster-whisper")
        except PackageNotFoundError:  # a copy that was not installed by pip
            number = "of an unknown version"
        size = (folder / "model.bin").stat().st_size
        self.fingerprint = f"faster-whisper {number} {folder.name} {size}"

    def detect_language(self, samples: Float[np.ndarray, " sample"]) -> str:
        """The language, by the model."""
        return str(self._model.detect_language(samples)[0])

    def recognise(self, samples: Float[np.ndarray, " sample"], language: str) -> Sequence[Word]:
        """See `Recogniser`."""
        segments, _ = self._model.transcribe(
            samples,
            language=language or None,
            word_timestamps=True,
            vad_filter=False,  # voice activity comes first for every engine
            condition_on_previous_text=False,  # a sound gives the same words after any other
        )
        return [
            Word(
                text=str(word.word).strip(),
                start=float(word.start),
                end=float(word.end),
                confidence=float(word.probability),
            )
            for segment in segments
            for word in segment.words or ()
        ]
