from dataclasses import replace

import numpy as np

from trichord.evaluation.gallery import Mean, Weights
from trichord.evaluation.proportions import INTERVAL
from trichord.evaluation.protocol import METRICS_VERSION, difference, digest, stamp


def test_the_same_clips_in_another_order_have_the_same_protocol(clips):
    vectors = clips(count=10)
    back = np.arange(10)[::-1]
    turned = replace(
        vectors,
        ids=vectors.ids[::-1],
        vision=vectors.vision[back],
        has_vision=vectors.has_vision[back],
        audio=vectors.audio[back],
        has_audio=vectors.has_audio[back],
        captions={k: replace(c, owner=9 - c.owner) for k, c in vectors.captions.items()},
    )
    assert stamp(vectors, split="test") == stamp(turned, split="test")


def test_galleries_hold_only_clips_that_have_the_modality(clips):
    protocol = stamp(clips(count=10), split=None)
    assert (protocol.vision_clips, protocol.audio_clips) == (9, 9)
    assert protocol.vision_gallery != protocol.audio_gallery  # clip 0 is dark, clip 1 silent


def test_like_protocols_have_no_difference(clips):
    assert difference(stamp(clips(), split="test"), stamp(clips(seed=5), split="test")) == []


def test_another_gallery_is_named_with_its_sizes(clips):
    told = difference(stamp(clips(count=10), split="test"), stamp(clips(count=12), split="test"))
    assert [words.split(":")[0] for words in told] == [
        "vision gallery",
        "audio gallery",
        "captions asked",
    ]
    assert "9 clips, list " in told[0]
    assert "against 11 clips, list " in told[0]


def test_every_other_part_of_the_protocol_is_told_in_words(clips):
    one = stamp(clips(), split="test")
    other = stamp(clips(), split=None, ties="expected", selected_on_test=True)
    assert difference(one, replace(other, interval="95 % by guess", metrics=1)) == [
        "selection on the test split: no against yes",
        "split: test against all",
        "rule for ties: pessimistic against expected",
        f"interval: {INTERVAL} against 95 % by guess",
        f"version of the metrics: {METRICS_VERSION} against 1",
    ]


def test_a_caption_changed_by_one_word_is_another_protocol(clips):
    vectors = clips()
    texts = vectors.captions["audio"]
    other = replace(texts, texts=("a dog barks", *texts.texts[1:]))
    changed = replace(vectors, captions={**vectors.captions, "audio": other})
    (told,) = difference(stamp(vectors, split=None), stamp(changed, split=None))
    assert told.startswith("captions asked: 264 captions, list ")  # 3 of 29, 29 and 30 clips


def test_the_line_says_gallery_rules_and_how_intervals_are_made(clips):
    line = stamp(clips(), split="test").line()
    for part in ("test split", "29 pictures", "each caption a query", "ties pessimistic"):
        assert part in line
    assert "; 95 % Wilson intervals with continuity correction over clips; metrics 2" in line


def test_a_selection_on_the_test_split_comes_first(clips):
    usual, selected = (stamp(clips(), split="test", selected_on_test=on) for on in (False, True))
    assert selected.line() == (
        f"SELECTION ON TEST: the run's epoch was chosen on the test split; {usual.line()}"
    )


CHOSEN = {
    "missing": "masked, silent clips left out",
    "audio_type": 0.3,
    "name": "msrvtt-1ka-884",
}


def test_weights_token_silence_and_name_are_told_in_words(clips):
    vectors = clips()
    fused = replace(vectors, fused=Mean(weights=Weights(visual_weight=2.0, audio_weight=0.5)))
    assert difference(stamp(vectors, split="test"), stamp(fused, split="test", **CHOSEN)) == [
        "named protocol: none against msrvtt-1ka-884",
        "rule for missing modalities: masked against masked, silent clips left out",
        "visual weight: 1 against 2",
        "audio weight: 1 against 0.5",
        "audio type: the run's own against 0.3",
    ]


def test_a_fusion_of_plain_weights_changes_no_protocol(clips):
    vectors = clips()
    plain, fused = (stamp(v, split="test") for v in (vectors, replace(vectors, fused=Mean())))
    assert plain == fused


def test_the_line_tells_only_what_is_not_as_usual(clips):
    vectors = clips()
    fused = replace(vectors, fused=Mean(weights=Weights(visual_weight=2.0)))
    usual = stamp(vectors, split="test").line()
    for words in ("visual", "audio type", "None", "msrvtt"):
        assert words not in usual
    line = stamp(fused, split="test", **CHOSEN).line()
    assert line.startswith("msrvtt-1ka-884: test split; ")
    assert (
        "missing modalities masked, silent clips left out; visual weight 2 and audio weight 1; "
        in line
    )
    assert "; audio type 0.3; 95 % Wilson intervals" in line
    assert "audio type both; " in stamp(vectors, split=None, audio_type="both").line()


def test_a_name_hashed_is_no_matter_of_order():
    assert digest(["a", "b"]) == digest(["b", "a"]) != digest(["ab"])
    assert len(digest([])) == 12
