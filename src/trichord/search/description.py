"""What a collection says of itself: `collection.json`."""

import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any, get_args

from trichord.media.plan import FrameChoice
from trichord.search.calibration import Calibration
from trichord.search.moments import CutKind
from trichord.types import UserError

FORMAT = 3
"""Of collections that are written. Format 1 (no captions, tags, thumbnails, durations) and format 2, which
called some things by other names, are read."""
TABLE = "moments.lance"
"""The table of a collection that was never embedded anew."""


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
        audio_types: From verbal (0) to nonverbal (1), at which sound vectors are stored, the run's
            own first; empty where there is nothing to choose.
        calibration: Scales of scores; None before the first indexing has ended.
        calibrated: The table's version that they were measured on.
        table: Name of the table of moments.
        weighting: Of sight and of sound, learnt from captions; None where nothing was learnt.
        cut: Whether moments are windows throughout, or shots, of which only long ones are windows.
        frames: Which frames are looked at: those shown at the times meant, or keyframes before them.
    """

    run: str
    fingerprint: str
    seconds: float
    hop: float
    vision_dim: int
    audio_dim: int
    audio_types: tuple[float, ...] = ()
    calibration: Calibration | None = None
    calibrated: int = 0
    table: str = TABLE
    weighting: tuple[float, float] | None = None
    cut: CutKind = "window"
    frames: FrameChoice = "exact"


def written(description: Description) -> str:
    """The description as it is stored."""
    return json.dumps({"format": FORMAT, **asdict(description)}, indent=2) + "\n"


def described(content: bytes, name: str) -> Description:
    """Read a description.

    Args:
        content: As it is stored.
        name: Of the file, for messages.

    Raises:
        UserError: It is damaged, or of a newer format.
    """
    try:
        stored: dict[str, Any] = json.loads(content)
        made = stored.pop("format")
        if made not in (1, 2, FORMAT):
            raise UserError(
                f"{name} has format {made}, this version of Trichord reads {FORMAT}: update "
                "Trichord or index anew."
            )
        stored = _renamed(stored)
        scales = stored.pop("calibration")
        calibration = None if scales is None else Calibration.of(scales)
        # Absent before there were audio type tokens.
        tokens = tuple(float(token) for token in stored.pop("audio_types", ()))
        weighting = _pair(stored.pop("weighting", None))
        description = Description(
            **stored, audio_types=tokens, calibration=calibration, weighting=weighting
        )
        _check(description)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"{name} is damaged ({why}): delete the collection and index anew."
        ) from error
    return description


def is_table(name: str) -> bool:
    """Whether a table may be called that; others are neither opened nor, once replaced, deleted."""
    return re.fullmatch(r"moments(-[0-9a-f]+)?\.lance", name) is not None


def _renamed(stored: dict[str, Any]) -> dict[str, Any]:
    """A description of format 1 or 2 by the names of format 3."""
    if stored.get("run") == "untrained":  # as the published pair was called
        stored = stored | {"run": "clip-clap"}
    new = {"sound_tokens": "audio_types", "nearest": "frames", "sight": "vision", "sound": "audio"}
    return {
        new.get(name, name): _renamed(value) if isinstance(value, dict) else value  # pyright: ignore[reportArgumentType]
        for name, value in stored.items()
    }


def _pair(stored: Any) -> tuple[float, float] | None:
    if stored is None:
        return None
    visual, audio = stored
    return float(visual), float(audio)


def _check(there: Description) -> None:
    sizes = (there.vision_dim, there.audio_dim)
    if not (0 < there.hop <= there.seconds < math.inf and min(sizes) > 0):
        raise ValueError("impossible sizes")
    if there.cut not in get_args(CutKind) or there.frames not in get_args(FrameChoice):
        raise ValueError("moments of an unknown kind")
    tokens = there.audio_types
    if tokens and (min(tokens), max(tokens), len(set(tokens))) != (0, 1, len(tokens)):
        raise ValueError("impossible audio types")
    if not is_table(there.table):
        raise ValueError("impossible name of a table")
    if there.weighting is not None and not all(0 <= one < math.inf for one in there.weighting):
        raise ValueError("impossible weighting")
