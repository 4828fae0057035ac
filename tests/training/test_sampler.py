from dataclasses import replace

import numpy as np
import pytest
import torch

from trichord.config import Draw, Stage
from trichord.features.source import Captions
from trichord.training.sampler import epoch_samples, steps_per_epoch
from trichord.types import Caption, Clip, UserError

AUDIO = Draw(captions=("audio",), terms=("av", "at"))
VISUAL = Draw(captions=("visual",), terms=("av", "vt"))


def stage(*draws, **changes):
    return Stage(
        name="s", trains=("text",), draws=draws, criterion=(), **{"batch_size": 8} | changes
    )


def clip(i):
    kinds = (("audio", f"heard {i}"), ("visual", f"seen {i}"), ("visual", f"also seen {i}"))
    made = tuple(Caption(text=text, about=about) for about, text in kinds)
    return Clip(id=str(i), path="/", captions=made, audio_type="verbal" if i % 3 else "nonverbal")


CLIPS = [clip(i) for i in range(30)]


@pytest.fixture
def captions():
    return Captions.of(CLIPS)


def epoch(of, captions, seed=0, place=(0, 1), clips=CLIPS):
    return list(epoch_samples(of, captions, clips, seed=seed, place=place))


def test_an_epoch_visits_no_clip_twice_and_drops_what_does_not_fill_a_batch(captions):
    samples = epoch(stage(AUDIO), captions)
    assert [len(s.clips) for s in samples] == [8, 8, 8]
    assert len(set(np.concatenate([s.clips for s in samples]).tolist())) == 24


def test_the_same_place_gives_the_same_samples_and_another_one_others(captions):
    def order(**where):
        return [s.clips.tolist() for s in epoch(stage(AUDIO, VISUAL), captions, **where)]

    assert order() == order()
    assert order() != order(seed=1)
    assert order() != order(place=(0, 2))
    assert order() != order(place=(1, 1))


def test_slava_draws_one_caption_kind_for_a_whole_batch(captions):
    kinds = set()
    for number in range(1, 20):
        for sample in epoch(stage(AUDIO, VISUAL), captions, place=(0, number)):
            found = {captions.kinds[i] for i in sample.captions}
            assert len(found) == 1
            kinds |= found
            other = {"audio": "vt", "visual": "at"}[found.pop()]
            assert set(sample.terms) == {"av", "at", "vt"} - {other}
            assert all(rows.all() for rows in sample.terms.values())
    assert kinds == {"audio", "visual"}


def test_taking_turns_alternates_across_batches_and_epochs(captions):
    of = stage(AUDIO, VISUAL, draw_per="turn")
    kinds = [
        captions.kinds[sample.captions[0]]
        for number in (1, 2)
        for sample in epoch(of, captions, place=(0, number))
    ]
    assert kinds in (["audio", "visual"] * 3, ["visual", "audio"] * 3)


def test_a_draw_per_clip_gives_each_term_the_rows_that_drew_it(captions):
    (sample, *_) = epoch(stage(AUDIO, VISUAL, draw_per="clip", batch_size=30), captions)
    heard = np.array([captions.kinds[i] == "audio" for i in sample.captions])
    assert sample.terms["at"].tolist() == heard.tolist()
    assert sample.terms["vt"].tolist() == (~heard).tolist()
    assert sample.terms["av"].all()
    assert 0 < heard.sum() < 30


def test_every_caption_belongs_to_its_clip(captions):
    for sample in epoch(stage(VISUAL), captions):
        assert captions.owners[sample.captions].tolist() == sample.clips.tolist()


def test_a_stage_without_captions_draws_none(captions):
    (sample, *_) = epoch(stage(Draw(terms=("av",))), captions)
    assert sample.captions is None


def test_fewer_clips_than_a_batch_make_one_smaller_batch(captions):
    of = stage(AUDIO, batch_size=128)
    assert steps_per_epoch(of, 30) == 1
    (sample,) = epoch(of, captions)
    assert sorted(sample.clips.tolist()) == list(range(30))


def test_weights_and_chances_of_draws_are_kept(captions):
    heavy = Draw(captions=("audio",), terms=("av", "at"), weights=(0.5, 2.0), chance=3.0)
    of = stage(heavy, VISUAL, draw_per="clip", batch_size=30)
    counts = 0
    for number in range(1, 41):
        (sample,) = epoch(of, captions, place=(0, number))
        heard = sample.terms["at"].numpy()
        counts += heard.sum()
        assert sample.weights["at"] == 2.0
        assert sample.weights["vt"] == 1.0
        assert sample.weights["av"] == pytest.approx(np.where(heard, 0.5, 1.0).mean())
    assert counts / (30 * 40) == pytest.approx(0.75, abs=0.04)


