from dataclasses import replace

import numpy as np
import pytest

from trichord.evaluation.gallery import CaptionVectors, ClipVectors, Mean, Weights
from trichord.evaluation.retrieval import TASKS, evaluate, recalls_at
from trichord.evaluation.vectors import embed_source
from trichord.types.comparable import ALL_PAIRS


def by_name(vectors, **options):
    return {result.name: result for result in evaluate(vectors, **options)}


def captions(owner, vectors):
    vectors = np.asarray(vectors, dtype=np.float32)
    return CaptionVectors(tuple("abcdefgh"[: len(owner)]), np.array(owner), vectors, vectors)


@pytest.fixture
def four():
    """Four clips along four axes; 2 has no sound, 3 no picture."""
    axes = np.eye(4, dtype=np.float32)
    return ClipVectors(
        ids=("a", "b", "c", "d"),
        vision=axes,
        has_vision=np.array([True, True, True, False]),
        audio=axes[[1, 0, 2, 3]],  # the sounds of a and b are swapped
        has_audio=np.array([True, True, False, True]),
        captions={"visual": captions([0, 0, 3], axes[[0, 1, 3]] + 0.1)},
    )


def test_the_first_seven_tasks_are_the_papers_in_its_order():
    assert [task.number for task in TASKS] == [1, 2, 3, 4, 5, 6, 7, *[None] * 6]
    assert [task.name for task in TASKS[:7]] == [
        "visual<-visual",
        "visual<-audio",
        "visual<-audio_visual",
        "audio<-audio",
        "audio<-visual",
        "audio<-audio_visual",
        "visual<-sound",
    ]


def test_captions_of_clips_without_the_modality_are_not_asked(four):
    found = by_name(four)["visual<-visual"]
    assert tuple(found.sizes.values()) == (2, 3)  # d has no picture: neither gallery nor query
    assert found.estimates["R@1"].value == 0.5  # the second caption of a points at b
    assert found.numbers["mean rank"] == 2  # ranks 1 and 3: behind b, and c ties with a
    found = by_name(four)["audio<-visual"]
    assert tuple(found.sizes.values()) == (3, 3)  # c has no sound, d has


def test_sound_asks_for_pictures_among_all_clips_with_a_picture(four):
    found = by_name(four)["visual<-sound"]
    assert tuple(found.sizes.values()) == (2, 3)
    assert found.estimates["R@1"].value == 0
    assert found.estimates["R@5"].value == 1
    back = by_name(four)["visual->sound"]
    assert tuple(back.sizes.values()) == (2, 2)
    assert all(back.estimates[f"hit@{k}"] == back.estimates[f"recall@{k}"] for k in (1, 5, 10))


def test_a_task_without_queries_is_absent_not_zero(four):
    found = by_name(four)["visual<-composed"]
    assert found.sizes == {"queries": 0, "gallery": 3}
    assert (found.estimates, found.numbers) == ({}, {})
    assert "visual->composed" not in by_name(four)


def test_clips_without_captions_of_the_kind_stay_in_the_gallery_and_are_not_asked_back(four):
    assert by_name(four)["visual->visual"].sizes == {"queries": 1, "gallery": 2}


def test_no_modality_at_all_is_absent_too(four):
    blind = replace(four, has_vision=np.zeros(4, dtype=bool))
    found = by_name(blind)["visual<-sound"]
    assert (found.sizes["gallery"], found.estimates, found.chance) == (0, {}, {})


def test_each_gallery_is_searched_with_the_texts_own_vector_toward_it(four):
    axes = np.eye(4, dtype=np.float32)
    toward = CaptionVectors(("one",), np.array([0]), axes[[0]], axes[[1]])
    found = by_name(replace(four, captions={"audio_visual": toward}))
    assert found["visual<-audio_visual"].estimates["R@1"].value == 1
    assert found["audio<-audio_visual"].estimates["R@1"].value == 1
    swapped = replace(toward, toward_vision=axes[[1]], toward_audio=axes[[0]])
    found = by_name(replace(four, captions={"audio_visual": swapped}))
    assert found["visual<-audio_visual"].estimates["R@1"].value == 0
    assert found["audio<-audio_visual"].estimates["R@1"].value == 0


def test_the_two_galleries_may_live_in_spaces_of_unlike_width(four):
    wide = np.pad(four.audio, ((0, 0), (0, 3)))
    texts = four.captions["visual"]
    apart = replace(texts, toward_audio=np.pad(texts.toward_audio, ((0, 0), (0, 3))))
    found = by_name(
        replace(
            four,
            audio=wide,
            captions={"visual": apart},
            comparable=ALL_PAIRS - {("audio", "vision")},
        )
    )
    before = by_name(four)
    for name in ("visual<-visual", "audio<-visual"):
        assert found[name] == before[name]
    assert not found["visual<-sound"].estimates


