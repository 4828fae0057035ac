"""Contact sheets of captions: moments as pictures, with their captions and references."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from trichord.media.decoded import Decoded
from trichord.media.decoder import Decoder
from trichord.media.plan import DecodePlan, FramePlan
from trichord.search.reading import decode_moments
from trichord.search.sheet import (
    CARD,
    COLUMNS,
    FADED,
    GROOVE,
    INK,
    INSET,
    MARGIN,
    PAPER,
    PICTURE,
    STAGE,
    Font,
    clock,
    fitted,
    font,
    write_png,
)
from trichord.types import Moment

MOST = 24
"""Moments on a sheet."""
TILE = (320, 364)
HEADER = 56
LINE = 20
LINES = 4
"""Lines of a caption; a reference has half as many."""


@dataclass(frozen=True, slots=True)
class CaptionTile:
    """A moment, its caption (None: there is none), and a reference by people, if there is one."""

    moment: Moment
    caption: str | None
    reference: str | None = None


def write_caption_sheet(
    path: Path, tiles: Sequence[CaptionTile], decoder: Decoder, title: str
) -> None:
    """Write a contact sheet of the first `MOST` moments as PNG.

    Raises:
        UserError: The name does not end in .png, or the place cannot be written to.
    """
    write_png(path, lambda: draw_caption_sheet(tiles[:MOST], decoder, title))


def draw_caption_sheet(tiles: Sequence[CaptionTile], decoder: Decoder, title: str) -> Image.Image:
    """Draw moments in their order, one tile each: the middle frame, the caption, the reference.

    Args:
        tiles: The moments.
        decoder: Reads their files again; the tile of a missing file has no picture.
        title: The first line.
    """
    columns = max(1, min(COLUMNS, len(tiles)))
    rows = -(-len(tiles) // columns)
    size = MARGIN + columns * (TILE[0] + MARGIN), HEADER + MARGIN + rows * (TILE[1] + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, 20), fitted(title, font(22), size[0] - 2 * MARGIN), INK, font(22))
    plan = DecodePlan(frames=FramePlan(rule="uniform", count=1, short_side=PICTURE[1]))
    moments = decode_moments([tile.moment for tile in tiles], decoder, plan)
    for number, (tile, decoded) in enumerate(zip(tiles, moments, strict=True)):
        place = (number % columns * (TILE[0] + MARGIN), number // columns * (TILE[1] + MARGIN))
        sheet.paste(_draw_tile(tile, decoded), (MARGIN + place[0], HEADER + MARGIN + place[1]))
    return sheet


def _draw_tile(tile: CaptionTile, decoded: Decoded) -> Image.Image:
    card = Image.new("RGB", TILE, CARD)
    pen = ImageDraw.Draw(card)
    pen.rectangle((0, 0, PICTURE[0], PICTURE[1] - 1), STAGE)
    if decoded.frames is not None:
        picture = ImageOps.contain(Image.fromarray(decoded.frames[0]), PICTURE)
        left, top = (PICTURE[0] - picture.width) // 2, (PICTURE[1] - picture.height) // 2
        card.paste(picture, (left, top))
    else:
        middle = (PICTURE[0] // 2, PICTURE[1] // 2)
        pen.text(middle, "no picture", GROOVE, font(14), anchor="mm")
    moment, top = tile.moment, PICTURE[1] + 10
    when = f"{clock(moment.start)} - {clock(moment.end)}" if moment.end > moment.start else ""
    name = f"{Path(moment.file).name}  {when}"
    pen.text((INSET, top), fitted(name, font(13), TILE[0] - 2 * INSET), FADED, font(13))
    top = _write(pen, tile.caption or "no caption", top + 22, INK, LINES)
    if tile.reference:
        reference = tile.reference.splitlines()[0]
        _write(pen, f"people: {reference}", top + 6, FADED, LINES // 2)
    return card


def _write(pen: ImageDraw.ImageDraw, text: str, top: int, colour: str, lines: int) -> int:
    """Write a text over several lines, the last one truncated. Returns where it ends."""
    face = font(15)
    for line in wrapped(text, face, TILE[0] - 2 * INSET, lines):
        pen.text((INSET, top), line, colour, face)
        top += LINE
    return top


def wrapped(text: str, face: Font, room: float | int, lines: int) -> list[str]:
    """A text broken at blanks into lines of at most `room` pixels; the last may be truncated."""
    result = [""]
    words = text.split()
    for i, word in enumerate(words):
        longer = f"{result[-1]} {word}".strip()
        if not result[-1] or face.getlength(longer) <= room:
            result[-1] = longer
        elif len(result) < lines:
            result.append(word)
        else:
            result[-1] = " ".join([result[-1], *words[i:]])
            break
    return [fitted(line, face, room) for line in result]
