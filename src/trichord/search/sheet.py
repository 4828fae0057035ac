"""Contact sheets: the hits of a search, or captioned moments, as one picture."""

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from trichord.media.decoded import Decoded
from trichord.media.decoder import Decoder
from trichord.media.plan import DecodePlan, FramePlan
from trichord.search.reading import decode_moments
from trichord.search.waveform import RATE, draw_waveform
from trichord.types import Hit, Moment, UserError
from trichord.types.arrays import UInt8
from trichord.types.files import exists, write_atomically

COLUMNS = 4
TILE = (320, 334)
PICTURE = (320, 180)
STRIP = 40
MARGIN = 24
HEADER = 76
INSET = 14
MOST = 24
"""Moments on a sheet of captions."""
CAPTION_TILE = (320, 364)
CAPTION_HEADER = 56
LINE = 20
LINES = 4
"""Lines of a caption; a reference has half as many."""

PAPER, CARD, STAGE = "#f2f0ea", "#ffffff", "#22252b"
INK, FADED, GROOVE = "#1d1f23", "#6d7078", "#e6e4dd"
VISUAL, AUDIO = "#2f6fd0", "#e08a1e"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write_sheet(path: Path, hits: Sequence[Hit], decoder: Decoder, title: str, note: str) -> None:
    """Write a contact sheet of hits as PNG.

    Raises:
        UserError: The name does not end in .png, or the place cannot be written to.
    """
    _write_png(path, lambda: draw_sheet(hits, decoder, title, note))


def write_caption_sheet(
    path: Path, tiles: Sequence["CaptionTile"], decoder: Decoder, title: str
) -> None:
    """Write a contact sheet of the first `MOST` moments as PNG.

    Raises:
        UserError: The name does not end in .png, or the place cannot be written to.
    """
    _write_png(path, lambda: draw_caption_sheet(tiles[:MOST], decoder, title))


def _write_png(path: Path, draw: Callable[[], Image.Image]) -> None:
    if path.suffix.lower() != ".png":
        raise UserError(f"{path}: contact sheets are PNG files: give a name that ends in .png.")
    content = io.BytesIO()
    draw().save(content, "PNG")
    write_atomically(path, content.getvalue())


def draw_sheet(hits: Sequence[Hit], decoder: Decoder, title: str, note: str) -> Image.Image:
    """Draw hits in their order, one tile each.

    A tile shows the middle frame of the moment, its waveform if it has audio, and the visual (blue) and
    audio (orange) score, in one scale for the sheet.

    Args:
        hits: Best first.
        decoder: Reads the files again; the tile of a missing file has no picture.
        title: The query.
        note: The second line: collection, weights.
    """
    columns = max(2, min(COLUMNS, len(hits)))
    sheet, pen, places = _empty_sheet(len(hits), columns, TILE, HEADER)
    room = sheet.width - 2 * MARGIN
    pen.text((MARGIN, 20), fitted(" ".join(title.split()), font(26), room), INK, font(26))
    pen.text((MARGIN, 58), fitted(note, font(14), room), FADED, font(14))
    most = max(
        (abs(part) for hit in hits for part in (hit.visual or 0.0, hit.audio or 0.0)), default=1
    )
    moments = _middles([hit.moment for hit in hits], decoder, (RATE,))
    for number, (hit, decoded, place) in enumerate(zip(hits, moments, places, strict=True)):
        tile = _Tile(hit, decoded, number + 1, most or 1.0).draw()
        sheet.paste(tile, place, _rounded(TILE, 10))
    return sheet


