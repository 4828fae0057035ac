"""The description of a media file, and whether it can be used."""

from dataclasses import dataclass
from typing import Literal, get_args

Status = Literal[
    "ok",
    "no_audio",
    "silent",
    "no_video",
    "cut_off",
    "corrupt",
    "too_big",
    "timeout",
    "unsupported",
]
STATUSES: tuple[Status, ...] = get_args(Status)
USABLE: tuple[Status, ...] = ("ok", "no_audio", "silent", "no_video", "cut_off")
"""Statuses of a file with usable video or audio (`silent` may have neither).

A file that is `cut_off` is used up to where it ends, and may lack either.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoStream:
    """A video track; its size is as displayed: upright, with the pixel aspect applied.

    `rotation` is the counter-clockwise rotation of the stored picture for display, in degrees;
    `frame_rate` is the average; `variable`: the frames are not evenly spaced; `pixel_aspect` is the
    width of a stored pixel over its height.
    """

    codec: str
    width: int
    height: int
    rotation: int
    frame_rate: float | None
    variable: bool
    pixel_aspect: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioStream:
    """An audio track; `decodable` is False if no decoder supports its codec (such as APAC)."""

    codec: str
    channels: int
    sample_rate: int
    decodable: bool
    chosen: bool
    """Whether decoding reads this track."""
    language: str
    """Its code as the file has it, such as `eng`; empty if it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The description of one file.

    The status is of the whole file: `no_audio` and `silent` (every sample rounds to zero at 16 bits)
    have priority over `no_video`, and `cut_off` over all of them, so check `video` too. A usable file
    may have a reason, which is a note. `duration` is in seconds, 0 for an image,
    None if the file cannot be opened; `size` is in bytes.
    """

    path: str
    status: Status
    reason: str = ""
    container: str = ""
    size: int = 0
    duration: float | None = None
    video: VideoStream | None = None
    audio: tuple[AudioStream, ...] = ()

    @property
    def label(self) -> str:
        """The status, with the reason if there is one: `corrupt: empty file`."""
        return f"{self.status}: {self.reason}" if self.reason else self.status
