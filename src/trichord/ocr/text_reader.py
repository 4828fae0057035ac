"""What a text reader is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from trichord.types import UserError
from trichord.types.arrays import UInt8


class Box(NamedTuple):
    """A rectangle in fractions of a picture, from its left upper corner."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLine:
    """A line of text in a picture; `confidence` is from 0 to 1."""

    text: str
    confidence: float
    box: Box


@runtime_checkable
class TextReader(Protocol):
    """Reads the text in a picture."""

    @property
    def name(self) -> str:
        """Such as 'rapidocr'."""
        ...

    @property
    def fingerprint(self) -> str:
        """Engine, version and weights: what decides the text that is read."""
        ...

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that it reads, such as 'en'; empty if it does not say."""
        ...

    def read(self, image: UInt8[np.ndarray, "height width 3"]) -> Sequence[TextLine]:
        """The lines of text in a picture, from top to bottom; none if it has no text.

        The same picture gives the same lines, whatever was read before.

        Args:
            image: RGB.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReaderOptions:
    """What a text reader is made with.

    Attributes:
        languages: Codes of the languages that will occur; empty: any that it reads.
        model: A file with the weights; None: those that the engine brings.
        threads: Threads that it computes with; None: `compute_threads()`.
    """

    languages: tuple[str, ...] = ()
    model: Path | None = None
    threads: int | None = None


TextReaderBuilder = Callable[[TextReaderOptions], TextReader]


def require_languages(reader: TextReader, languages: Sequence[str]) -> None:
    """Refuse languages that a text reader does not know.

    Raises:
        UserError: Names those that it knows.
    """
    known = reader.languages
    if unknown := [one for one in languages if known and one not in known]:
        raise UserError(
            f"--ocr-language {unknown[0]}: {reader.name} reads {', '.join(known)}: give some of these, or "
            "another model by --ocr-model."
        )