def test_parts_of_a_batch_are_its_rows_in_order_and_even(captions):
    (sample, *_) = epoch(stage(AUDIO, VISUAL, draw_per="clip", batch_size=11), captions)
    parts = sample.parts(4)
    assert [len(part.clips) for part in parts] == [2, 3, 3, 3]
    assert [part.first for part in parts] == [0, 2, 5, 8]
    assert np.concatenate([part.clips for part in parts]).tolist() == sample.clips.tolist()
    assert np.concatenate([part.captions for part in parts]).tolist() == sample.captions.tolist()
    assert torch.cat([part.texts for part in parts]).equal(sample.texts)
    for term, rows in sample.terms.items():
        assert torch.cat([part.terms[term] for part in parts]).equal(rows)
    assert all(part.weights == sample.weights for part in parts)
    assert [part.first for part in parts[3].parts(3)] == [8, 9, 10]
    assert sample.parts(1)[0].captions.tolist() == sample.captions.tolist()


def test_captions_of_equal_words_have_equal_numbers():
    clips = [
        replace(clip(i), captions=(Caption(text=f"x{i % 3}", about="audio"),)) for i in range(9)
    ]
    clips[4] = replace(clips[4], captions=())
    captions = Captions.of(clips)
    (sample,) = epoch(stage(AUDIO, batch_size=9), captions, clips=clips)
    by_clip = dict(zip(sample.clips.tolist(), sample.texts.tolist(), strict=True))
    assert by_clip[4] == -1
    assert by_clip[0] == by_clip[3] == by_clip[6]
    assert by_clip[1] == by_clip[7]
    assert len({by_clip[0], by_clip[1], by_clip[2]}) == 3
    (bare,) = epoch(stage(Draw(terms=("av",)), batch_size=9), captions, clips=clips)
    assert bare.texts is None


def test_chance_follows_from_the_place_of_a_batch_and_of_its_rows(captions):
    def drawn(sample, **how):
        sample.seed_rng(**how)
        return torch.rand(()).item()

    one, other, *_ = epoch(stage(AUDIO), captions)
    first, second = one.parts(2)
    assert one.place == (0, 0, 1, 0)
    assert drawn(one) == drawn(second) == drawn(first, of_rows=True)
    assert len({drawn(one), drawn(other), drawn(second, of_rows=True)}) == 3
    torch.manual_seed(hash((0, 0, 1, 0)))
    assert torch.rand(()).item() == drawn(one)


# Two corpora in one batch


@pytest.mark.parametrize(
    ("share", "size", "quota"),
    [(0.5, 8, 4), (0.25, 8, 2), (0.0, 8, 0), (1.0, 8, 8), (0.4, 7, 3), (0.6, 5, 3)],
)
def test_every_batch_has_its_share_of_nonverbal_clips_and_none_twice(share, size, quota, captions):
    of = stage(AUDIO, batch_size=size, nonverbal_share=share)
    for number in range(1, 4):
        samples = epoch(of, captions, place=(0, number))
        assert len(samples) == 30 // size
        for sample in samples:
            kinds = [CLIPS[i].audio_type for i in sample.clips]
            assert kinds.count("nonverbal") == quota
            assert len(set(sample.clips.tolist())) == len(kinds) == size
            assert captions.owners[sample.captions].tolist() == sample.clips.tolist()


def test_a_pool_is_gone_through_before_any_of_its_clips_comes_again(captions):
    of = stage(AUDIO, batch_size=6, nonverbal_share=0.5)  # 15 draws from 10 and from 20 clips
    for number in range(1, 9):
        drawn = np.concatenate([s.clips for s in epoch(of, captions, place=(0, number))])
        heard = [i for i in drawn.tolist() if CLIPS[i].audio_type == "nonverbal"]
        assert sorted(heard[:10]) == list(range(0, 30, 3))
        spoken = [i for i in drawn.tolist() if CLIPS[i].audio_type == "verbal"]
        assert len(set(spoken)) == len(spoken) == 15


def test_over_many_epochs_every_clip_of_a_pool_is_drawn_alike(captions):
    of = stage(AUDIO, batch_size=6, nonverbal_share=0.5)
    drawn = [s.clips for n in range(1, 101) for s in epoch(of, captions, place=(0, n))]
    counts = np.bincount(np.concatenate(drawn), minlength=30)
    assert counts[::3].sum() == counts.sum() / 2 == 1500
    assert np.abs(counts[::3] - 150).max() < 25  # once an epoch, and half the time once more
    others = np.delete(counts, np.arange(0, 30, 3))
    assert np.abs(others - 75).max() < 25


def test_mixed_batches_are_a_function_of_their_place(captions):
    of = stage(AUDIO, nonverbal_share=0.5)

    def order(**where):
        return [s.clips.tolist() for s in epoch(of, captions, **where)]

    assert order() == order()
    assert len({str(order(**where)) for where in ({}, {"seed": 1}, {"place": (0, 2)})}) == 3


