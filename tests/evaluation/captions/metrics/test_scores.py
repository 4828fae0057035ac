import numpy as np
import pytest

from trichord.evaluation.captions.metrics import bleu, lexicon
from trichord.evaluation.captions.metrics.scores import METRICS, Scoring, score
from trichord.evaluation.captions.metrics.tokens import ptb
from trichord.types import UserError

QUICK = Scoring(meteor=False, resamples=50)
CANDIDATES = {"a": "A man is speaking.", "b": "Rain falls", "c": "a dog"}
REFERENCES = {
    "a": ["a man speaks", "someone speaks.", "a man is speaking while a bird is chirping"],
    "b": ["rain is falling hard on a surface"],
    "c": ["a dog barks", "a dog"],
}


def corpus(found):
    return [found.corpus[metric].value for metric in METRICS if found.corpus[metric] is not None]


def test_every_metric_has_a_value_a_clip_and_the_means_are_the_corpus():
    found = score(CANDIDATES, REFERENCES, QUICK)
    assert set(found.captions) == set(METRICS) - {"METEOR"}
    for metric in ("ROUGE-L", "CIDEr"):
        mean = np.mean([found.captions[metric][clip] for clip in "abc"])
        assert found.corpus[metric].value == pytest.approx(mean)
    assert found.captions["ROUGE-L"]["c"] == 1


def test_the_interval_of_bleu_is_that_of_summed_counts():
    found = score(CANDIDATES, REFERENCES, QUICK)
    rows = np.stack(
        [
            bleu.counts(ptb(CANDIDATES[clip]), [ptb(text) for text in REFERENCES[clip]])
            for clip in "abc"
        ]
    )
    rng = np.random.default_rng(0)
    drawn = [bleu.values(rows[rng.integers(3, size=3)].sum(0)[None])[0] for _ in range(50)]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    for order in range(4):
        one = found.corpus[f"BLEU-{order + 1}"]
        assert (one.low, one.high) == pytest.approx((low[order], high[order]))


def test_the_interval_of_cider_keeps_the_document_frequencies_of_the_set():
    found = score(CANDIDATES, REFERENCES, QUICK)
    own = np.array([found.captions["CIDEr"][clip] for clip in "abc"])
    rng = np.random.default_rng(0)
    drawn = [own[rng.integers(3, size=3)].mean() for _ in range(50)]
    one = found.corpus["CIDEr"]
    assert (one.low, one.high) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))))


def test_the_order_of_references_mappings_does_not_matter():
    backwards = dict(reversed(REFERENCES.items()))
    assert score(CANDIDATES, backwards, QUICK) == score(CANDIDATES, REFERENCES, QUICK)


def test_as_published_keeps_as_many_references_as_the_poorest_clip_has():
    firsts = {clip: several[:1] for clip, several in REFERENCES.items()}
    published = Scoring(meteor=False, resamples=50, kept="as_published")
    found = score(CANDIDATES, REFERENCES, published)
    assert corpus(found) == corpus(score(CANDIDATES, firsts, QUICK))
    assert (found.protocol.fewest, found.protocol.most) == (1, 1)
    assert "1 references each, cut to the smallest count as published" in found.protocol.line()


def test_blanks_leave_punctuation_on_the_words():
    plain = score(CANDIDATES, REFERENCES, QUICK)
    untouched = score(CANDIDATES, REFERENCES, Scoring(tokens="blanks", meteor=False))
    # "speaking." is another word than "speaking".
    assert untouched.captions["BLEU-1"]["a"] < plain.captions["BLEU-1"]["a"]


def test_the_protocol_is_a_line():
    assert score(CANDIDATES, REFERENCES, QUICK).protocol.line() == (
        "PTB tokens, punctuation dropped; 3 clips, 1–3 references each; CIDEr-D with document"
        " frequencies of these references; 95 % bootstrap intervals over clips, 50 resamples, seed 0;"
        " caption metrics 1"
    )


def test_without_the_extra_meteor_is_missing_and_the_note_says_what_to_install(monkeypatch):
    monkeypatch.setattr(lexicon, "folder", lambda: None)
    found = score(CANDIDATES, REFERENCES, Scoring(resamples=10))
    assert found.corpus["METEOR"] is None
    assert "METEOR" not in found.captions
    assert found.notes == ("METEOR is not reported: its word lists need the extra `captions`.",)


