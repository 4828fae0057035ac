import numpy as np
import pytest

from caption_metrics import lexicon, meteor
from caption_metrics.meteor import scores


@pytest.fixture
def scorer(made_up):
    """METEOR that knows the made-up words, for any caption."""
    phrases = {("next", "to"): [("beside",)], ("sea",): [("the", "ocean")]}
    return meteor.Meteor(lexicon.load(made_up), phrases)


def value(scorer, hypothesis, *references):
    row = scorer.statistics(tuple(hypothesis.split()), [tuple(r.split()) for r in references])
    return scores(row[None])[0]


def test_a_caption_equal_to_a_reference_scores_one(scorer):
    assert value(scorer, "the dog barks", "a cat", "the dog barks") == 1


def test_a_stem_weighs_less_and_function_words_a_third(scorer):
    # Content words weigh 0.75 and "the" 0.25: (0.25 + 0.75 + 0.6 * 0.75) / 1.75 both ways.
    assert value(scorer, "the dog barks", "the dog barked") == pytest.approx(1.45 / 1.75)


def test_a_synonym_weighs_less(scorer):
    assert value(scorer, "the dog barks", "the hounds barks") == pytest.approx(1.6 / 1.75)


def test_a_paraphrase_matches_either_way_round(scorer):
    # Hypothesis: the, dog exact, "beside" 0.6; reference: "next", "to" 0.6 each.
    precision, recall = (0.25 + 0.75 + 0.45) / 1.75, (0.25 + 0.75 + 0.9) / 2.5
    mean = precision * recall / (0.15 * recall + 0.85 * precision)
    assert value(scorer, "the dog beside", "the dog next to") == pytest.approx(mean)
    mean = precision * recall / (0.15 * precision + 0.85 * recall)
    assert value(scorer, "the dog next to", "the dog beside") == pytest.approx(mean)


def test_words_out_of_order_pay_for_their_chunks(scorer):
    # Two chunks of three words.
    expected = 1 - 0.6 * (2 / 3) ** 0.2
    assert value(scorer, "barks the dog", "the dog barks") == pytest.approx(expected)


def test_the_best_reference_counts(scorer):
    each = [value(scorer, "the dog barks", one) for one in ("a cat", "the dog sat", "the sea")]
    assert value(scorer, "the dog barks", "a cat", "the dog sat", "the sea") == max(each) > 0


def test_a_corpus_is_the_value_of_sums_where_perfect_captions_have_no_chunk(scorer):
    same = scorer.statistics(("dog",), [("dog",)])
    other = scorer.statistics(("barks", "dog"), [("dog", "barks")])
    found = scores((same + other)[None])[0]
    # All six words match, in two chunks: those of the second caption.
    assert found == pytest.approx(1 - 0.6 * (2 / 3) ** 0.2)


@pytest.mark.parametrize("hypothesis", ["", "quite different"])
def test_nothing_in_common_scores_nothing(scorer, hypothesis):
    assert value(scorer, hypothesis, "the dog") == 0


def test_where_a_caption_is_longer_than_any_person_writes_the_rest_is_unmatched(scorer):
    words = tuple(f"w{n}" for n in range(10_000))
    row = scorer.statistics(words, [("x", *words[1:])])
    assert row[:2].tolist() == [10_000, 10_000]
    assert row[4] == meteor.MAX_WORDS - 1
    assert scores(scorer.statistics(words, [words])[None])[0] == 1


def test_without_its_word_lists_there_is_no_meteor(monkeypatch):
    monkeypatch.setattr(lexicon, "find_folder", lambda: None)
    assert meteor.load([("a", "dog")]) is None


def test_the_table_is_read_for_the_words_that_meteor_sees(made_up):
    # METEOR splits the hyphen, so the phrase of two words is there.
    found = meteor.load([("next-to",), ("beside",)], made_up)
    assert found.paraphrases == {("next", "to"): [("beside",)]}


def test_nlg_evals_published_example(word_lists):
    # github.com/Maluuba/nlg-eval, nlgeval/tests/test_nlgeval.py, computed by the jar.
    texts = ("this is a good test", "this is a test", "this is also a test")
    french = ("Le test est en français.", "Test en français.", "Le test en français.")
    everything = [tuple(text.split()) for text in (*texts, *french, "テスト")]
    scorer = meteor.load(everything, word_lists)
    assert value(scorer, *texts) == pytest.approx(0.44434387, abs=1e-8)
    assert value(scorer, *french) == pytest.approx(0.48372379050300296, abs=1e-12)
    assert value(scorer, "テスト", "テスト") == 1


def test_empty_rows_divide_by_nothing():
    assert scores(np.zeros((2, 21))).tolist() == [0, 0]