def test_collapsed_embeddings_score_nothing_on_any_task(clips):
    vectors = clips()
    flat = {}
    for kind, texts in vectors.captions.items():
        alike = np.ones_like(texts.toward_vision)
        flat[kind] = replace(texts, toward_vision=alike, toward_audio=alike)
    ones = np.ones((30, 16), dtype=np.float32)
    results = by_name(replace(vectors, vision=ones, audio=ones, captions=flat))
    answered = [result for result in results.values() if "R@1" in result.estimates]
    assert len(answered) == 7
    for result in answered:
        assert result.estimates["R@1"].value == result.estimates["R@10"].value == 0
        assert results[result.name.replace("<-", "->")].estimates["hit@1"].value == 0


def test_near_captions_are_found_better_than_chance(clips):
    found = by_name(clips(noise=0.5))
    for name in ("visual<-visual", "audio<-audio_visual", "visual<-sound"):
        assert found[name].estimates["R@10"].low > found[name].chance["R@10"]


def test_absent_rows_are_never_read(clips):
    vectors = clips()
    other = vectors.vision.copy()
    other[0] = 7.0
    assert evaluate(vectors) == evaluate(replace(vectors, vision=other))


def test_broken_vectors_are_refused_by_the_clips_name(clips):
    vectors = clips()
    broken = vectors.vision.copy()
    broken[5] = np.nan
    with pytest.raises(
        ValueError, match="1 vision vectors are zero or not finite, such as 'clip005'"
    ):
        replace(vectors, vision=broken)
    texts = vectors.captions["audio"]
    with pytest.raises(ValueError, match=r"audio caption vectors .* 'audio 0 of 0'"):
        replace(vectors, captions={"audio": replace(texts, toward_audio=texts.toward_audio * 0)})


def test_rows_that_do_not_fit_are_refused(four):
    with pytest.raises(ValueError, match="3 clip ids, but 4 rows"):
        replace(four, ids=("a", "b", "c"))
    with pytest.raises(ValueError, match="ids repeat"):
        replace(four, ids=("a", "a", "b", "c"))
    with pytest.raises(ValueError, match="belongs to no clip"):
        replace(four, captions={"visual": captions([4], np.ones((1, 4)))})
    with pytest.raises(ValueError, match="1 caption texts, but 3 owners"):
        replace(four.captions["visual"], texts=("one",))


def test_sounds_and_pictures_of_two_spaces_are_not_compared(four):
    apart = replace(four, comparable=ALL_PAIRS - {("audio", "vision")})
    found = by_name(apart)
    assert not found["visual<-sound"].estimates
    assert found["visual<-visual"] == by_name(four)["visual<-visual"]


def test_an_epoch_is_chosen_by_the_same_recall_without_intervals(clips):
    vectors = clips(noise=2.0)
    names = ["visual<-sound", "audio<-visual", "visual<-composed"]
    found = recalls_at(5, vectors, names)
    whole = by_name(vectors)
    assert found == {
        name: whole[name].estimates["R@5"].value for name in names[:2]
    }  # none is composed
    assert 0 < found["visual<-sound"] < 1


def test_a_task_that_does_not_exist_is_refused_with_those_that_do(four):
    with pytest.raises(ValueError, match=r"No such task: visual; there are visual<-visual, "):
        recalls_at(10, four, ["visual"])


CLIP_TASKS = [task.name for task in TASKS if task.gallery == "clip"]


def test_text_asks_for_clips_only_where_something_fuses_them(four):
    assert CLIP_TASKS == ["clip<-visual", "clip<-audio", "clip<-audio_visual", "clip<-composed"]
    assert list(by_name(four))[:9] == [task.name for task in TASKS[:9]]
    assert not any("clip" in name for name in by_name(four))
    assert list(by_name(replace(four, fused=Mean())))[:13] == [task.name for task in TASKS]
    assert recalls_at(1, four, CLIP_TASKS) == {}


def test_a_clip_is_found_by_the_mean_of_its_sight_and_sound(four):
    """Vectors by hand: a (x+y)/2, b (x+y)/2, c z, d w; the captions are about x, y and w."""
    axes = np.eye(4, dtype=np.float32)
    fused = replace(four, fused=Mean(), captions={"visual": captions([0, 0, 3], axes[[0, 1, 3]])})
    found, back = (by_name(fused)[name] for name in ("clip<-visual", "clip->visual"))
    assert tuple(found.sizes.values()) == (3, 4)  # no clip has neither
    assert found.estimates["R@1"].value == pytest.approx(1 / 3)  # b ties with a; d is alone
    assert found.numbers["mean rank"] == pytest.approx((2 + 2 + 1) / 3)
    assert tuple(back.sizes.values()) == (2, 3)
    assert back.estimates["hit@1"].value == 1
    assert back.estimates["recall@1"].value == pytest.approx((1 / 2 + 1) / 2)


