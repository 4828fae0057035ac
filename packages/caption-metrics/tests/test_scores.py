import numpy as np
import pytest

from caption_metrics import METRICS, bleu, evaluate, lexicon, score
from caption_metrics.tokens import ptb

QUICK = {"meteor": False, "resamples": 50}
HYPOTHESES = {"a": "A man is speaking.", "b": "Rain falls", "c": "a dog"}
REFERENCES = {
    "a": ["a man speaks", "someone speaks.", "a man is speaking while a bird is chirping"],
    "b": ["rain is falling hard on a surface"],
    "c": ["a dog barks", "a dog"],
}


def test_every_metric_has_a_score_of_each_caption_and_the_means_are_the_corpus():
    found = evaluate(REFERENCES, HYPOTHESES, **QUICK)
    assert tuple(found.corpus) == tuple(found.captions) == tuple(found.intervals)
    assert set(found.corpus) == set(METRICS) - {"METEOR"}
    for metric in ("ROUGE-L", "CIDEr"):
        mean = np.mean([found.captions[metric][clip] for clip in "abc"])
        assert found.corpus[metric] == pytest.approx(mean)
    assert found.captions["ROUGE-L"]["c"] == 1


def test_score_gives_the_corpus_alone():
    found = score(REFERENCES, HYPOTHESES, meteor=False)
    assert found == evaluate(REFERENCES, HYPOTHESES, **QUICK).corpus
    plain = score(REFERENCES, HYPOTHESES, meteor=False, tokenizer="whitespace", cider="CIDEr")
    expected = evaluate(REFERENCES, HYPOTHESES, **QUICK, tokenizer="whitespace", cider="CIDEr")
    assert plain == expected.corpus != found


def test_without_resamples_there_are_no_intervals():
    found = evaluate(REFERENCES, HYPOTHESES, meteor=False, resamples=0)
    assert found.intervals == {}
    assert "bootstrap" not in found.signature


def test_the_interval_of_bleu_is_that_of_summed_statistics():
    found = evaluate(REFERENCES, HYPOTHESES, **QUICK)
    rows = np.stack(
        [
            bleu.statistics(ptb(HYPOTHESES[clip]), [ptb(text) for text in REFERENCES[clip]])
            for clip in "abc"
        ]
    )
    rng = np.random.default_rng(0)
    drawn = [bleu.scores(rows[rng.integers(3, size=3)].sum(0)[None])[0] for _ in range(50)]
    low, high = np.quantile(drawn, (0.025, 0.975), axis=0)
    for order in range(4):
        interval = found.intervals[f"BLEU-{order + 1}"]
        assert interval == pytest.approx((low[order], high[order]))


def test_the_interval_of_cider_keeps_the_document_frequencies_of_the_set():
    found = evaluate(REFERENCES, HYPOTHESES, **QUICK)
    own = np.array([found.captions["CIDEr"][clip] for clip in "abc"])
    rng = np.random.default_rng(0)
    drawn = [own[rng.integers(3, size=3)].mean() for _ in range(50)]
    expected = tuple(np.quantile(drawn, (0.025, 0.975)))
    assert found.intervals["CIDEr"] == pytest.approx(expected)


def test_the_order_of_references_mappings_does_not_matter():
    backwards = dict(reversed(REFERENCES.items()))
    expected = evaluate(REFERENCES, HYPOTHESES, **QUICK)
    assert evaluate(backwards, HYPOTHESES, **QUICK) == expected


def test_truncation_keeps_as_many_references_as_the_poorest_clip_has():
    firsts = {clip: several[:1] for clip, several in REFERENCES.items()}
    found = evaluate(REFERENCES, HYPOTHESES, **QUICK, truncate_references=True)
    assert found == evaluate(firsts, HYPOTHESES, **QUICK)
    assert "|refs:1|" in found.signature


def test_whitespace_leaves_punctuation_on_the_words():
    plain = evaluate(REFERENCES, HYPOTHESES, **QUICK)
    untouched = evaluate(REFERENCES, HYPOTHESES, **QUICK, tokenizer="whitespace")
    # "speaking." is another word than "speaking".
    assert untouched.captions["BLEU-1"]["a"] < plain.captions["BLEU-1"]["a"]


def test_the_signature_is_a_line():
    assert evaluate(REFERENCES, HYPOTHESES, **QUICK).signature == (
        "clips:3|refs:1-3|tok:ptb|cider:CIDEr-D|bootstrap:50|seed:0|version:1"
    )


def test_without_its_word_lists_meteor_is_missing_and_the_note_says_what_to_install(monkeypatch):
    monkeypatch.setattr(lexicon, "find_folder", lambda: None)
    note = (
        "METEOR is not reported: its word lists come with `pip install 'caption-metrics[meteor]'`."
    )
    found = evaluate(REFERENCES, HYPOTHESES, resamples=10)
    assert "METEOR" not in found.corpus.keys() | found.captions.keys() | found.intervals.keys()
    assert found.notes == (note,)
    with pytest.warns(UserWarning, match="METEOR is not reported"):
        assert "METEOR" not in score(REFERENCES, HYPOTHESES)


