"""The description of a collection: `collection.json`."""

import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any, cast, get_args

from trichord.media.plan import FrameChoice
from trichord.search.calibration import Calibration
from trichord.search.moments import CutKind
from trichord.search.roots import Root
from trichord.types import UserError

FORMAT = 4
"""Format of new collections. Formats 1 (no captions, tags, thumbnails, durations), 2 (other names of some
fields) and 3 (no roots) are read."""
TABLE = "moments.lance"
"""The table of a collection that was never re-embedded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """How a collection was made.

    Attributes:
        run: Folder of the run whose model made the vectors.
        fingerprint: Fingerprint of that model.
        seconds: Length of a moment.
        hop: Seconds between the starts of moments.
        vision_dim: Size of a vision vector.
        audio_dim: Size of an audio vector.
        audio_types: Tokens from verbal (0) to nonverbal (1) at which audio vectors are stored, the run's
            own first; empty if the model takes none.
        calibration: Scales of scores; None until the first indexing has finished.
        calibrated: Version of the table that they were measured on.
        table: Name of the table of moments.
        weighting: Visual and audio weight, learnt from captions; None if none were learnt.
        cut: Whether moments are windows, or shots of which long ones are cut into windows.
        frames: Which frames are decoded: those shown at the exact times, or the keyframes before them.
        audio_track: Number from 1 or language of the audio track that is heard, where a file has one such;
            empty: the first that is not silent.
        roots: The folders that rows name files relative to.
        relative_run: The path of `run` relative to the collection; empty without one.
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
    audio_track: str = ""
    roots: tuple[Root, ...] = ()
    relative_run: str = ""


def to_json(description: Description) -> str:
    """The description as stored."""
    return json.dumps({"format": FORMAT, **asdict(description)}, indent=2) + "\n"


def parse_description(content: bytes, name: str) -> Description:
    """Parse a description.

    Args:
        content: As stored.
        name: Name of the file, for messages.

    Raises:
        UserError: It is damaged, or of a newer format.
    """
    try:
        stored: dict[str, Any] = json.loads(content)
        version = stored.pop("format")
        if version not in (1, 2, 3, FORMAT):
            raise UserError(
                f"{name} has format {version}, this version of Trichord reads {FORMAT}: update "
                "Trichord or index again."
            )
        if version < 3:
            stored = _with_new_names(stored)
        scales = stored.pop("calibration")
        calibration = None if scales is None else Calibration.of(scales)
        # Missing in collections from before audio type tokens.
        tokens = tuple(float(token) for token in stored.pop("audio_types", ()))
        if (weighting := stored.pop("weighting", None)) is not None:
            visual, audio = weighting
            weighting = float(visual), float(audio)
        roots = tuple(Root(**root) for root in stored.pop("roots", ()))
        description = Description(
            **stored,
            audio_types=tokens,
            calibration=calibration,
            weighting=weighting,
            roots=roots,
        )
        _check(description)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"{name} is damaged ({why}): delete the archive and index again."
        ) from error
    return description


def is_table(name: str) -> bool:
    """Whether a table may have this name; others are never opened or deleted."""
    return re.fullmatch(r"moments(-[0-9a-f]+)?\.lance", name) is not None


NEW_NAMES = {
    "sound_tokens": "audio_types", "nearest": "frames", "sight": "vision", "sound": "audio"
}  # fmt: skip
"""Names in formats 1 and 2 to those in format 3; the last two lie within the scales of a calibration."""


def _with_new_names(stored: Any) -> Any:
    """A description of format 1 or 2, or a part of it, with the names of format 3."""
    if not isinstance(stored, dict):
        return stored
    parts = cast("dict[str, Any]", stored)
    if parts.get("run") == "untrained":  # what the experiment clip-clap was called
        parts = parts | {"run": "clip-clap"}
    return {NEW_NAMES.get(name, name): _with_new_names(part) for name, part in parts.items()}


def _check(description: Description) -> None:
    sizes = (description.vision_dim, description.audio_dim)
    if not (0 < description.hop <= description.seconds < math.inf and min(sizes) > 0):
        raise ValueError("impossible sizes")
    if description.cut not in get_args(CutKind) or description.frames not in get_args(FrameChoice):
        raise ValueError("moments of an unknown kind")
    tokens = description.audio_types
    if tokens and (min(tokens), max(tokens), len(set(tokens))) != (0, 1, len(tokens)):
        raise ValueError("impossible audio types")
    texts: list[object] = [description.relative_run, description.audio_track]
    for root in description.roots:
        texts += [root.name, root.path, root.relative]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("impossible roots")
    if not is_table(description.table):
        raise ValueError("impossible name of a table")
    if description.weighting is not None and not all(
        0 <= weight < math.inf for weight in description.weighting
    ):
        raise ValueError("impossible weighting")
