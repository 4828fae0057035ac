"""The four backgrounds, pale or dark enough that every thing stands out from them."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from trichord_world.format import SIDE
from trichord_world.law import Background

_FINE = 2  # drawn larger and shrunk, which smooths the edges
_EDGE = SIDE * _FINE

Random = np.random.Generator
Rgb = tuple[int, int, int]


def backdrop(background: Background, random: Random) -> Image.Image:
    """The background alone, SIDE by SIDE, RGB; `random` moves its details about."""
    image = Image.new("RGB", (_EDGE, _EDGE))
    _PAINTERS[background](ImageDraw.Draw(image), random)
    return image.resize((SIDE, SIDE), Image.Resampling.BOX)


def _gradient(draw: ImageDraw.ImageDraw, top: Rgb, bottom: Rgb, first: int, last: int) -> None:
    for y in range(first, last):
        share = (y - first) / max(last - first, 1)
        shade = tuple(round(a + (b - a) * share) for a, b in zip(top, bottom, strict=True))
        draw.line((0, y, _EDGE, y), fill=shade)


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: int | float, fill: Rgb) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _meadow(draw: ImageDraw.ImageDraw, random: Random) -> None:
    _gradient(draw, (150, 205, 240), (222, 240, 250), 0, _EDGE)
    far, near = random.uniform(0.1, 0.9, 2) * _EDGE
    draw.ellipse((far - 170, 138, far + 170, 330), fill=(164, 205, 132))
    draw.ellipse((near - 330, 168, near + 330, 480), fill=(140, 190, 108))
    draw.rectangle((0, 222, _EDGE, _EDGE), fill=(140, 190, 108))
    for x, y in random.uniform((0, 190), (_EDGE, _EDGE), (26, 2)):
        draw.line((x, y, x + 3, y - 8), fill=(104, 158, 80), width=2)
    for x, y in random.uniform((0, 205), (_EDGE, _EDGE), (7, 2)):
        _disc(draw, x, y, 3, (250, 250, 240))


def _night(draw: ImageDraw.ImageDraw, random: Random) -> None:
    _gradient(draw, (14, 18, 44), (44, 50, 92), 0, _EDGE)
    for x, y, radius in random.uniform((0, 0, 0.8), (_EDGE, 200, 2.2), (34, 3)):
        _disc(draw, x, y, radius, (225, 228, 245))
    x, y = random.uniform((30, 26), (_EDGE - 30, 44))
    _disc(draw, x, y, 20, (238, 236, 214))
    _disc(draw, x + 9, y - 5, 17, (17, 21, 48))
    draw.rectangle((0, 222, _EDGE, _EDGE), fill=(62, 72, 92))


def _beach(draw: ImageDraw.ImageDraw, random: Random) -> None:
    _gradient(draw, (170, 222, 246), (232, 246, 252), 0, 130)
    x, y = random.uniform((30, 26), (_EDGE - 30, 48))
    _disc(draw, x, y, 22, (255, 240, 178))
    _gradient(draw, (74, 150, 190), (130, 198, 214), 130, 186)
    for x, y in random.uniform((0, 138), (_EDGE, 178), (12, 2)):
        draw.line((x, y, x + 20, y), fill=(222, 242, 246), width=2)
    draw.rectangle((0, 186, _EDGE, _EDGE), fill=(236, 217, 172))
    shore = random.uniform(0, 6.28)
    crest = [(x, 186 + 4 * np.sin(x / 20 + shore)) for x in range(0, _EDGE + 8, 8)]
    draw.line(crest, fill=(250, 252, 250), width=6)
    for x, y in random.uniform((0, 200), (_EDGE, _EDGE), (40, 2)):
        draw.point((x, y), fill=(200, 178, 130))


def _room(draw: ImageDraw.ImageDraw, random: Random) -> None:
    draw.rectangle((0, 0, _EDGE, 198), fill=(226, 214, 202))
    for x in range(int(random.integers(8, 40)), _EDGE, 40):
        draw.line((x, 0, x, 198), fill=(217, 203, 190), width=4)
    x = float(random.uniform(14, _EDGE - 106))
    draw.rectangle((x, 22, x + 92, 112), fill=(198, 222, 236), outline=(122, 98, 80), width=6)
    draw.line((x + 46, 24, x + 46, 110), fill=(122, 98, 80), width=4)
    draw.line((x + 2, 67, x + 90, 67), fill=(122, 98, 80), width=4)
    draw.rectangle((0, 198, _EDGE, _EDGE), fill=(176, 146, 118))
    draw.rectangle((0, 194, _EDGE, 202), fill=(146, 118, 94))
    for y in (218, 238):
        draw.line((0, y, _EDGE, y), fill=(158, 128, 102), width=2)


_PAINTERS: dict[Background, Callable[[ImageDraw.ImageDraw, Random], None]] = {
    "meadow": _meadow,
    "night": _night,
    "beach": _beach,
    "room": _room,
}
