"""The picture of a scene: its thing, moving before its background and striking as it goes."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from trichord_world.difficulty import DEFAULT, Difficulty
from trichord_world.format import FRAMES, FRAMES_PER_SECOND, SIDE
from trichord_world.law import STROKES_PER_SECOND, Motion, Scene, Size
from trichord_world.scenery import backdrop
from trichord_world.sprites import COLOURS, sprite

SIZES: dict[Size, float] = {"small": 0.22, "medium": 0.40, "large": 0.66}
"""Side of the thing's square, as a share of the picture's."""

_GHOSTS = ((0.15, 0.22), (0.10, 0.34), (0.05, 0.46))
"""Seconds back and opacity of the copies that trail behind: a single frame must show motion, and a
fast thing leaves its copies farther behind."""
_REACTION = 1.5 / FRAMES_PER_SECOND  # seconds that a thing shows its stroke: two frames
_ROPE = (110, 96, 84)
_PIVOT = -0.12 * SIDE  # above the upper edge


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a thing is: its centre in pixels from the upper left, its turn in degrees.

    Turns go anticlockwise.
    """

    x: float
    y: float
    turn: float = 0.0


@dataclass(frozen=True, slots=True)
class _Room:
    """Where a thing may go: rest position and travel to each side, in pixels; -1 mirrors."""

    x: float
    y: float
    travel: float
    mirror: int


def poses(scene: Scene, difficulty: Difficulty, seconds: NDArray[np.float64]) -> list[Pose]:
    """The thing's pose at each of these times; negative ones continue the motion backwards."""
    random = np.random.default_rng((scene.sight_seed, 0))
    side = round(SIZES[scene.size] * difficulty.thing_scale * SIDE)
    # Travel is what keeps the thing within the picture, yet no more than a third of it, so that
    # travel tells little of size.
    travel = min(SIDE / 3, (SIDE - side) / 2 - 2)
    jitter = random.uniform(-1, 1, 2) * min(6, SIDE / 2 - side / 2 - travel)
    room = _Room(SIDE / 2 + jitter[0], SIDE / 2 + jitter[1], travel, int(random.choice((-1, 1))))
    phases = seconds * STROKES_PER_SECOND[scene.speed]
    period = 1 / STROKES_PER_SECOND[scene.speed]
    return [_MOTIONS[scene.motion](float(phase), period, room) for phase in phases]


def _bounce(phase: float, _period: float, room: _Room) -> Pose:
    """Free fall and back: on the floor at each stroke."""
    flight = (phase + 0.5) % 1
    return Pose(room.x, room.y + room.travel * (1 - 8 * flight * (1 - flight)))


def _swing(phase: float, _period: float, room: _Room) -> Pose:
    """A pendulum on a rope from above: a stroke at each extreme."""
    rope = room.y - _PIVOT
    widest = np.arcsin(min(room.travel, 0.6 * rope) / rope)
    angle = room.mirror * widest * np.sin(np.pi * phase)
    x, y = rope * np.sin(angle), rope * np.cos(angle)
    return Pose(room.x + x, _PIVOT + y, np.degrees(angle))


def _circle(phase: float, _period: float, room: _Room) -> Pose:
    """Round and round, upright: a stroke at the top."""
    angle = 2 * np.pi * phase
    x, y = np.sin(angle) * room.mirror, np.cos(angle)
    return Pose(room.x + room.travel * x, room.y + room.travel * y)


def _slide(phase: float, _period: float, room: _Room) -> Pose:
    """From side to side on the ground: a stroke at each end."""
    x = room.mirror * np.sin(np.pi * phase)
    return Pose(room.x + room.travel * x, room.y + room.travel)


def _shake(phase: float, period: float, room: _Room) -> Pose:
    """At rest, but for a rattle that each stroke sets off and that dies away."""
    since = ((phase - 0.5) % 1) * period
    rattle = np.exp(-since / 0.22) * np.cos(2 * np.pi * FRAMES_PER_SECOND / 2 * since)
    if phase < 0.5:
        rattle = 0.0
    return Pose(room.x + room.mirror * 11 * rattle, room.y, room.mirror * 14 * rattle)


_MOTIONS: dict[Motion, Callable[[float, float, _Room], Pose]] = {
    "bounce": _bounce,
    "swing": _swing,
    "circle": _circle,
    "slide": _slide,
    "shake": _shake,
}


def picture(scene: Scene, difficulty: Difficulty = DEFAULT) -> NDArray[np.uint8]:
    """The frames of a scene, RGB: (frame, SIDE, SIDE, 3).

    A function of what is seen, of `sight_seed` and of the difficulty's `thing_scale` and
    `picture_noise`: nothing of the sound can leak into it.

    Raises:
        ValueError: the scene is dark, it has no picture.
    """
    if scene.dark:
        raise ValueError(f"{scene.id} is dark: it has no picture.")
    frames = np.empty((FRAMES, SIDE, SIDE, 3), np.uint8)
    random = np.random.default_rng((scene.sight_seed, 3))
    for frame, drawn in zip(frames, _frames(scene, difficulty), strict=True):
        frame[:] = _noisy(np.asarray(drawn), difficulty.picture_noise, random)
    return frames


