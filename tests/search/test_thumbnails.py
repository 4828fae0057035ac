import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import trichord.service
from trichord.media import Decoded
from trichord.search.thumbnails import thumbnail_of
from trichord.search.waveform import COLOUR, SIZE

COLOURS = [(200, 30, 30), (30, 160, 40), (40, 40, 210)]


def decoded(height=240, width=320):
    frames = np.stack([np.full((height, width, 3), colour, np.uint8) for colour in COLOURS])
    return Decoded(
        status="ok", start=10.0, end=16.0, frames=frames, times=np.array([10.0, 12.6, 14.0])
    )


def opened(made):
    return Image.open(io.BytesIO(thumbnail_of(made)))


def test_it_is_a_webp_of_the_frame_nearest_to_the_middle():
    picture = opened(decoded())
    assert (picture.format, picture.mode, picture.size) == ("WEBP", "RGB", (320, 240))
    assert np.abs(np.asarray(picture).astype(int) - COLOURS[1]).max() <= 4


def test_the_preview_comes_before_the_frames_of_the_model():
    made = replace(decoded(48, 64), preview=np.full((300, 400, 3), COLOURS[0], np.uint8))
    picture = opened(made)
    assert picture.size == (400, 300)
    assert np.abs(np.asarray(picture).astype(int) - COLOURS[0]).max() <= 4


def test_large_frames_are_reduced_and_small_ones_are_not_enlarged():
    assert opened(decoded(1080, 1920)).size == (400, 225)
    assert opened(decoded(1000, 50)).size == (20, 400)
    assert opened(decoded(48, 64)).size == (64, 48)


def heard(wave):
    return Decoded(status="no_video", audio={48_000: wave, 16_000: wave[..., ::3]})


def test_a_sound_has_its_waveform_on_a_transparent_ground():
    loud, soft = np.full(24_000, 0.8, np.float32), np.full(24_000, 0.2, np.float32)
    picture = opened(heard(np.concatenate([loud, soft])))
    assert (picture.format, picture.mode, picture.size) == ("WEBP", "RGBA", SIZE)
    drawn = np.asarray(picture)[..., 3] > 0
    reach = drawn.sum(0)
    left, right = reach[20:180].max(), reach[220:380].max()
    assert left == pytest.approx(4 * right, rel=0.15)  # scaled to the loudest, in order of time
    colours = np.asarray(picture)[drawn]
    assert (colours == COLOUR).all()


def test_a_waveform_stands_out_from_the_light_and_the_dark_ground_of_the_page():
    """3:1, as WCAG asks of graphics; the grounds are those of `.stage.audio` in page.css."""

    def light(colour):
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    css = (Path(trichord.service.__file__).parent / "page" / "page.css").read_text()
    grounds = re.search(r"\.stage\.audio { background: light-dark\(#(\w+), #(\w+)\)", css).groups()
    for ground in grounds:
        low, high = sorted(
            light([part / 255 for part in rgb]) for rgb in (COLOUR[:3], bytes.fromhex(ground))
        )
        assert (high + 0.05) / (low + 0.05) >= 3


def test_two_channels_are_mixed():
    wave = np.sin(np.arange(8000) / 5).astype(np.float32)
    assert thumbnail_of(heard(np.stack([wave, wave]))) == thumbnail_of(heard(wave))


def test_a_moment_without_picture_and_sound_has_none():
    assert thumbnail_of(Decoded(status="silent")) is None


def test_the_same_frames_give_the_same_bytes():
    assert thumbnail_of(decoded()) == thumbnail_of(decoded())
