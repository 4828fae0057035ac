from dataclasses import replace

import numpy as np
import pytest
import torch

from trichord.evaluation.lending import LentSource, SomeSource
from trichord.types.tensors import Padded

EVERY = np.arange(6)
"""Clips: both, silent, dark, neither, plain, more."""
DONORS = (("one",), ("silent",), ("two",), ("three",))


@pytest.fixture
def model(fused_model):
    return fused_model("global_to_global")


def rows(padded):
    """Real steps of each row."""
    return [values[mask] for values, mask in zip(padded.values, padded.mask, strict=True)]


def test_some_clips_are_a_source_of_their_own(model, feature_source):
    whole = feature_source(model)
    some = SomeSource(whole, np.array([1, 4, 5]))
    assert [clip.id for clip in some.clips] == ["silent", "plain", "more"]
    assert some.captions.texts == ("a red ball", "a ball", "a drum", "a bell rings")
    assert some.captions.owners.tolist() == [0, 0, 2, 2]
    assert some.precomputed == whole.precomputed
    batch = some.batch(np.array([2, 0]), np.array([3, -1]))
    assert batch.ids == ("more", "silent")
    expected = whole.batch(np.array([5, 1]), np.array([8, -1]))
    for name in ("text", "audio", "vision"):
        assert torch.equal(batch.of(name).values, expected.of(name).values)
        assert torch.equal(batch.of(name).mask, expected.of(name).mask)
    asked = whole.texts(np.array([2]), "vision")
    assert torch.equal(some.texts(np.array([0]), "vision").values, asked.values)


def test_clips_without_captions_can_be_chosen_too(model, feature_source):
    some = SomeSource(feature_source(model), np.array([4]))
    assert some.captions.texts == ()
    assert not some.batch(np.array([0]), np.array([-1])).text.mask.any()
    assert some.batch(np.array([0]), None).text is None


def test_clips_have_the_sounds_they_are_lent_and_everything_else_of_their_own(
    model, feature_source
):
    own, donors = feature_source(model), feature_source(model, DONORS, seed=1)
    lent = LentSource(own, donors, {1: 2, 3: 3})
    before, after = own.batch(EVERY, EVERY), lent.batch(EVERY, EVERY)
    sounds = rows(donors.batch(np.arange(4), None).audio)
    expected = rows(before.audio)
    expected[1], expected[3] = sounds[2], sounds[3]
    for found, wanted in zip(rows(after.audio), expected, strict=True):
        assert torch.equal(found, wanted)
    assert len(expected[1]) == 1  # shorter than the two steps of the longest
    for name in ("text", "vision"):
        assert torch.equal(after.of(name).values, before.of(name).values)
    assert after.ids == before.ids
    assert torch.equal(
        lent.texts(np.array([0]), "vision").values, own.texts(np.array([0]), "vision").values
    )


def test_order_and_company_change_no_lent_sound(model, feature_source):
    own, donors = feature_source(model), feature_source(model, DONORS, seed=1)
    lent = LentSource(own, donors, {1: 2, 3: 3})
    whole = rows(lent.batch(EVERY, None).audio)
    for some in ([3, 0, 1], [1], [5, 4]):
        for clip, found in zip(some, rows(lent.batch(np.array(some), None).audio), strict=True):
            assert torch.equal(found, whole[clip])


def test_a_longer_sound_takes_the_place_of_a_shorter_one_and_the_other_way_round(
    model, feature_source
):
    own, donors = feature_source(model), feature_source(model, DONORS, seed=1)
    swapped = LentSource(own, donors, {0: 3, 5: 0})  # 1 step for 2, 2 for 1: not silent at all
    found = rows(swapped.batch(np.array([0, 5]), None).audio)
    sounds = rows(donors.batch(np.array([3, 0]), None).audio)
    assert [len(audio_type) for audio_type in found] == [2, 1]
    assert all(torch.equal(one, other) for one, other in zip(found, sounds, strict=True))
    (alone,) = rows(LentSource(own, donors, {5: 0}).batch(np.array([5]), None).audio)
    assert torch.equal(alone, sounds[1])  # also where nothing lent is as long as what was there


def test_a_batch_without_any_sound_can_be_lent_some(model, feature_source):
    deaf = feature_source(model, modalities=("text", "vision"))
    donors = feature_source(model, DONORS, seed=1)
    with pytest.raises(ValueError, match="cannot stand beside"):
        LentSource(deaf, donors, {1: 2})
    deaf.precomputed = donors.precomputed
    audio = LentSource(deaf, donors, {1: 2}).batch(np.array([0, 1]), None).audio
    assert audio.present.tolist() == [False, True]
    assert torch.equal(rows(audio)[1], rows(donors.batch(np.array([2]), None).audio)[0])


class Told:
    """A source that says what its clips sound like, and whose sounds are their own numbers."""

    def __init__(self, source, sounds):
        self.clips, self.captions, self.precomputed = (
            source.clips,
            source.captions,
            source.precomputed,
        )
        self.sounds = torch.tensor(sounds)
        self.batch_of = source.batch

    def batch(self, clips, captions, masking=None):
        batch = self.batch_of(clips, captions)
        values = torch.full((len(clips), 1, 2), float(masking or 0))
        masked = Padded(values, torch.ones(len(clips), 1, dtype=torch.bool))
        return replace(batch, audio_type=self.sounds[torch.from_numpy(clips)], masked=masked)

    def texts(self, captions, toward):
        raise AssertionError


def test_a_sounds_place_between_verbal_and_nonverbal_is_lent_with_it(model, feature_source):
    own = Told(feature_source(model), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    donors = Told(feature_source(model, DONORS, seed=1), [1.0, 0.9, 0.8, 0.7])
    batch = LentSource(own, donors, {1: 2, 3: 3}).batch(EVERY, None, 7)
    assert batch.audio_type.tolist() == pytest.approx([0.0, 0.8, 0.2, 0.7, 0.4, 0.5])
    assert (batch.masked.values == 7).all()
