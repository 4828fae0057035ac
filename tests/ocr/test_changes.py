import numpy as np
import pytest
from written_text import DARK, grained, page, written

from trichord.ocr.changes import CHANGED, ChangeDetector, difference

pytest.importorskip("cv2", reason="OpenCV, which writes the text, is not installed")


def changes(*frames):
    detector = ChangeDetector()
    return [detector.changed(frame) for frame in frames]


@pytest.mark.parametrize("size", [14, 18, 24])
@pytest.mark.parametrize("at", [(61, 150), (203, 347), (330, 22)])
def test_another_digit_in_a_small_caption_is_a_change(size, at):
    large = page(720, 1280)
    one, two = (written(large, f"Scene {number}", at, size) for number in (1, 2))
    assert changes(large, one, one, two, one) == [True, True, False, True, True]


def test_grain_is_no_change():
    title = written(page(), "Departures")
    assert changes(*(grained(title, 4, seed) for seed in range(6))) == [True] + 5 * [False]


def test_a_slow_fade_adds_up():
    greys = range(0, 50, 2)
    found = changes(*(page(colour=(grey, grey, grey)) for grey in greys))
    assert found == [grey % CHANGED == 0 for grey in greys]


def test_colours_of_one_brightness_differ():
    red, green = (200, 0, 0), (0, 102, 0)  # both have a luma of 60
    assert changes(page(colour=green), written(page(colour=green), "Exit", ink=red)) == [True, True]


def test_a_frame_of_another_shape_is_a_change():
    assert changes(page(), page(640, 360), page(640, 360)) == [True, True, False]


def test_frames_smaller_than_a_block_do_not_differ():
    assert changes(page(1, 1), page(1, 1, (255, 255, 255))) == [True, False]


def test_the_largest_block_counts_wherever_it_is():
    rng = np.random.default_rng(3)
    for _ in range(20):
        before = rng.integers(0, 200, (44, 36, 3), np.uint8)
        after, row, column = before.copy(), 4 * rng.integers(11), 4 * rng.integers(9)
        after[row : row + 4, column : column + 4, 1] += 50
        after[:, :, 2] += 7
        assert difference(before, after) == 50
        assert difference(after, before) == 50
    assert difference(page(colour=DARK), page(colour=DARK)) == 0
