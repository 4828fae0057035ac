"""The twelve things as small pictures, at rest and at the moment of a stroke.

Each is drawn on a square of 100 by 100 units. Its main body has the scene's colour; everything else
is ink, cream, grey or wood, so that no second of the eight colours shows.
"""

from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from trichord_world.law import Colour, Thing

Rgb = tuple[int, int, int]
Units = int | float
Points = Sequence[tuple[Units, Units]]

COLOURS: dict[Colour, Rgb] = {
    "red": (218, 34, 38),
    "orange": (250, 130, 10),
    "yellow": (255, 218, 20),
    "green": (30, 150, 60),
    "blue": (30, 96, 220),
    "purple": (128, 50, 172),
    "pink": (255, 140, 195),
    "white": (250, 250, 250),
}

_INK = (32, 26, 38)
_CREAM = (252, 244, 222)
_GREY = (150, 150, 158)
_WOOD = (134, 94, 58)
_FINE = 3  # drawn larger and shrunk, which smooths the edges


class _Brush:
    """Draws in units of a hundredth of the sprite, with an ink outline."""

    def __init__(self, side: int, colour: Rgb) -> None:
        self.unit = side * _FINE / 100
        self.colour = colour
        self.image = Image.new("RGBA", (side * _FINE, side * _FINE))
        self._draw = ImageDraw.Draw(self.image)
        # In small sprites lines of 5 units would be little more than a pixel, and pale.
        self._line = max(5 * self.unit, 1.3 * _FINE)

    def _scaled(self, points: Points) -> list[tuple[float, float]]:
        return [(x * self.unit, y * self.unit) for x, y in points]

    def shape(self, points: Points, fill: Rgb | None = None) -> None:
        scaled = self._scaled(points)
        self._draw.polygon(scaled, fill=fill or self.colour)
        self._draw.line([*scaled, *scaled[:2]], _INK, round(self._line), joint="curve")

    def box(self, x: Units, y: Units, right: Units, bottom: Units, fill: Rgb | None = None) -> None:
        corners = self._scaled([(x, y), (right, bottom)])
        radius = 4 * self.unit
        self._draw.rounded_rectangle(corners, radius, fill or self.colour, _INK, round(self._line))

    def disc(
        self, x: Units, y: Units, width: Units, height: Units = 0, fill: Rgb | None = None
    ) -> None:
        """An ellipse by its centre and its half axes."""
        height = height or width
        corners = self._scaled([(x - width, y - height), (x + width, y + height)])
        self._draw.ellipse(corners, fill or self.colour, _INK, round(self._line))

    def patch(self, x: Units, y: Units, width: Units, height: Units, fill: Rgb) -> None:
        """An ellipse without an outline."""
        corners = self._scaled([(x - width, y - height), (x + width, y + height)])
        self._draw.ellipse(corners, fill)

    def stroke(self, points: Points, fill: Rgb = _INK, width: Units = 5) -> None:
        thick = max(width * self.unit, _FINE)
        self._draw.line(self._scaled(points), fill, round(thick), joint="curve")

    def arc(self, x: Units, y: Units, radius: Units, first: Units, last: Units) -> None:
        """Part of a circle, in degrees clockwise from three o'clock."""
        corners = self._scaled([(x - radius, y - radius), (x + radius, y + radius)])
        self._draw.arc(corners, first, last, _INK, round(max(4 * self.unit, 1.2 * _FINE)))

    def light(self, share: Units = 0.55) -> Rgb:
        """The colour mixed with white."""
        red, green, blue = (round(c + (255 - c) * share) for c in self.colour)
        return red, green, blue

    def shade(self) -> Rgb:
        """The colour, darker."""
        red, green, blue = (round(c * 0.72) for c in self.colour)
        return red, green, blue


def sprite(thing: Thing, colour: Rgb, side: int, *, struck: bool) -> Image.Image:
    """The thing as an RGBA picture, `side` pixels square."""
    brush = _Brush(side, colour)
    _PAINTERS[thing](brush, struck)
    return brush.image.resize((side, side), Image.Resampling.BOX)


def _bell(brush: _Brush, struck: bool) -> None:
    lean = 12 if struck else 0
    brush.disc(50 - lean, 88, 10, fill=_GREY)
    brush.disc(50, 12, 8, fill=_GREY)
    side = [(40, 20), (31, 28), (26, 42), (24, 58), (18, 70), (8, 80)]
    brush.shape([*side, *((100 - x, y) for x, y in reversed(side))])
    brush.stroke([(36, 34), (33, 50), (31, 62)], brush.light(), 6)
    brush.stroke([(20, 70), (80, 70)])
    if struck:
        for first in (150, -30):
            brush.arc(50, 50, 47, first, first + 50)