def test_meteor_is_scored_with_its_word_lists(monkeypatch, made_up):
    monkeypatch.setattr(lexicon, "folder", lambda: made_up)
    found = score({"a": "the dog", "b": "mice"}, {"a": ["the hound"], "b": ["mice"]})
    # (0.25 + 0.8 * 0.75) of 1 both ways; then summed with a perfect caption, 0.75 of 0.75.
    assert found.captions["METEOR"] == pytest.approx({"a": 0.85, "b": 1.0})
    assert found.corpus["METEOR"].value == pytest.approx(1.6 / 1.75)
    assert 0.85 <= found.corpus["METEOR"].low <= found.corpus["METEOR"].high <= 1


def test_an_empty_candidate_scores_nothing_and_is_counted():
    found = score({**CANDIDATES, "b": " ... "}, REFERENCES, QUICK)
    assert found.notes == ("1 of 3 captions are empty and score 0.",)
    assert {column["b"] for column in found.captions.values()} == {0.0}


def test_of_one_clip_cider_is_nothing_and_the_note_says_so():
    found = score({"a": "a dog barks"}, {"a": ["a dog barks"]}, QUICK)
    assert found.corpus["CIDEr"].value == 0
    assert found.corpus["BLEU-1"].value == pytest.approx(1)
    assert found.notes == (
        "CIDEr is 0 for a single clip by construction, and intervals have no width.",
    )


def test_a_clip_without_references_is_named():
    with pytest.raises(UserError, match='Clip "b" has no reference caption'):
        score(CANDIDATES, {**REFERENCES, "b": []}, QUICK)


@pytest.mark.parametrize("text", ["", "  ", "!", "🐶"])
def test_a_reference_without_words_is_named(text):
    with pytest.raises(UserError, match='Clip "b" has a reference without words'):
        score(CANDIDATES, {**REFERENCES, "b": ["rain", text]}, QUICK)


def test_the_same_clips_need_captions_and_references():
    with pytest.raises(ValueError, match='Clip "c" has no references'):
        score(CANDIDATES, {clip: REFERENCES[clip] for clip in "ab"}, QUICK)
    with pytest.raises(ValueError, match='Clip "c" has no caption to score'):
        score({clip: CANDIDATES[clip] for clip in "ab"}, REFERENCES, QUICK)
    with pytest.raises(ValueError, match="no caption to score"):
        score({}, {}, QUICK)


@pytest.mark.parametrize(
    "text",
    ["un café à Zürich", "犬 が 吠える", "שלום עולם", "ｆｕｌｌ ｗｉｄｔｈ", "a dog 🐶 barks"],
)
def test_any_script_agrees_with_itself(text):
    found = score({"a": text, "b": "x"}, {"a": [text], "b": ["x"]}, QUICK)
    assert found.captions["ROUGE-L"]["a"] == 1


def test_line_breaks_in_a_caption_are_blanks():
    broken = {clip: text.replace(" ", "\n") for clip, text in CANDIDATES.items()}
    assert score(broken, REFERENCES, QUICK) == score(CANDIDATES, REFERENCES, QUICK)


def test_ten_thousand_words_are_scored():
    long = " ".join(f"word{n % 700}" for n in range(10_000))
    found = score({"a": long, "b": "x"}, {"a": [long[::-1], "word1 word2"], "b": ["x"]}, QUICK)
    assert found.captions["BLEU-1"]["a"] == pytest.approx(2 / 10_000, rel=1e-6)


def test_nlg_evals_published_scores(annotations, word_lists):
    # github.com/Maluuba/nlg-eval, README and nlgeval/tests/test_nlgeval.py: untokenised.
    read = {
        name: (annotations / "nlgeval" / f"{name}.txt").read_text().splitlines()
        for name in ("hyp", "ref1", "ref2")
    }
    candidates = dict(zip("ab", read["hyp"], strict=True))
    references = {
        clip: list(two) for clip, *two in zip("ab", read["ref1"], read["ref2"], strict=True)
    }
    found = score(candidates, references, Scoring(tokens="blanks", resamples=10))
    published = [0.55, 0.428174, 0.284043, 0.201143, 0.295797, 0.522104, 1.242192]
    assert corpus(found) == pytest.approx(published, abs=1e-6)
