"""Filters: which moments of a collection a search may find."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from fnmatch import translate
from pathlib import Path
from re import compile as pattern_of
from typing import Annotated, Any, Literal

import numpy as np

from trichord.search.gallery import Gallery
from trichord.types import UserError
from trichord.types.arguments import UserTypeError, described, require_number
from trichord.types.arrays import Bool, Int
from trichord.types.rules import Range, Spelling, require_legal

Kind = Literal["video", "audio", "image"]
KINDS: tuple[Kind, ...] = ("video", "audio", "image")
Overlapping = Callable[..., Bool[np.ndarray, " moment"]]
"""Which moments overlap a line of a transcript, by values of its columns."""
SPOKEN = 0.2
"""Share of speech from which on a moment counts as having speech."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions that a moment must all meet; those not given do not matter.

    Attributes:
        path: Path of the file: an absolute path is that file, or everything in that folder; a relative
            one matches anywhere in the path, by whole names; with `*`, `?` or `[...]` it is a pattern,
            in which `*` also matches folders.
        since: The file was last changed then or later; without a time zone it is local time.
        until: The file was last changed then or earlier.
        min_duration: Least length of the file in seconds.
        max_duration: Greatest length of the file in seconds.
        kind: The file is a video, a sound (audio) or a picture (image).
        tags: The moment has all of them.
        has_audio: Whether the moment has audio.
        has_speech: Whether there is speech in at least a fifth of the moment, or its transcript has words.
            Moments that were not measured match neither, except those without audio, which have no speech.
        language: What is said in the moment is in this language, such as en, by its transcript.
        speaker: This person speaks in the moment, by a transcript that says who speaks.
        missing: Also moments of files that are not in their place now.

    Raises:
        UserError: A condition that no moment can meet.
        UserTypeError: A condition of the wrong type.
    """

    path: str = ""
    since: datetime | None = None
    until: datetime | None = None
    min_duration: Annotated[float | None, Range(0)] = None
    max_duration: Annotated[float | None, Range(0)] = None
    kind: Kind | None = None
    tags: tuple[str, ...] = ()
    has_audio: bool | None = None
    has_speech: bool | None = None
    language: Annotated[str | None, Spelling("[a-z]{2,3}", "a code such as en")] = None
    speaker: str | None = None
    missing: bool = False

    def __post_init__(self) -> None:
        _require_types(self)
        require_legal(self)
        if _reversed(self.min_duration, self.max_duration):
            raise UserError(
                f"--min-duration {self.min_duration:g} is more than --max-duration "
                f"{self.max_duration:g}: no file lasts that long; exchange them."
            )
        if _reversed(_nanoseconds(self.since), _nanoseconds(self.until)):
            raise UserError(
                f"--since {self.since} is later than --until {self.until}: exchange them."
            )
        if not all(tag.strip() for tag in self.tags):
            raise UserError("--tags has an empty one: leave it out.")
        if "\0" in self.path:
            raise UserError("--path has a zero byte in it, which no path has: leave it out.")

    @property
    def open(self) -> bool:
        """Whether all moments match; missing files are left out later, if they come up as hits."""
        conditions = [each for each in fields(Filter) if each.name != "missing"]
        return all(getattr(self, each.name) == each.default for each in conditions)

    @property
    def of_speech(self) -> bool:
        """Whether transcripts matter."""
        return (self.has_speech, self.language, self.speaker) != (None, None, None)

    def mask(
        self, gallery: Gallery, overlapping: Overlapping | None = None
    ) -> Bool[np.ndarray, " moment"]:
        """Which moments meet all conditions.

        Args:
            gallery: The moments.
            overlapping: Which of them overlap a line of their transcripts that has these values, such as
                `language="en"`; None: there are no transcripts.
        """
        mask = self._files(gallery)[gallery.file]
        if self.of_speech:
            mask &= self._spoken(gallery, overlapping or _nothing_said(gallery))
        for tag in self.tags:
            mask &= gallery.tagged(tag)
        if self.has_audio is not None:
            mask &= gallery.has_audio == self.has_audio
        return mask

    def _spoken(self, gallery: Gallery, overlapping: Overlapping) -> Bool[np.ndarray, " moment"]:
        mask = np.ones(len(gallery), bool)
        if self.has_speech is not None:
            words = overlapping(kind="speech")
            silent = np.isnan(gallery.speech) & ~gallery.has_audio
            without = ((gallery.speech < SPOKEN) | silent) & ~words
            mask &= (gallery.speech >= SPOKEN) | words if self.has_speech else without
        for column, value in (("language", self.language), ("speaker", self.speaker)):
            if value is not None:
                mask &= overlapping(kind="speech", **{column: value})
        return mask

    def _files(self, gallery: Gallery) -> Bool[np.ndarray, " file"]:
        """Which files meet the conditions on files."""
        mask = np.ones(len(gallery.files), bool)
        if self.since is not None:
            mask &= gallery.mtime_ns >= _nanoseconds(self.since)
        if self.until is not None:
            mask &= gallery.mtime_ns <= _nanoseconds(self.until)
        if self.min_duration is not None:
            mask &= gallery.duration >= self.min_duration
        if self.max_duration is not None:
            mask &= gallery.duration <= self.max_duration
        if self.kind is not None:
            mask &= kinds_of(gallery) == KINDS.index(self.kind)
        if self.path:
            mask &= self._at(gallery.files)
        return mask

    def _at(self, files: Sequence[str]) -> Bool[np.ndarray, " file"]:
        """Which files the path matches."""
        path = self.path
        if path.split("/")[0] in (".", "..", "~"):
            path = str(Path(path).expanduser().resolve())
        return _matching(path, files)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterBelow(Filter):
    """A filter by paths relative to some folders, for clients that may not see absolute paths.

    Attributes:
        below: The folders. A path is relative to the first one that holds the file; a file in none of
            them has only its name.
    """

    below: tuple[str, ...]

    def _at(self, files: Sequence[str]) -> Bool[np.ndarray, " file"]:
        return _matching(self.path, [f"/{path_below(file, self.below)}" for file in files])


def _require_types(given: Any) -> None:
    """Refuse conditions of the wrong type, which would match nothing, or something else.

    Raises:
        UserTypeError: Names one, and says what to write.
    """
    for name in ("min_duration", "max_duration"):
        require_number(name, getattr(given, name))
    flag, time = "True or False", "a datetime, such as datetime(2024, 12, 31)"
    checks: dict[str, tuple[tuple[type, ...], str]] = {
        "path": ((str,), "a text: str(path)"),
        "since": ((datetime, type(None)), time),
        "until": ((datetime, type(None)), time),
        "tags": ((tuple, list, frozenset, set), f"tags=({given.tags!r},)"),
        "has_audio": ((bool, np.bool_, type(None)), flag),
        "has_speech": ((bool, np.bool_, type(None)), flag),
    }
    for name, (kinds, remedy) in checks.items():
        if not isinstance(value := getattr(given, name), kinds):
            raise UserTypeError(f"{name}={described(value)}: give {remedy}.")
    if given.kind not in (None, *KINDS):
        raise UserError(f"kind={given.kind!r}: give {', '.join(KINDS)}.")


def _nothing_said(gallery: Gallery) -> Overlapping:
    def overlapping(**_values: str) -> Bool[np.ndarray, " moment"]:
        return np.zeros(len(gallery), bool)

    return overlapping


def kinds_of(gallery: Gallery) -> Int[np.ndarray, " file"]:
    """The kind of each file, as its place in `KINDS`: without vision a sound, without time a picture."""
    files = len(gallery.files)
    seen = np.bincount(gallery.file[gallery.has_vision], minlength=files) > 0
    lasts = np.bincount(gallery.file[gallery.end > 0], minlength=files) > 0
    return np.where(seen, np.where(lasts, 0, 2), 1)


def path_below(file: str, folders: Sequence[str]) -> str:
    """The path of a file relative to the first folder that holds it; its name if none does."""
    for folder in folders:
        top = folder.rstrip(os.sep) + os.sep
        if folder and file.startswith(top):
            return file[len(top) :]
    return Path(file).name


def _matching(path: str, files: Sequence[str]) -> Bool[np.ndarray, " file"]:
    """Which files a path, or a pattern of paths, matches."""
    place = path if path.strip("/") == "" else path.rstrip("/")
    absolute = place.startswith("/")
    rooted = place.rstrip("/") if absolute else f"/{place}"
    matched = (
        [f"{file}/".startswith(f"{rooted}/") for file in files]
        if absolute
        else [f"{rooted}/" in f"{file}/" for file in files]
    )
    if any(sign in place for sign in "*?["):
        matches = pattern_of(translate(place if absolute else f"*{rooted}")).match
        # The name of a folder may have a bracket: then both readings count.
        matched = [
            plain or matches(file) is not None for plain, file in zip(matched, files, strict=True)
        ]
    return np.array(matched, bool)


def _nanoseconds(time: datetime | None) -> int | None:
    if time is None:
        return None
    try:
        return round(time.timestamp() * 1e6) * 1000
    except (ValueError, OverflowError, OSError) as error:
        raise UserError(
            f"--since or --until is {time}: give a time between the years 1900 and 2200."
        ) from error


def _reversed(low: float | int | None, high: float | int | None) -> bool:
    return low is not None and high is not None and low > high