def _frames(scene: Scene, difficulty: Difficulty) -> Iterator[Image.Image]:
    background = backdrop(scene.background, np.random.default_rng((scene.sight_seed, 1)))
    rest, struck = _sprites(scene, difficulty)
    faint = [_Stamp(_faded(rest, opacity)) for _, opacity in _GHOSTS]
    still, hit = _Stamp(rest), _Stamp(struck)
    times = np.arange(FRAMES) / FRAMES_PER_SECOND
    trail = [poses(scene, difficulty, times - back) for back, _ in _GHOSTS]
    now = poses(scene, difficulty, times)
    for frame in range(FRAMES):
        canvas = background.copy()
        if scene.motion == "swing":
            _rope(canvas, now[frame], scene, difficulty)
        for ghost, past in zip(faint, trail, strict=True):
            ghost.put(canvas, past[frame])
        (hit if _strikes(scene, times[frame]) else still).put(canvas, now[frame])
        yield canvas


def _strikes(scene: Scene, time: float) -> bool:
    """Whether a stroke fell on this frame or the one before."""
    rate = STROKES_PER_SECOND[scene.speed]
    # Rounded, because a stroke may fall an ulp after its frame.
    phase = round(time * rate - 0.5, 9)
    return bool(phase >= 0 and phase % 1 / rate < _REACTION)


def _sprites(scene: Scene, difficulty: Difficulty) -> tuple[Image.Image, Image.Image]:
    """The thing at rest and struck, its colour a little off and mirrored or not, by seed."""
    random = np.random.default_rng((scene.sight_seed, 2))
    shift = random.integers(-10, 11, 3)
    red, green, blue = (int(c) for c in np.clip(np.add(COLOURS[scene.colour], shift), 0, 255))
    side = round(SIZES[scene.size] * difficulty.thing_scale * SIDE)
    drawn = [sprite(scene.thing, (red, green, blue), side, struck=pose) for pose in (False, True)]
    if random.integers(2):
        drawn = [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in drawn]
    return drawn[0], drawn[1]


def _faded(thing: Image.Image, opacity: float) -> Image.Image:
    faint = thing.copy()
    faint.putalpha(thing.getchannel("A").point([round(a * opacity) for a in range(256)]))
    return faint


class _Stamp:
    """A thing's image, put on canvases in one pose after another."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        # Motion repeats, and turning an image takes longer than all else that is drawn of a frame.
        self._turned: dict[tuple[float, float], Image.Image] = {}

    def put(self, canvas: Image.Image, pose: Pose) -> None:
        """Put it where the pose says."""
        thing = self._image if abs(pose.turn) <= 0.5 else self._at(pose.turn)
        corner = round(pose.x - thing.width / 2), round(pose.y - thing.height / 2)
        canvas.paste(thing, corner, thing)

    def _at(self, turn: float) -> Image.Image:
        angle = math.radians(turn % 360)
        # As Pillow rounds them: a turn that differs by less is the same to the last bit.
        known = round(math.cos(angle), 15), round(math.sin(angle), 15)
        if known not in self._turned:
            self._turned[known] = self._image.rotate(turn, Image.Resampling.BILINEAR, expand=True)
        return self._turned[known]


def _rope(canvas: Image.Image, pose: Pose, scene: Scene, difficulty: Difficulty) -> None:
    """What the thing swings on, so that even one frame tells swinging from sliding."""
    angle = np.radians(pose.turn)
    half = 0.4 * SIZES[scene.size] * difficulty.thing_scale * SIDE
    top = pose.x - half * np.sin(angle), pose.y - half * np.cos(angle)
    reach = (pose.y - _PIVOT) * np.tan(angle)
    ImageDraw.Draw(canvas).line((pose.x - reach, _PIVOT, *top), _ROPE, width=2)


def _noisy(
    frame: NDArray[np.uint8], level: float, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Film grain: the same noise in all three colours of a pixel, new in each frame."""
    if level == 0:
        return frame
    grain = random.standard_normal(frame.shape[:2], dtype=np.float32) * np.float32(level)
    steps = np.rint(grain).astype(np.int16)
    grainy = frame.astype(np.int16)
    # A colour at a time: numpy is slow where the last axis, of three, is the one that is repeated.
    for colour in range(3):
        grainy[..., colour] += steps
    return np.clip(grainy, 0, 255, out=grainy).astype(np.uint8)
