"""What a speech recogniser is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from trichord.speech.transcript import Word
from trichord.types import UserError
from trichord.types.arrays import Float

RATE = 16_000


@runtime_checkable
class Recogniser(Protocol):
    """Turns sound into words."""

    @property
    def name(self) -> str:
        """Such as 'pocketsphinx'."""
        ...

    @property
    def fingerprint(self) -> str:
        """Engine, version and weights: what decides the words that are recognised."""
        ...

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that it knows, such as 'en'; empty if it does not say."""
        ...

    def detect_language(self, samples: Float[np.ndarray, " sample"]) -> str:
        """The language of a sound of at most half a minute; empty if it cannot tell."""
        ...

    def recognise(self, samples: Float[np.ndarray, " sample"], language: str) -> Sequence[Word]:
        """The words of a sound, with times from its start.

        The same sound gives the same words, whatever was recognised before.

        Args:
            samples: 16 kHz, at most half a minute.
            language: What is spoken; empty if unknown.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RecogniserOptions:
    """What a recogniser is made with.

    Attributes:
        model: A folder or hub name; empty where the engine brings its own.
        vocabulary: A file of words, phrases or a grammar.
        language: The language that will be asked for; empty: detected.
        device: As torch names it.
    """

    model: str = ""
    vocabulary: Path | None = None
    language: str = ""
    device: str = "cpu"


Builder = Callable[[RecogniserOptions], Recogniser]


def require_language(recogniser: Recogniser, language: str) -> None:
    """Refuse a language that a recogniser does not know.

    Raises:
        UserError: Names those that it knows.
    """
    known = recogniser.languages
    if language and known and language not in known:
        raise UserError(
            f"--language {language}: {recogniser.name} knows {', '.join(known)}: give one of them, or "
            "another --engine or --model."
        )
