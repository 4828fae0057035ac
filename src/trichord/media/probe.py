"""What a media file holds, and whether it can be used."""

from dataclasses import dataclass
from typing import Literal, get_args

Status = Literal[
    "ok", "no_audio", "silent", "no_video", "corrupt", "too_big", "timeout", "unsupported"
]
STATUSES: tuple[Status, ...] = get_args(Status)
USABLE: tuple[Status, ...] = ("ok", "no_audio", "silent", "no_video")
"""Statuses of a file that gives at least a picture or a sound (`silent` may have neither)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoStream:
    """A picture track, sized as displayed: turned upright, pixel aspect applied.

    `rotation` is by how many degrees the stored picture is turned counter-clockwise for display;
    `frame_rate` is the average; `variable`: the frames are not evenly spaced; `pixel_aspect` is a
    stored pixel's width over its height.
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
    """A sound track; `decodable` is False where no decoder knows its codec (such as APAC)."""

    codec: str
    channels: int
    sample_rate: int
    decodable: bool
    chosen: bool
    """Whether this is the track that decoding reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one file holds.

    The status is the file's: `no_audio` and `silent` (every sample rounds to zero at 16 bits) come
    before `no_video`, so look at `video` too. `duration` is seconds, 0 for a picture, None where
    the file could not be opened; `size` is bytes.
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
        """The status, with the reason where there is one: `corrupt: empty file`."""
        return f"{self.status}: {self.reason}" if self.reason else self.status
