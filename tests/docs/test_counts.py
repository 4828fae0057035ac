"""The page of counts shows what `make torture` counted last."""

from counts import PAGE, SECTIONS, known, page


def test_the_page_shows_what_was_counted():
    counted = known()
    assert {one["test"] for one in counted.values()} == SECTIONS.keys()
    assert PAGE.read_text() == page(counted)