def test_meteor_is_scored_with_its_word_lists(monkeypatch, made_up):
    monkeypatch.setattr(lexicon, "find_folder", lambda: made_up)
    found = evaluate({"a": ["the hound"], "b": ["mice"]}, {"a": "the dog", "b": "mice"})
    # (0.25 + 0.8 * 0.75) of 1 both ways; then summed with a perfect caption, 0.75 of 0.75.
    assert found.captions["METEOR"] == pytest.approx({"a": 0.85, "b": 1.0})
    assert found.corpus["METEOR"] == pytest.approx(1.6 / 1.75)
    low, high = found.intervals["METEOR"]
    assert 0.85 <= low <= high <= 1


def test_an_empty_hypothesis_scores_nothing_and_is_counted():
    found = evaluate(REFERENCES, {**HYPOTHESES, "b": " ... "}, **QUICK)
    assert found.notes == ("1 of 3 captions are empty and score 0.",)
    assert {column["b"] for column in found.captions.values()} == {0.0}


def test_of_one_clip_cider_is_nothing_and_the_note_says_so():
    found = evaluate({"a": ["a dog barks"]}, {"a": "a dog barks"}, **QUICK)
    assert found.corpus["CIDEr"] == 0
    assert found.corpus["BLEU-1"] == pytest.approx(1)
    assert found.notes == (
        "CIDEr is 0 for a single clip by construction, and intervals have no width.",
    )


def test_a_clip_without_references_is_named():
    with pytest.raises(ValueError, match='Clip "b" has no reference caption'):
        evaluate({**REFERENCES, "b": []}, HYPOTHESES, **QUICK)


def test_references_must_be_a_list():
    with pytest.raises(ValueError, match='references of clip "b" are one string'):
        evaluate({**REFERENCES, "b": "rain"}, HYPOTHESES, **QUICK)


@pytest.mark.parametrize("text", ["", "  ", "!", "🐶"])
def test_a_reference_without_words_is_named(text):
    with pytest.raises(ValueError, match='Clip "b" has a reference without words'):
        evaluate({**REFERENCES, "b": ["rain", text]}, HYPOTHESES, **QUICK)


def test_captions_and_references_need_the_same_clips():
    with pytest.raises(ValueError, match='Clip "c" has no references'):
        evaluate({clip: REFERENCES[clip] for clip in "ab"}, HYPOTHESES, **QUICK)
    with pytest.raises(ValueError, match='Clip "c" has no caption to score'):
        evaluate(REFERENCES, {clip: HYPOTHESES[clip] for clip in "ab"}, **QUICK)
    with pytest.raises(ValueError, match="no caption to score"):
        evaluate({}, {}, **QUICK)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"tokenizer": "moses"}, "tokenizer is 'moses'; choose one of ptb, whitespace"),
        ({"cider": "cider"}, "cider is 'cider'; choose one of CIDEr-D, CIDEr"),
        ({"resamples": -1}, "resamples is -1; it must be 0 or more"),
    ],
)
def test_a_value_that_does_not_exist_is_refused(option, message):
    with pytest.raises(ValueError, match=message):
        evaluate(REFERENCES, HYPOTHESES, meteor=False, **option)


@pytest.mark.parametrize(
    "text",
    ["un café à Zürich", "犬 が 吠える", "שלום עולם", "ｆｕｌｌ ｗｉｄｔｈ", "a dog 🐶 barks"],
)
def test_any_script_agrees_with_itself(text):
    found = evaluate({"a": [text], "b": ["x"]}, {"a": text, "b": "x"}, **QUICK)
    assert found.captions["ROUGE-L"]["a"] == 1


def test_line_breaks_in_a_caption_are_blanks():
    broken = {clip: text.replace(" ", "\n") for clip, text in HYPOTHESES.items()}
    expected = evaluate(REFERENCES, HYPOTHESES, **QUICK)
    assert evaluate(REFERENCES, broken, **QUICK) == expected


def test_ten_thousand_words_are_scored():
    long = " ".join(f"word{n % 700}" for n in range(10_000))
    references = {"a": [long[::-1], "word1 word2"], "b": ["x"]}
    found = evaluate(references, {"a": long, "b": "x"}, **QUICK)
    assert found.captions["BLEU-1"]["a"] == pytest.approx(2 / 10_000, rel=1e-6)


def test_nlg_evals_published_scores(annotations, word_lists):
    # github.com/Maluuba/nlg-eval, README and nlgeval/tests/test_nlgeval.py: not tokenized.
    read = {
        name: (annotations / "nlgeval" / f"{name}.txt").read_text().splitlines()
        for name in ("hyp", "ref1", "ref2")
    }
    hypotheses = dict(zip("ab", read["hyp"], strict=True))
    references = {
        clip: list(two) for clip, *two in zip("ab", read["ref1"], read["ref2"], strict=True)
    }
    found = score(references, hypotheses, tokenizer="whitespace")
    published = [0.55, 0.428174, 0.284043, 0.201143, 0.295797, 0.522104, 1.242192]
    assert list(found.values()) == pytest.approx(published, abs=1e-6)