def _empty_sheet(
    tiles: int, columns: int, tile: tuple[int, int], header: int
) -> tuple[Image.Image, ImageDraw.ImageDraw, list[tuple[int, int]]]:
    """A sheet with room for tiles, a pen, and the place of each tile."""
    rows = -(-tiles // columns)
    step = tile[0] + MARGIN, tile[1] + MARGIN
    size = MARGIN + columns * step[0], header + MARGIN + rows * step[1]
    sheet = Image.new("RGB", size, PAPER)
    places = [
        (MARGIN + i % columns * step[0], header + MARGIN + i // columns * step[1])
        for i in range(tiles)
    ]
    return sheet, ImageDraw.Draw(sheet), places


def _middles(
    moments: Sequence[Moment], decoder: Decoder, rates: tuple[int, ...] = ()
) -> Iterator[Decoded]:
    """The middle frame of moments, and their audio at these rates."""
    frames = FramePlan(rule="uniform", count=1, short_side=PICTURE[1])
    return decode_moments(moments, decoder, DecodePlan(frames=frames, rates=rates))


@dataclass(frozen=True, slots=True)
class _Tile:
    """One hit as a card. `most`: the score that fills a bar."""

    hit: Hit
    decoded: Decoded
    rank: int
    most: float

    def draw(self) -> Image.Image:
        card = Image.new("RGB", TILE, CARD)
        pen = ImageDraw.Draw(card)
        pen.rectangle((0, 0, PICTURE[0], PICTURE[1] + STRIP - 1), STAGE)
        self._show(card, pen)
        width = 16 + round(font(16).getlength(str(self.rank)))
        pen.rounded_rectangle((8, 8, 8 + width, 34), 6, STAGE)
        pen.text((8 + width / 2, 21), str(self.rank), CARD, font(16), anchor="mm")
        self._caption(pen)
        return card

    def _show(self, card: Image.Image, pen: ImageDraw.ImageDraw) -> None:
        """The picture with the waveform below; without a picture the waveform fills both places."""
        wave = self.decoded.audio.get(RATE)
        foot = PICTURE[1] + STRIP
        if self.decoded.frames is not None:
            top_height = PICTURE[1] if wave is not None else foot
            card.paste(*_placed(self.decoded.frames[0], (PICTURE[0], top_height)))
            if wave is not None:
                box = (INSET, PICTURE[1], PICTURE[0] - INSET, foot)
                draw_waveform(pen, wave, box, AUDIO)
        elif wave is not None:
            draw_waveform(pen, wave, (INSET, 40, PICTURE[0] - INSET, foot - 20), AUDIO)
        else:
            middle = (PICTURE[0] // 2, foot // 2)
            there = exists(self.hit.moment.file)
            reason = self.decoded.label if there else "the file is missing"
            text = fitted(reason, font(14), PICTURE[0] - 2 * INSET)
            pen.text(middle, text, GROOVE, font(14), anchor="mm")

    def _caption(self, pen: ImageDraw.ImageDraw) -> None:
        top = PICTURE[1] + STRIP + 12
        moment = self.hit.moment
        right = TILE[0] - INSET
        score = f"{self.hit.score:.2f}"
        pen.text((right, top), score, INK, font(20), anchor="ra")
        room = right - INSET - font(20).getlength(score) - 12
        pen.text((INSET, top), fitted(Path(moment.file).name, font(16), room), INK, font(16))
        length = moment.end > moment.start
        when = f"{clock(moment.start)} - {clock(moment.end)}" if length else "picture"
        pen.text((INSET, top + 22), when, FADED, font(14))
        self._bar(pen, top + 58, "visual", self.hit.visual, VISUAL)
        self._bar(pen, top + 80, "audio", self.hit.audio, AUDIO)

    def _bar(
        self, pen: ImageDraw.ImageDraw, y: int, name: str, part: float | None, colour: str
    ) -> None:
        left, right = INSET + 52, TILE[0] - INSET - 52
        pen.text((INSET, y), name, FADED, font(13), anchor="lm")
        pen.rounded_rectangle((left, y - 4, right, y + 4), 4, GROOVE)
        length = round((right - left) * max(0.0, part or 0.0) / self.most)
        if length > 8:
            pen.rounded_rectangle((left, y - 4, left + length, y + 4), 4, colour)
        value = "none" if part is None else f"{part:+.2f}"
        pen.text((TILE[0] - INSET, y), value, FADED, font(13), anchor="rm")


def _placed(
    frame: UInt8[np.ndarray, "height width 3"], room: tuple[int, int]
) -> tuple[Image.Image, tuple[int, int]]:
    """A frame scaled to fit, and its place."""
    picture = Image.fromarray(frame)
    scale = min(room[0] / picture.width, room[1] / picture.height)
    # Rounded up: a missing pixel would show as a dark line.
    size = math.ceil(picture.width * scale - 0.01), math.ceil(picture.height * scale - 0.01)
    place = (room[0] - size[0]) // 2, (room[1] - size[1]) // 2
    return picture.resize(size, Image.Resampling.LANCZOS), place


def _rounded(size: tuple[int, int], radius: int) -> Image.Image:
    """A mask with round corners, drawn at four times the size for smooth edges."""
    large = Image.new("L", (4 * size[0], 4 * size[1]), 0)
    box = (0, 0, 4 * size[0] - 1, 4 * size[1] - 1)
    ImageDraw.Draw(large).rounded_rectangle(box, 4 * radius, 255)
    return large.resize(size, Image.Resampling.BOX)


def font(size: int) -> Font:
    """Pillow's built-in font, so that sheets look the same everywhere."""
    return ImageFont.load_default(size)


def fitted(text: str, face: Font, room: float | int) -> str:
    """A text shortened in the middle to at most `room` pixels."""
    if face.getlength(text) <= room:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shorter = text[: (kept + 1) // 2] + "..." + text[-(kept // 2) :]
        if face.getlength(shorter) <= room:
            return shorter
    return "..."


def clock(seconds: float) -> str:
    """Seconds as a clock shows them: 0:07, 12:30, 1:02:03; with tenths if needed."""
    tenths = round(seconds * 10)
    rest, tenth = divmod(tenths, 10)
    minutes, second = divmod(rest, 60)
    hours, minute = divmod(minutes, 60)
    start = f"{hours}:{minute:02}" if hours else f"{minute}"
    return f"{start}:{second:02}" + (f".{tenth}" if tenth else "")


@dataclass(frozen=True, slots=True)
class CaptionTile:
    """A moment, its caption (None: there is none), and a reference by people, if there is one."""

    moment: Moment
    caption: str | None
    reference: str | None = None


def draw_caption_sheet(tiles: Sequence[CaptionTile], decoder: Decoder, title: str) -> Image.Image:
    """Draw moments in their order, one tile each: the middle frame, the caption, the reference.

    Args:
        tiles: The moments.
        decoder: Reads their files again; the tile of a missing file has no picture.
        title: The first line.
    """
    columns = max(1, min(COLUMNS, len(tiles)))
    sheet, pen, places = _empty_sheet(len(tiles), columns, CAPTION_TILE, CAPTION_HEADER)
    pen.text((MARGIN, 20), fitted(title, font(22), sheet.width - 2 * MARGIN), INK, font(22))
    moments = _middles([tile.moment for tile in tiles], decoder)
    for tile, decoded, place in zip(tiles, moments, places, strict=True):
        sheet.paste(_draw_tile(tile, decoded), place)
    return sheet


def _draw_tile(tile: CaptionTile, decoded: Decoded) -> Image.Image:
    card = Image.new("RGB", CAPTION_TILE, CARD)
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
    pen.text((INSET, top), fitted(name, font(13), CAPTION_TILE[0] - 2 * INSET), FADED, font(13))
    top = _write(pen, tile.caption or "no caption", top + 22, INK, LINES)
    if tile.reference:
        reference = tile.reference.splitlines()[0]
        _write(pen, f"people: {reference}", top + 6, FADED, LINES // 2)
    return card


def _write(pen: ImageDraw.ImageDraw, text: str, top: int, colour: str, lines: int) -> int:
    """Write a text over several lines, the last one truncated. Returns where it ends."""
    face = font(15)
    for line in wrapped(text, face, CAPTION_TILE[0] - 2 * INSET, lines):
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
