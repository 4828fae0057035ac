import numpy as np
import pytest

from trichord.config import Draw, Stage
from trichord.features.source import Captions
from trichord.training.sampler import epoch_samples, steps_per_epoch
from trichord.types import Caption, Clip

AUDIO = Draw(captions=("audio",), terms=("av", "at"))
VISUAL = Draw(captions=("visual",), terms=("av", "vt"))


def stage(*draws, **changes):
    return Stage(
        name="s", trains=("text",), draws=draws, criterion=(), **{"batch_size": 8} | changes
    )


@pytest.fixture
def captions():
    def clip(i):
        kinds = (("audio", f"heard {i}"), ("visual", f"seen {i}"), ("visual", f"also seen {i}"))
        made = tuple(Caption(text=text, about=about) for about, text in kinds)
        return Clip(id=str(i), path="/", captions=made)

    return Captions.of([clip(i) for i in range(30)])


def epoch(of, captions, seed=0, place=(0, 1)):
    return list(epoch_samples(of, captions, 30, seed=seed, place=place))


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
