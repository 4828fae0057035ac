import io

import numpy as np
from PIL import Image

from trichord.media import Decoded
from trichord.search.thumbnails import thumbnail_of

COLOURS = [(200, 30, 30), (30, 160, 40), (40, 40, 210)]


def decoded(height=240, width=320):
    frames = np.stack([np.full((height, width, 3), colour, np.uint8) for colour in COLOURS])
    return Decoded(
        status="ok", start=10.0, end=16.0, frames=frames, times=np.array([10.0, 12.6, 14.0])
    )


def test_it_is_a_jpeg_of_the_frame_nearest_to_the_middle():
    picture = Image.open(io.BytesIO(thumbnail_of(decoded())))
    assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (160, 120))
    assert np.abs(np.asarray(picture).astype(int) - COLOURS[1]).max() <= 4


def test_a_tall_picture_is_no_higher_than_a_phone_and_a_small_one_stays_as_it_is():
    assert Image.open(io.BytesIO(thumbnail_of(decoded(1000, 50)))).size == (14, 284)
    assert Image.open(io.BytesIO(thumbnail_of(decoded(48, 64)))).size == (64, 48)


def test_a_sound_has_none():
    assert thumbnail_of(Decoded(status="no_video")) is None


def test_the_same_frames_give_the_same_bytes():
    assert thumbnail_of(decoded()) == thumbnail_of(decoded())
