import numpy as np
import pytest
from PIL import Image

from trichord.media.failure import MediaError
from trichord.media.picture import (
    apply_display_matrix,
    display_size,
    resize,
    rotation_of,
)
from trichord.media.plan import FramePlan, Limits


def test_the_long_side_rounds_down():
    assert FramePlan(short_side=224).target_size(480, 270) == (398, 224)  # 398.2
    assert FramePlan(short_side=224).target_size(270, 480) == (224, 398)
    assert FramePlan(short_side=224).target_size(100, 100) == (224, 224)
    assert FramePlan(short_side=None).target_size(7, 3) == (7, 3)
    assert FramePlan(short_side=None, size=(24, 32)).target_size(480, 270) == (32, 24)


def test_pixel_aspect_only_stretches():
    assert display_size(100, 50, 2.0, (1, 0, 0, 1)) == (200, 50)
    assert display_size(100, 50, 0.5, (1, 0, 0, 1)) == (100, 100)
    assert display_size(100, 50, 2.0, (0, 1, -1, 0)) == (50, 200)


@pytest.mark.parametrize(
    ("matrix", "degrees", "expected"),
    [
        ((1, 0, 0, 1), 0, [[1, 2], [3, 4]]),
        ((-1, 0, 0, -1), 180, [[4, 3], [2, 1]]),
        ((0, 1, -1, 0), 270, [[3, 1], [4, 2]]),
        ((0, -1, 1, 0), 90, [[2, 4], [1, 3]]),
        ((-1, 0, 0, 1), 180, [[2, 1], [4, 3]]),
        ((0, 1, 1, 0), 270, [[1, 3], [2, 4]]),
    ],
)
def test_display_matrices_turn_and_mirror(matrix, degrees, expected):
    # A stored pixel (x, y) is shown at (ax + cy, bx + dy).
    image = Image.fromarray(np.array([[1, 2], [3, 4]], np.uint8))
    assert np.asarray(apply_display_matrix(image, matrix)).tolist() == expected
    assert rotation_of(matrix) == degrees


def test_a_picture_that_would_grow_beyond_the_limit_is_refused():
    strip = Image.new("RGB", (20_000, 2))
    with pytest.raises(MediaError, match="too_big"):
        resize(strip, strip.size, FramePlan(short_side=224), Limits())
