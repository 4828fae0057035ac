import pytest

from caption_metrics.tokens import ngrams, ptb, whitespace


def test_punctuation_is_dropped_and_case_with_it():
    caption = 'A man, a dog; "both" bark -- and run... Then (quietly) stop!'
    expected = "a man a dog both bark and run then -lrb- quietly -rrb- stop"
    assert " ".join(ptb(caption)) == expected


@pytest.mark.parametrize("mark", ["", " ", ".", "...", "?", "- --", '"', "''", "🐶", "\n"])
def test_a_caption_of_marks_has_no_words(mark):
    assert ptb(mark) == ()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u2028", "\x0b", "\t", "\xa0", "\u3000"])
def test_a_line_break_is_a_blank(end):
    assert ptb(f"a dog{end}barks") == ("a", "dog", "barks")


def test_whitespace_leaves_punctuation_on_the_words():
    assert whitespace(" A Dog's  bark,\nloud.") == ("a", "dog's", "bark,", "loud.")


def test_ngrams_are_counted_with_repetitions():
    found = ngrams(("a", "b", "a", "b"), 2)
    assert found == {("a",): 2, ("b",): 2, ("a", "b"): 2, ("b", "a"): 1}