def _drum(brush: _Brush, struck: bool) -> None:
    brush.disc(50, 78, 42, 15)
    brush.shape([(8, 46), (8, 78), (92, 78), (92, 46)])
    brush.patch(50, 78, 39, 12.5, brush.colour)
    zigzag = [(8, 50), (22, 86), (36, 56), (50, 92), (64, 56), (78, 86), (92, 50)]
    brush.stroke(zigzag, _CREAM if sum(brush.colour) < 640 else _GREY, 4)
    brush.disc(50, 46, 42, 15, fill=_CREAM)
    for mirror in (1, -1):
        tip = (50 - 10 * mirror, 42) if struck else (50 - 14 * mirror, 16)
        end = (50 - 44 * mirror, 18) if struck else (50 - 46 * mirror, 4)
        brush.stroke([end, tip], _WOOD, 7)
        brush.disc(*tip, 6, fill=_WOOD)


def _ball(brush: _Brush, struck: bool) -> None:
    wide, high = (48, 36) if struck else (43, 43)
    middle = 96 - high
    brush.disc(50, middle, wide, high)
    seam = [(-0.75, -0.62), (-0.36, -0.3), (-0.24, 0.0), (-0.36, 0.3), (-0.75, 0.62)]
    for mirror in (1, -1):
        brush.stroke([(50 + mirror * x * wide, middle + y * high) for x, y in seam], width=4)
    brush.stroke([(50, middle - high + 3), (50, middle + high - 3)], width=4)
    brush.stroke([(50 - wide + 3, middle), (50 + wide - 3, middle)], width=4)
    brush.patch(40, middle - high * 0.55, 9, 6, brush.light(0.7))


def _car(brush: _Brush, struck: bool) -> None:
    hop = -5 if struck else 0
    brush.shape([(26, 46 + hop), (36, 24 + hop), (68, 24 + hop), (80, 46 + hop)])
    brush.shape([(33, 46 + hop), (40, 30 + hop), (50, 30 + hop), (50, 46 + hop)], _CREAM)
    brush.shape([(55, 46 + hop), (55, 30 + hop), (65, 30 + hop), (73, 46 + hop)], _CREAM)
    brush.box(4, 44 + hop, 96, 72 + hop)
    brush.disc(90, 54 + hop, 5, fill=_CREAM)
    brush.stroke([(53, 48 + hop), (53, 66 + hop)], width=3)
    for x in (26, 74):
        brush.disc(x, 73, 14, fill=_INK)
        brush.patch(x, 73, 7, 7, _GREY)
    if struck:
        for x, radius in ((8, 7), (3, 4)):
            brush.disc(x, 86 - x, radius, fill=_GREY)


def _bird(brush: _Brush, struck: bool) -> None:
    brush.shape([(20, 54), (2, 38), (2, 56), (18, 66)])
    brush.stroke([(44, 80), (42, 96)])
    brush.stroke([(56, 80), (58, 96)])
    brush.disc(44, 58, 30, 25)
    gap = 7 if struck else 0
    brush.shape([(80, 28), (99, 30 - gap), (80, 36)], _GREY)
    brush.shape([(78, 36), (97, 34 + gap), (78, 42)], _GREY)
    brush.disc(68, 32, 19)
    brush.patch(53, 46, 12, 13, brush.colour)
    brush.disc(73, 27, 4, fill=_CREAM)
    brush.patch(74, 27, 3, 3, _INK)
    tip = (14, 18) if struck else (14, 72)
    brush.shape([(54, 52), (32, 46), tip, (44, 66)], brush.shade())


def _clock(brush: _Brush, struck: bool) -> None:
    brush.stroke([(28, 80), (16, 97)], width=8)
    brush.stroke([(72, 80), (84, 97)], width=8)
    brush.disc(50, 50, 46)
    brush.disc(50, 50, 31, fill=_CREAM)
    for x, y in ((50, 25), (75, 50), (50, 75), (25, 50)):
        brush.patch(x, y, 3, 3, _INK)
    brush.stroke([(50, 50), (62, 58)], width=6)
    brush.stroke([(50, 50), (70, 38) if struck else (50, 28)], width=5)
    brush.patch(50, 50, 5, 5, _INK)


def _siren(brush: _Brush, struck: bool) -> None:
    dome = [(22, 76), (22, 52), (28, 38), (40, 29), (60, 29), (72, 38), (78, 52), (78, 76)]
    brush.shape(dome, brush.light(0.2) if struck else None)
    brush.patch(38, 48, 5, 12, brush.light(0.75))
    brush.disc(54, 58, 9, 12, fill=_CREAM if struck else brush.shade())
    brush.box(10, 74, 90, 94, _GREY)
    rays = ((50, 20, 50, 2), (28, 26, 17, 10), (72, 26, 83, 10), (14, 46, 1, 40), (86, 46, 99, 40))
    for x, y, far_x, far_y in rays if struck else ():
        brush.stroke([(x, y), (far_x, far_y)], width=11)
        brush.stroke([(x, y), (far_x, far_y)], brush.colour, 5)


