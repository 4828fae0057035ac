import numpy as np
import pytest

from trichord.search.gallery import Gallery
from trichord.types import Moment

SPANS = (("a", 0.0, 2.0), ("a", 2.0, 3.5), ("b", 0.0, 0.0), ("d", 1.1, 2.0))
MOMENTS = tuple(Moment(file=file, start=start, end=end) for file, start, end in SPANS)


@pytest.fixture
def gallery():
    vision = np.arange(8, dtype=np.float32).reshape(4, 2)
    return Gallery.of(
        MOMENTS,
        vision=vision,
        has_vision=np.array([True, True, True, False]),
        audio=-vision,
        has_audio=np.array([True, False, True, True]),
    )


def test_moments_are_columns(gallery):
    assert gallery.files == ("a", "b", "d")
    assert gallery.file.tolist() == [0, 0, 1, 2]
    assert gallery.moments == MOMENTS
    assert len(gallery) == 4
    assert gallery.duration.tolist() == [3.5, 0, 2]
    assert np.isnan(gallery.speech).all()


@pytest.mark.parametrize(
    ("file", "rows"),
    [("a", [0, 1]), ("b", [2]), ("d", [3]), ("c", []), ("", []), ("z", [])],
)
def test_a_files_rows_are_found(gallery, file, rows):
    assert list(range(4)[gallery.rows_of(file)]) == rows


@pytest.mark.parametrize(
    ("file", "start", "row"),
    [("a", 0.0, 0), ("a", 2.0, 1), ("a", 2.0009, 1), ("a", 2.1, None), ("d", 1.1, 3), ("c", 0.0, None)],
)  # fmt: skip
def test_a_moment_is_found_by_its_start(gallery, file, start, row):
    assert gallery.row_of(file, start) == row


def test_some_rows_make_a_gallery_of_the_same_files(gallery):
    from dataclasses import replace

    tagged = replace(gallery, tags={"x": np.array([0, 3]), "y": np.array([1])})
    some = tagged.take(np.array([1, 3]))
    assert some.moments == (MOMENTS[1], MOMENTS[3])
    assert some.vision.tolist() == [[2, 3], [6, 7]]
    assert some.has_audio.tolist() == [False, True]
    assert some.files == gallery.files
    assert {tag: rows.tolist() for tag, rows in some.tags.items()} == {"x": [1], "y": [0]}


def test_tags_are_known_by_moment_and_moments_by_tag(gallery):
    from dataclasses import replace

    tagged = replace(gallery, tags={"x": np.array([0, 3]), "y": np.array([0])})
    assert tagged.tagged("x").tolist() == [True, False, False, True]
    assert not tagged.tagged("z").any()


def test_nothing_makes_an_empty_gallery():
    none, nowhere = np.zeros((0, 2), np.float32), np.zeros(0, bool)
    gallery = Gallery.of([], vision=none, has_vision=nowhere, audio=none, has_audio=nowhere)
    assert (len(gallery), gallery.moments, gallery.rows_of("a")) == (0, (), slice(0, 0))