def test_weights_decide_what_a_fused_clip_is_found_by(four):
    axes = np.eye(4, dtype=np.float32)
    asked = {"visual": captions([0, 1], axes[[0, 1]])}  # by what a and b look like
    for weights, recall in ((Weights(visual_weight=2.0), 1), (Weights(audio_weight=2.0), 0)):
        fused = replace(four, fused=Mean(weights=weights), captions=asked)
        assert by_name(fused)["clip<-visual"].estimates["R@1"].value == recall


def test_fused_clips_stand_where_a_full_sort_of_means_puts_them(clips):
    vectors = replace(clips(noise=2.0), fused=Mean())
    kind = vectors.captions["audio_visual"]
    whole = np.where(vectors.has_vision[:, None], vectors.vision, 0)
    heard = np.where(vectors.has_audio[:, None], vectors.audio, 0)
    length = [np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-30) for v in (whole, heard)]
    number = (vectors.has_vision.astype(int) + vectors.has_audio)[:, None]
    means = (whole / length[0] + heard / length[1]) / number
    texts = kind.toward_vision / np.linalg.norm(kind.toward_vision, axis=1, keepdims=True)
    scores = texts @ means.T
    rank = (scores >= scores[np.arange(len(texts)), kind.owner][:, None]).sum(axis=1)
    found = by_name(vectors)["clip<-audio_visual"]
    assert found.numbers["mean rank"] == pytest.approx(rank.mean())
    assert found.estimates["R@10"].value == pytest.approx((rank <= 10).mean())
    assert recalls_at(10, vectors, ["clip<-audio_visual"]) == {
        "clip<-audio_visual": found.estimates["R@10"].value
    }


def test_captions_of_clips_without_sight_and_sound_are_not_asked(four):
    lost = replace(four, fused=Mean(), has_audio=np.array([True, True, False, False]))
    found = by_name(lost)["clip<-visual"]
    assert tuple(found.sizes.values()) == (2, 3)


def test_a_sound_that_has_attended_to_its_picture_does_not_ask_for_it(clips):
    vectors = clips()
    found = by_name(replace(vectors, mingled=True, fused=Mean()))
    assert not found["visual<-sound"].estimates
    assert found["visual<-visual"].estimates
    assert found["clip<-visual"].estimates


@pytest.mark.parametrize("level", ["tight", "local_to_local"])
def test_pairs_stand_where_a_full_sort_of_their_scores_puts_them(
    level, fused_model, feature_source
):
    model = fused_model(level)
    found = embed_source(model, feature_source(model))
    texts = found.captions["audio_visual"]
    there = np.flatnonzero(found.present("clip"))
    asked = np.flatnonzero(np.isin(texts.owner, there))
    assert len(asked) == 5
    assert len(texts.owner) == 6  # one is of a clip without anything
    held = found.scores("clip", "audio_visual", asked, there)
    scores = held.block(slice(0, 5), slice(0, 5))
    own = np.searchsorted(there, texts.owner[asked])
    rank = 1 + (scores > scores[np.arange(5), own][:, None]).sum(axis=1)
    result = by_name(found)["clip<-audio_visual"]
    assert tuple(result.sizes.values()) == (5, 5)
    assert result.numbers["mean rank"] == pytest.approx(rank.mean())
    assert rank.max() > 1
    back = [1 + (column[own != clip] > column[own == clip].max()).sum() for clip, column in
            enumerate(scores.T) if clip in own]  # fmt: skip
    reverse = by_name(found)["clip->audio_visual"].estimates["hit@1"]
    assert reverse.value == pytest.approx(np.mean(np.array(back) == 1))
    assert recalls_at(1, found, ["clip<-audio_visual"]) == {
        "clip<-audio_visual": result.estimates["R@1"].value
    }


def test_tasks_that_are_not_asked_cost_no_pairs(fused_model, feature_source):
    told = []
    model = fused_model("tight")
    found = embed_source(model, feature_source(model), after_pairs=told.append)
    recalls_at(10, found, ["visual<-visual", "audio<-audio", "clip<-composed"])
    assert told == []
    recalls_at(10, found, ["clip<-visual"])
    assert sum(told) == 5  # one caption, five clips
