import numpy as np
import pytest

from trichord.ocr.line_spans import LineSpans, edit_distance
from trichord.ocr.text_reader import Box, TextLine

PLACE = Box(0.1, 0.8, 0.5, 0.9)


def line(text, confidence=0.9, box=PLACE):
    return TextLine(text=text, confidence=confidence, box=box)


def spans(*readings):
    """Spans of readings a second; None: a frame that did not change."""
    found = LineSpans()
    for second, lines in enumerate(readings):
        if lines is None:
            found.extend(second + 1)
        else:
            found.add(lines, second, second + 1)
    return [(one.start, one.end, one.text) for one in found.all()]


def test_readings_of_one_line_are_one_span_with_the_best_text():
    read = LineSpans()
    nearby = Box(0.11, 0.81, 0.52, 0.9)
    read.add([line("The Iong journey", 0.85)], 0.0, 1.5)
    read.add([line("The Long Journey", 0.99, nearby)], 1.5, 2.5)
    read.add([line("the long journev", 0.9)], 2.5, 3.5)
    [one] = read.all()
    assert (one.start, one.end, one.text) == (0.0, 3.5, "The Long Journey")
    assert (one.confidence, one.box) == (0.99, nearby)


def test_frames_that_did_not_change_make_spans_longer():
    assert spans([line("Departures")], None, None, [], None) == [(0, 3, "Departures")]


def test_a_line_that_comes_back_is_another_span():
    assert spans([line("Yes.")], [], [line("Yes.")]) == [(0, 1, "Yes."), (2, 3, "Yes.")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Chapter number 1", "Chapter number 2"),
        ("Score 2:1", "Score 3:1"),
        ("No", "So"),
        ("Anna", "Anne"),
        ("雪", "春"),
    ],
)
def test_lines_of_one_place_that_say_other_things_stay_apart(before, after):
    assert spans([line(before)], [line(after)]) == [(0, 1, before), (1, 2, after)]


def test_spaces_case_and_punctuation_make_no_other_line():
    assert spans([line("Mr. Smith,")], [line("MR SMITH", 0.8)]) == [(0, 2, "Mr. Smith,")]
    assert spans([line("...")], [line("!!!")]) == [(0, 1, "..."), (1, 2, "!!!")]


@pytest.mark.parametrize("top", [0.1, 0.87])
def test_a_similar_line_in_another_place_is_another_line(top):
    elsewhere = Box(0.1, top, 0.5, top + 0.1)
    assert len(spans([line("the evening news")], [line("the evening new", 0.9, elsewhere)])) == 2


def test_the_same_text_may_move():
    lower = [Box(0.1, top, 0.5, top + 0.1) for top in (0.8, 0.5, 0.2)]
    assert spans(*([line("Directed by", 0.9, box)] for box in lower)) == [(0, 3, "Directed by")]


def test_equal_lines_at_once_stay_several():
    upper = Box(0.1, 0.2, 0.5, 0.3)
    both = [line("Total", 0.9, upper), line("Total")]
    assert spans(both, both, [line("Total")]) == [(0, 2, "Total"), (0, 3, "Total")]


def test_spans_are_in_order_of_start_then_from_top_to_bottom():
    upper = Box(0.1, 0.2, 0.5, 0.3)
    found = spans([line("below")], [line("below"), line("above", 0.9, upper)], [line("last")])
    assert found == [(0, 2, "below"), (1, 2, "above"), (2, 3, "last")]
    assert [text for *_, text in spans([line("below"), line("above", 0.9, upper)])] == [
        "above",
        "below",
    ]


def levenshtein(one, other):
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    table[:, 0], table[0] = range(len(one) + 1), range(len(other) + 1)
    for row, letter in enumerate(one, start=1):
        for column, another in enumerate(other, start=1):
            same = table[row - 1, column - 1] + (letter != another)
            table[row, column] = min(same, table[row - 1, column] + 1, table[row, column - 1] + 1)
    return table[-1, -1]


def test_edit_distance_is_exact_up_to_its_limit():
    draw = np.random.default_rng(0)
    for _ in range(200):
        one, other = ("".join(draw.choice(list("abc"), draw.integers(9))) for _ in range(2))
        exact = levenshtein(one, other)
        for most in (0, 2, 9):
            found = edit_distance(one, other, most)
            assert found == exact if exact <= most else found > most