def test_clips_that_are_not_nonverbal_fill_the_rest_whatever_they_are():
    sounds = ("nonverbal", "verbal", "both", None)
    clips = [replace(clip(i), audio_type=sounds[i % 4]) for i in range(20)]
    of = stage(AUDIO, batch_size=20, nonverbal_share=0.25)
    (sample,) = epoch(of, Captions.of(clips), clips=clips)
    assert sorted(sample.clips.tolist()) == list(range(20))


@pytest.mark.parametrize(
    ("share", "size", "told"),
    [
        (0.5, 24, r"Stage 's' wants 12 nonverbal clips.*there are 10.*--stages.N.nonverbal-share"),
        (0.0, 24, r"Stage 's' wants 24 other clips.*there are 20.*--stages.N.batch-size"),
    ],
)
def test_a_share_that_the_clips_cannot_fill_is_refused(share, size, told, captions):
    with pytest.raises(UserError, match=told):
        epoch(stage(AUDIO, batch_size=size, nonverbal_share=share), captions)


# Masks


@pytest.mark.parametrize("term", ["aa", "mt"])
def test_terms_of_masked_sound_give_an_epoch_the_number_of_its_masks(term, captions):
    of = stage(Draw(captions=("audio",), terms=("at", term)))

    def numbers(**where):
        return {sample.masking for sample in epoch(of, captions, **where)}

    places = [{}, {"seed": 1}, {"place": (0, 2)}, {"place": (1, 1)}, {"seed": 1, "place": (0, 2)}]
    found = [numbers(**where) for where in places]
    assert all(len(one) == 1 for one in found)
    assert len(set.union(*found)) == len(places)
    assert numbers() == found[0]


def test_the_number_of_the_masks_does_not_depend_on_the_batches(captions):
    masked = Draw(captions=("audio",), terms=("aa",))
    sizes = [epoch(stage(masked, batch_size=size), captions)[0].masking for size in (4, 8, 30)]
    mixed = epoch(stage(masked, nonverbal_share=0.5), captions)[0].masking
    assert len({*sizes, mixed}) == 1


def test_nothing_is_masked_where_no_term_asks_for_it(captions):
    assert {sample.masking for sample in epoch(stage(AUDIO), captions)} == {None}
    turns = stage(AUDIO, Draw(terms=("aa",)), draw_per="turn")
    masked = [sample.masking is not None for sample in epoch(turns, captions)]
    assert sorted(masked) in ([False, False, True], [False, True, True])


# Several captions of a clip


@pytest.mark.parametrize("count", [2, 3, 9])
def test_a_clip_has_as_many_different_captions_as_asked_for_and_there(count, captions):
    both = Draw(captions=("audio", "visual"), terms=("av", "at", "vt"))
    for sample in epoch(stage(both, captions_per_clip=count), captions):
        clips, drawn = sample.clips.tolist(), sample.captions.tolist()
        assert len(set(clips[:8])) == 8
        assert len(set(drawn)) == len(drawn)
        assert all(clips.count(clip) == min(count, 3) for clip in clips)
        assert [captions.owners[one] for one in drawn] == clips == sample.owners.tolist()
        assert sample.terms["at"].all()
        assert sample.terms["av"].tolist() == [True] * 8 + [False] * (len(clips) - 8)
        assert sample.texts.tolist() == captions.wordings[drawn].tolist()


def test_other_captions_are_of_the_kinds_of_the_draw_and_clips_without_have_none(captions):
    for sample in epoch(stage(VISUAL, captions_per_clip=3), captions):
        assert {captions.kinds[one] for one in sample.captions} == {"visual"}
        assert len(sample.clips) == 16
    bare = [replace(one, captions=one.captions[:1]) for one in CLIPS]
    for sample in epoch(stage(VISUAL, captions_per_clip=3), Captions.of(bare), clips=bare):
        assert sample.captions.tolist() == sample.owners.tolist() == [-1] * 8


def test_each_clip_draws_others_of_its_own_draw(captions):
    mixed = stage(AUDIO, VISUAL, draw_per="clip", captions_per_clip=2)
    for sample in epoch(mixed, captions):
        for i, clip in enumerate(sample.clips.tolist()):
            kinds = {captions.kinds[c] for c in sample.captions[sample.clips == clip]}
            assert len(kinds) == 1
            assert bool(sample.terms["vt"][i]) == (kinds == {"visual"})


def test_one_caption_a_clip_is_drawn_as_before(captions):
    once = epoch(stage(AUDIO, VISUAL, draw_per="clip"), captions)
    several = epoch(stage(AUDIO, VISUAL, draw_per="clip", captions_per_clip=2), captions)
    assert all(sample.owners is None for sample in once)
    assert np.array_equal(once[0].clips, several[0].clips[:8])
    assert np.array_equal(once[0].captions, several[0].captions[:8])


def test_parts_keep_the_owners_of_their_captions(captions):
    (sample, *_) = epoch(stage(VISUAL, captions_per_clip=2), captions)
    parts = sample.parts(3)
    assert torch.cat([part.owners for part in parts]).tolist() == sample.owners.tolist()
