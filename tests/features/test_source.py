import numpy as np
import pytest

from trichord.features.source import Captions, FeatureSource, portions
from trichord.types import UserError

ALL = np.arange(4)


def test_captions_keep_the_order_and_owner_of_each(captioned):
    captions = Captions.of(captioned)
    assert captions.texts == (
        "a bell rings",
        "a red bell",
        "a bell chimes",
        "a dog",
        "a bell rings",
    )
    assert captions.owners.tolist() == [0, 0, 0, 2, 3]
    assert {k: v.tolist() for k, v in captions.numbers.items()} == {
        "audio": [0, 2, 4],
        "visual": [1, 3],
    }


def test_a_draw_gives_each_clip_one_of_its_own_captions_or_none(captioned):
    captions = Captions.of(captioned)
    random = np.random.default_rng(0)
    drawn = [tuple(captions.draw(("audio",), ALL, random).tolist()) for _ in range(50)]
    assert {row[1:] for row in drawn} == {(-1, -1, 4)}
    assert {row[0] for row in drawn} == {0, 2}


def test_a_draw_from_several_kinds_mixes_them(captioned):
    captions = Captions.of(captioned)
    random = np.random.default_rng(0)
    firsts = {int(captions.draw(("audio", "visual"), ALL, random)[0]) for _ in range(80)}
    assert firsts == {0, 1, 2}


def test_a_draw_of_a_kind_that_nobody_has_is_all_missing(captioned):
    random = np.random.default_rng(0)
    assert Captions.of(captioned).draw(("composed",), ALL, random).tolist() == [-1] * 4


def test_batches_carry_what_each_clip_has(tiny_model, captioned, fill):
    folder = fill(tiny_model, captioned, silent=("b",))
    source = FeatureSource(captioned, tiny_model, folder)
    batch = source.batch(np.array([1, 0]), np.array([-1, 2]))
    assert batch.ids == ("b", "a")
    assert batch.audio.present.tolist() == [False, True]
    assert batch.vision.mask.tolist() == [[True] * 3] * 2
    assert batch.text.present.tolist() == [False, True]
    assert batch.read
    assert source.batch(ALL, None).text is None


def test_equal_captions_share_one_feature(tiny_model, captioned, fill):
    source = FeatureSource(captioned, tiny_model, fill(tiny_model, captioned))
    rows = source.texts(np.array([0, 4]), "vision").values
    assert (rows[0] == rows[1]).all()


def test_the_untrained_pair_reads_sound_by_its_own_text(untrained_model, captioned, fill):
    source = FeatureSource(captioned, untrained_model, fill(untrained_model, captioned))
    one = np.array([0])
    assert (
        source.texts(one, "vision").values.shape != source.texts(one, "audio").values.shape
        or (source.texts(one, "vision").values != source.texts(one, "audio").values).any()
    )


def test_a_clip_without_features_names_itself_and_the_remedy(tiny_model, captioned, fill):
    folder = fill(tiny_model, captioned[:2])
    with pytest.raises(UserError, match=r"no vision features of 'c'.*trichord extract"):
        FeatureSource(captioned, tiny_model, folder)


def test_clips_without_any_caption_are_a_source_too(tiny_model, captioned, fill):
    bare = [captioned[1]]
    source = FeatureSource(bare, tiny_model, fill(tiny_model, bare))
    assert not source.batch(np.array([0]), np.array([-1])).text.mask.any()


def test_portions_cover_each_number_once():
    assert [p.tolist() for p in portions(5, 2)] == [[0, 1], [2, 3], [4]]
    assert list(portions(0, 2)) == []
