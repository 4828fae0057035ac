import pytest
from PIL import Image

from trichord.search.sheet import CAPTION_HEADER as HEADER
from trichord.search.sheet import CAPTION_TILE as TILE
from trichord.search.sheet import (
    MARGIN,
    CaptionTile,
    draw_caption_sheet,
    font,
    wrapped,
    write_caption_sheet,
)
from trichord.types import Moment, UserError


def tiles(file, caption="a red square", reference=None):
    return CaptionTile(Moment(file=str(file), start=0.0, end=2.0), caption, reference)


def colours(sheet, column, top=0, bottom=TILE[1]):
    left = MARGIN + column * (TILE[0] + MARGIN)
    box = (left, HEADER + MARGIN + top, left + TILE[0], HEADER + MARGIN + bottom)
    return {colour for _, colour in sheet.crop(box).getcolors(1 << 20)}


def test_a_tile_shows_the_moment_and_what_is_said_of_it(rendered, decoder):
    red, still = rendered / "red.mp4", rendered / "still.png"
    sheet = draw_caption_sheet(
        [tiles(red), tiles(still), tiles(rendered / "tone.wav")], decoder, "t"
    )
    assert sheet.width == MARGIN + 3 * (TILE[0] + MARGIN)
    assert any(r > 170 and max(g, b) < 70 for r, g, b in colours(sheet, 0, 0, 180))
    assert len(colours(sheet, 2, 0, 60)) == 1  # no picture: a plain stage
    said = draw_caption_sheet([tiles(red, reference="people say\nmore")], decoder, "t")
    assert colours(said, 0, 180) != colours(draw_caption_sheet([tiles(red)], decoder, "t"), 0, 180)


def test_texts_are_broken_at_blanks_and_the_last_line_is_cut():
    face = font(15)
    text = "one two three four five six seven eight nine ten eleven twelve"
    lines = wrapped(text, face, 90, 3)
    assert len(lines) == 3
    assert all(face.getlength(line) <= 90 for line in lines)
    assert lines[0] == "one two three"[: len(lines[0])]
    assert "..." in lines[-1]
    assert wrapped(text, face, 10_000, 3) == [text]
    assert wrapped("", face, 90, 3) == [""]
    assert len(wrapped("x" * 500, face, 90, 2)) == 1


def test_a_sheet_is_a_png_of_the_first_moments(rendered, decoder, tmp_path):
    one = tiles(rendered / "red.mp4")
    write_caption_sheet(tmp_path / "a.png", [one] * 30, decoder, "t")
    with Image.open(tmp_path / "a.png") as sheet:
        assert sheet.height == HEADER + MARGIN + 6 * (TILE[1] + MARGIN)
    with pytest.raises(UserError, match=r"ends in \.png"):
        write_caption_sheet(tmp_path / "a.jpg", [one], decoder, "t")