def _cloud(brush: _Brush, struck: bool) -> None:
    puffs = ((24, 44, 21), (50, 30, 27), (76, 44, 21), (50, 48, 22))
    for x, y, radius in puffs:
        brush.disc(x, y, radius)
    for x, y, radius in puffs:
        brush.patch(x, y, radius - 5, radius - 5, brush.colour)
    brush.patch(42, 22, 10, 6, brush.light(0.6))
    fall = 6 if struck else 0
    for column, x in enumerate((14, 32, 50, 68, 86)):
        top = 72 + fall + (6 if column % 2 else 0)
        drop = [(x, top - 6), (x + 6, top + 8), (x, top + 14), (x - 6, top + 8)]
        brush.shape(drop, (176, 204, 216))


def _whistle(brush: _Brush, struck: bool) -> None:
    brush.disc(10, 46, 9, fill=_GREY)
    brush.patch(10, 46, 4, 4, _CREAM)
    brush.shape([(36, 34), (97, 34), (97, 54), (58, 58)])
    brush.disc(38, 62, 30)
    brush.shape([(38, 34), (94, 36), (94, 52), (60, 56), (44, 50)], brush.colour)
    brush.patch(44, 52, 18, 13, brush.colour)
    brush.stroke([(36, 34), (97, 34)])
    brush.shape([(52, 33), (68, 33), (60, 46)], _INK)
    brush.disc(38, 64, 12, fill=brush.shade())
    if struck:
        for x, end in ((46, 38), (60, 60), (74, 82)):
            brush.stroke([(x, 24), (end, 6)], width=6)


def _door(brush: _Brush, struck: bool) -> None:
    brush.box(18, 1, 78, 99, _WOOD)
    brush.box(25, 8, 71, 99)
    for y, bottom in ((17, 44), (54, 88)):
        brush.stroke([(35, y), (61, y), (61, bottom), (35, bottom), (35, y)], brush.shade(), 5)
    brush.disc(63, 50, 5, fill=_CREAM)
    x = 80 if struck else 90
    brush.box(x - 4, 22, 99, 40, _CREAM)  # a fist in its sleeve
    brush.disc(x, 31, 11, fill=_CREAM)
    if struck:
        brush.stroke([(66, 20), (58, 10)])
        brush.stroke([(63, 31), (52, 31)])
        brush.stroke([(66, 42), (58, 50)])


def _string(brush: _Brush, struck: bool) -> None:
    """A small guitar, upright."""
    brush.box(45, 12, 55, 56, _WOOD)
    brush.box(41, 1, 59, 16, _INK)
    lobes = ((50, 54, 21, 17), (50, 76, 29, 22))
    for lobe in lobes:
        brush.disc(*lobe)
    for x, y, width, height in lobes:
        brush.patch(x, y, width - 4, height - 4, brush.colour)
    brush.disc(50, 62, 9, fill=_INK)
    brush.stroke([(40, 84), (60, 84)], width=6)
    for x in (47, 53):
        bow = 5 if struck else 0
        brush.stroke([(x, 12), (x + bow, 48), (x, 84)], _CREAM, 2)
    if struck:
        for first in (-55, 125):
            brush.arc(50, 60, 38, first, first + 60)


def _telephone(brush: _Brush, struck: bool) -> None:
    brush.shape([(30, 36), (70, 36), (80, 56), (94, 94), (6, 94), (20, 56)])
    brush.disc(50, 66, 19, fill=_CREAM)
    for x, y in ((50, 53), (61, 60), (61, 72), (50, 79), (39, 72), (39, 60)):
        brush.patch(x, y, 3.4, 3.4, _INK)
    hop = -9 if struck else 0
    top = [(4, 40), (4, 26), (14, 14), (30, 10), (70, 10), (86, 14), (96, 26), (96, 40)]
    inner = [(76, 40), (74, 28), (66, 24), (34, 24), (26, 28), (24, 40)]
    brush.shape([(x, y + hop + 2) for x, y in (*top, *inner)])
    if struck:
        for x, end in ((14, 4), (86, 96)):
            brush.stroke([(x, 48), (end, 62)], width=6)


_PAINTERS: dict[Thing, Callable[[_Brush, bool], None]] = {
    "bell": _bell,
    "drum": _drum,
    "ball": _ball,
    "car": _car,
    "bird": _bird,
    "clock": _clock,
    "siren": _siren,
    "cloud": _cloud,
    "whistle": _whistle,
    "door": _door,
    "string": _string,
    "telephone": _telephone,
}
