"""A collection on disk: an indexed archive, and which model its vectors are of."""

import json
import math
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from trichord.media.probe import Status
from trichord.search.table import MomentTable
from trichord.search.yardstick import Calibration
from trichord.types import UserError
from trichord.types.files import write_atomically

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a collection was made with.

    Attributes:
        run: Folder of the run whose model made the vectors.
        fingerprint: Of that model.
        seconds: Length of a moment.
        hop: Seconds between the starts of moments.
        vision_dim: Size of a sight vector.
        audio_dim: Size of a sound vector.
        sound_tokens: From verbal (0) to nonverbal (1), at which sound vectors are stored, the run's
            own first; empty where there is nothing to choose.
        calibration: Scales of scores; None before the first indexing has ended.
        calibrated: The table's version that they were measured on.
    """

    run: str
    fingerprint: str
    seconds: float
    hop: float
    vision_dim: int
    audio_dim: int
    sound_tokens: tuple[float, ...] = ()
    calibration: Calibration | None = None
    calibrated: int = 0


class Collection:
    """A folder with `collection.json` and the Lance table `moments.lance`."""

    def __init__(self, path: Path, description: Description) -> None:
        self.path = path
        self.description = description
        self.table = MomentTable(
            path / "moments.lance",
            description.vision_dim,
            description.audio_dim,
            description.sound_tokens,
        )

    @classmethod
    def open(cls, path: Path) -> "Collection":
        """Open a collection.

        Raises:
            UserError: There is none, or it is damaged or of a newer format.
        """
        file = path / "collection.json"
        if not file.is_file():
            raise UserError(
                f"{path} is not a collection: make one with 'trichord index RUN PATHS {path}'."
            )
        return cls(path, _read(file))

    @classmethod
    def begin(cls, path: Path, description: Description) -> "Collection":
        """Make a collection, or open the one that is there to go on with it.

        Raises:
            UserError: The folder holds something else, or moments of another model or length.
        """
        if (path / "collection.json").is_file():
            collection = cls.open(path)
            collection.require(description.fingerprint)
            there = collection.description
            if (there.seconds, there.hop) != (description.seconds, description.hop):
                raise UserError(
                    f"{path} has moments of {there.seconds:g} s every {there.hop:g} s, not of "
                    f"{description.seconds:g} s every {description.hop:g} s: leave the length as "
                    "it is or index into another folder."
                )
            return collection
        if path.exists() and not _vacant(path):
            raise UserError(f"{path} is not empty and no collection: choose another folder.")
        collection = cls(path, description)
        collection._write()
        return collection

    def require(self, fingerprint: str) -> None:
        """Refuse a model other than the one that made the vectors.

        Raises:
            UserError: It is another one.
        """
        if fingerprint != self.description.fingerprint:
            raise UserError(
                f"{self.path} holds vectors of other weights (made by {self.description.run}): use "
                "that run as it was then, or index into another folder."
            )

    def sound_token(self, asked: float | None) -> float | None:
        """Where a search listens between verbal (0) and nonverbal (1): as asked, or as the run does.

        Returns:
            None where sound is stored as the run hears it and there is nothing to choose.

        Raises:
            UserError: A sound token is asked for, and there is nothing to choose.
        """
        stored = self.description.sound_tokens
        if asked is not None and not stored:
            raise UserError(
                f"--sound-token: {self.path} holds no sound at different sound tokens: leave it out, "
                "or index anew with a run that listens at one (CLIP4VLA's audio tower)."
            )
        return stored[0] if stored and asked is None else asked

    @contextmanager
    def writing(self) -> Generator[None]:
        """Hold the collection for changes.

        The system lets go of it even where the process is killed.

        Raises:
            UserError: Another process holds it.
        """
        import fcntl  # absent on Windows, where searching works nevertheless

        try:
            file = (self.path / ".lock").open("wb")
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.path} is being changed by another process: wait until it has finished."
                ) from None
            yield

    def remove(self, places: Sequence[Path]) -> tuple[str, ...]:
        """Take files, or all files under folders, out of the collection; gives their paths.

        The media files themselves are not touched, and need not exist any more.

        Raises:
            UserError: The collection has no file there, or is being changed by another process.
        """
        known = self.table.files()
        chosen: set[str] = set()
        for place in places:
            below = under(known, place)
            if not below:
                raise UserError(f"{place}: {self.path} has no such file and none in such a folder.")
            chosen |= set(below)
        with self.writing():
            self.table.remove(sorted(chosen))
            self.table.compact()
        return tuple(sorted(chosen))

    def counts(self) -> dict[Status, int]:
        """How many moments have each status; a file that cannot be used counts as one."""
        return Counter(status for one in self.table.files().values() for status in one.statuses)

    @property
    def calibrated(self) -> bool:
        """Whether the scales of scores were measured on the table as it is now."""
        there = self.description
        return there.calibration is not None and there.calibrated == self.table.version

    def keep(self, calibration: Calibration) -> None:
        """Store the scales of scores, measured on the table as it is now."""
        self.description = replace(
            self.description, calibration=calibration, calibrated=self.table.version
        )
        self._write()

    def _write(self) -> None:
        content = {"format": FORMAT, **asdict(self.description)}
        write_atomically(self.path / "collection.json", json.dumps(content, indent=2) + "\n")


def under(files: Iterable[str], place: Path) -> list[str]:
    """Those files that are this place or lie below it."""
    absolute = whereabouts(place)
    return [file for file in files if Path(file).is_relative_to(absolute)]


def whereabouts(place: Path) -> Path:
    """The absolute path of a place: links on the way to it are followed, a linked file is not."""
    return place.resolve() if place.is_dir() else place.parent.resolve() / place.name


def _vacant(path: Path) -> bool:
    """Whether a folder has nothing but what a killed beginning left in it: hidden `.part` files."""
    return path.is_dir() and all(
        p.name.startswith(".") and p.suffix == ".part" for p in path.iterdir()
    )


def _read(file: Path) -> Description:
    try:
        content: dict[str, Any] = json.loads(file.read_text())
        made = content.pop("format")
        if made != FORMAT:
            raise UserError(
                f"{file} has format {made}, this version of Trichord reads {FORMAT}: update "
                "Trichord or index anew."
            )
        stored = content.pop("calibration")
        calibration = None if stored is None else Calibration.of(stored)
        # Absent before there were sound tokens.
        tokens = tuple(float(token) for token in content.pop("sound_tokens", ()))
        description = Description(**content, sound_tokens=tokens, calibration=calibration)
        sizes = (description.vision_dim, description.audio_dim)
        if not (0 < description.hop <= description.seconds < math.inf and min(sizes) > 0):
            raise ValueError("impossible sizes")
        if tokens and (min(tokens), max(tokens), len(set(tokens))) != (0, 1, len(tokens)):
            raise ValueError("impossible sound tokens")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"{file} is damaged ({why}): delete the collection and index anew."
        ) from error
    return description
