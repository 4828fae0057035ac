import numpy as np
import pytest
from PIL import Image, ImageColor

from trichord.search.sheet import (
    AUDIO,
    PICTURE,
    TILE,
    VISUAL,
    clock,
    draw_sheet,
    fitted,
    font,
    write_sheet,
)
from trichord.types import Hit, Moment, UserError


def hit(path, start=0.0, end=2.0, visual=None, audio=None):
    moment = Moment(file=str(path), start=start, end=end)
    return Hit(moment=moment, score=(visual or 0.0) + (audio or 0.0), visual=visual, audio=audio)


def pixels(image, colour, box=None):
    """How many pixels of a picture have exactly this colour."""
    part = np.asarray(image.crop(box) if box else image)
    return int((part == ImageColor.getrgb(colour)).all(-1).sum())


def tile(image, column):
    left = 24 + column * (TILE[0] + 24)
    return image.crop((left, 100, left + TILE[0], 100 + TILE[1]))


def test_a_tile_shows_the_moments_frame_in_its_colours(rendered, decoder):
    sheet = draw_sheet([hit(rendered / "mute.mp4", visual=1.0)], decoder, "green", "note")
    red, green, _ = np.asarray(tile(sheet, 0)).astype(int)[PICTURE[1] // 2].T
    assert ((green - red) > 80).sum() > 50


def test_a_moment_with_sound_has_a_waveform_and_a_mute_one_has_none(rendered, decoder):
    hits = [
        hit(rendered / "red.mp4", visual=1.0, audio=0.0),
        hit(rendered / "mute.mp4", visual=1.0),
    ]
    sheet = draw_sheet(hits, decoder, "title", "note")
    strip = (0, PICTURE[1], TILE[0], PICTURE[1] + 40)
    assert pixels(tile(sheet, 0), AUDIO, strip) > 200
    assert pixels(tile(sheet, 1), AUDIO, strip) == 0


def test_a_sound_alone_fills_the_tile_with_its_waveform(rendered, decoder):
    sheet = draw_sheet([hit(rendered / "half.wav", audio=1.0)], decoder, "tone", "note")
    assert pixels(tile(sheet, 0), AUDIO, (0, 40, TILE[0], PICTURE[1])) > 1000


def test_bars_are_as_long_as_the_contributions_in_one_scale(rendered, decoder):
    hits = [
        hit(rendered / "still.png", end=0.0, visual=4.0),
        hit(rendered / "still.png", end=0.0, visual=1.0),
        hit(rendered / "still.png", end=0.0, visual=-1.0),
    ]
    sheet = draw_sheet(hits, decoder, "title", "note")
    caption = (0, PICTURE[1] + 40, *TILE)
    full, quarter, negative = (pixels(tile(sheet, i), VISUAL, caption) for i in range(3))
    assert quarter / full == pytest.approx(0.25, abs=0.03)
    assert negative == 0


def test_hits_are_laid_out_in_rows_of_four(rendered, decoder):
    hits = [hit(rendered / "still.png", end=0.0, visual=1.0)] * 5
    assert draw_sheet(hits, decoder, "t", "n").size == (24 + 4 * 344, 100 + 2 * (TILE[1] + 24))
    assert draw_sheet([], decoder, "t", "n").size[1] == 100


def test_a_file_that_has_gone_leaves_a_tile_that_says_so(tmp_path, decoder):
    gone = draw_sheet([hit(tmp_path / "gone.mp4", visual=1.0)], decoder, "title", "note")
    assert pixels(tile(gone, 0), "#e6e4dd", (0, 60, TILE[0], 180)) > 20


def test_a_sheet_is_written_as_png(rendered, decoder, tmp_path):
    path = tmp_path / "new" / "sheet.PNG"
    write_sheet(
        path, [hit(rendered / "red.mp4", visual=1.0, audio=2.0)], decoder, "a\nb", "n" * 500
    )
    with Image.open(path) as image:
        assert image.format == "PNG"
    with pytest.raises(UserError, match=r"ends in \.png"):
        write_sheet(tmp_path / "sheet.jpg", [], decoder, "a", "b")


def test_times_are_written_as_clocks_show_them():
    found = [clock(seconds) for seconds in (0.0, 7.0, 750.0, 3723.0, 59.96, 7.5)]
    assert found == ["0:00", "0:07", "12:30", "1:02:03", "1:00", "0:07.5"]


def test_a_long_name_is_cut_in_the_middle_to_its_room():
    face = font(16)
    name = "a_recording_of_a_very_long_afternoon.mp4"
    short = fitted(name, face, 150)
    assert face.getlength(short) <= 150
    assert short.startswith("a_rec")
    assert short.endswith(".mp4")
    assert fitted("short.mp4", face, 150) == "short.mp4"
    assert fitted(name, face, 1) == "..."
