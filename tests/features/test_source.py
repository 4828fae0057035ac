from dataclasses import replace

import numpy as np
import pytest
import torch

from trichord.features.extraction import extract_media, extract_texts
from trichord.features.source import (
    Captions,
    FeatureSource,
    MediaSource,
    audio_type_of,
    portions,
)
from trichord.features.store import FeatureFolder
from trichord.types import Caption, Clip, UserError

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
    assert batch.precomputed
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
    with pytest.raises(UserError, match=r"no \w+ features of 'c'.*trichord extract"):
        FeatureSource(captioned, tiny_model, folder)


def test_clips_without_any_caption_are_a_source_too(tiny_model, captioned, fill):
    bare = [captioned[1]]
    source = FeatureSource(bare, tiny_model, fill(tiny_model, bare))
    assert not source.batch(np.array([0]), np.array([-1])).text.mask.any()


def test_portions_cover_each_number_once():
    assert [p.tolist() for p in portions(5, 2)] == [[0, 1], [2, 3], [4]]
    assert list(portions(0, 2)) == []


# Media


def filmed(name, *, audio_type=None, text="a bell rings"):
    captions = (Caption(text=text, about="audio"),) if text else ()
    return Clip(id=name, path=f"/made/up/{name}.mp4", captions=captions, audio_type=audio_type)


CLIPS = (
    filmed("a", audio_type="verbal"),
    filmed("b", audio_type="nonverbal", text="a low bell rings slowly"),
    filmed("silent-c", text=None),
    filmed("dark-d", audio_type="both", text="someone says good morning"),
    filmed("e"),
)
EACH = np.arange(5)


@pytest.fixture
def model(tiny_clip4vla):
    """CLIP4VLA's audio tower beside CLIP's, with a token per clip."""
    torch.manual_seed(0)
    audio_type = replace(tiny_clip4vla.audio, token="clip")
    return replace(tiny_clip4vla, audio=audio_type).build().eval()


@pytest.fixture
def media(model, made_up):
    """Sources of the clips above that share nothing but the model."""

    def source(clips=CLIPS, **options):
        return MediaSource(clips, model, made_up, **options)

    return source


def row(padded, number):
    return padded.values[number][padded.mask[number]]


def test_media_give_what_each_clip_has(media, model, made_up):
    batch = media().batch(np.array([1, 2, 3]), np.array([1, -1, 2]))
    assert batch.ids == ("b", "silent-c", "dark-d")
    assert batch.audio.present.tolist() == [True, False, True]
    assert batch.vision.present.tolist() == [True, True, False]
    assert batch.text.present.tolist() == [True, False, True]
    assert (batch.masked, batch.precomputed) == (None, ())
    decoded = made_up.hold("b", model.plan)
    assert torch.equal(row(batch.audio, 0), model.audio.prepare(decoded.audio[16_000]))
    assert torch.equal(row(batch.vision, 0), model.vision.prepare(decoded.frames))
    ids = model.text.prepare(["a low bell rings slowly", "someone says good morning"])
    assert torch.equal(batch.text.values[[0, 2], 0, : ids.shape[1]], ids)
    assert media().batch(EACH, None).text is None


def test_each_clip_has_its_place_between_verbal_and_nonverbal(media):
    assert [audio_type_of(clip) for clip in CLIPS] == [0.0, 1.0, 0.5, 0.5, 0.5]
    assert media().batch(np.array([1, 0, 4]), None).audio_type.tolist() == [1.0, 0.0, 0.5]


def test_what_was_decoded_is_kept(media, made_up):
    source = media()
    first = source.batch(np.array([0, 3]), None)
    again = source.batch(np.array([3, 4, 0]), None)
    source.batch(EACH, None)
    assert [name for name, _ in made_up.asked] == ["a", "dark-d", "e", "b", "silent-c"]
    assert torch.equal(row(again.audio, 0), row(first.audio, 1))
    assert torch.equal(row(again.vision, 2), row(first.vision, 0))


def test_what_does_not_fit_into_memory_is_decoded_each_time(media, model, made_up, monkeypatch):
    sizes = []
    for clip in CLIPS:
        decoded = made_up.hold(clip.id, model.plan)
        sizes.append(model.spectrogram(decoded).nbytes + model.vision_inputs(decoded).nbytes)
    monkeypatch.setattr("trichord.features.source.CACHE_BYTES", sizes[0] + sizes[1])
    source = media()
    whole = source.batch(EACH, None)
    again = source.batch(EACH, None)
    named = [name for name, _ in made_up.asked]
    kept = {clip.id for clip in CLIPS if named.count(clip.id) == 1}
    assert kept >= {"a", "b"}
    assert sum(size for clip, size in zip(CLIPS, sizes, strict=True) if clip.id in kept) <= sum(
        sizes[:2]
    )
    assert named.count("e") == 2
    for modality in ("audio", "vision"):
        assert torch.equal(whole.of(modality).values, again.of(modality).values)


@pytest.mark.parametrize(
    "modalities", [("audio",), ("vision",), ("text", "audio"), ("text", "vision")]
)
def test_only_what_is_wanted_is_decoded_and_given(modalities, media, made_up):
    batch = media(modalities=modalities).batch(EACH, np.array([0, 1, -1, 2, 3]))
    for name in ("text", "audio", "vision"):
        assert (batch.of(name) is not None) == (name in modalities)
    (plan,) = {plan for _, plan in made_up.asked}
    assert bool(plan.rates) == ("audio" in modalities)
    assert (plan.frames is not None) == ("vision" in modalities)


# Masks


def masked_rows(source, numbers, masking):
    batch = source.batch(np.array(numbers), None, masking)
    return {name: row(batch.masked, i) for i, name in enumerate(batch.ids)}


def test_masks_depend_on_their_number_and_the_clip_alone(media):
    alone, source = media(), media()
    expected = {}
    for number in (0, 1, 3, 4):
        expected |= masked_rows(alone, [number], 7)
    masked_rows(source, [2, 1], 8)  # what came before makes no difference
    for numbers in ([0, 1, 2, 3, 4], [4, 0], [3, 1]):
        for name, found in masked_rows(source, numbers, 7).items():
            if name != "silent-c":
                assert torch.equal(found, expected[name])


def test_another_number_hides_something_else_and_so_does_another_clip(media):
    one, other = (masked_rows(media(), [0, 1, 3, 4], masking) for masking in (7, 8))
    assert all(not torch.equal(one[name], other[name]) for name in one)
    namesake = replace(CLIPS[0], id="another a")
    (first, second) = masked_rows(media((CLIPS[0], namesake)), [0, 1], 7).values()
    assert not torch.equal(first, second)


def test_numbers_of_masks_are_the_same_in_every_process():
    from trichord.features.source import _random

    drawn = _random(7, "clip ä").integers(1_000_000, size=3).tolist()
    assert drawn == [836717, 385975, 593756]


def test_the_masked_copy_stands_beside_the_sound_as_it_is(media, model):
    source = media()
    batch = source.batch(EACH, None, 7)
    assert torch.equal(batch.audio.values, source.batch(EACH, None).audio.values)
    assert torch.equal(batch.masked.mask, batch.audio.mask)
    assert not batch.masked.present[2]
    assert not torch.equal(batch.masked.values, batch.audio.values)
    with torch.inference_mode():
        found = model(batch)
    assert found.masked.present.tolist() == [True, True, False, True, True]
    assert torch.isfinite(found.masked.pooled).all()


def test_masked_sound_is_never_read_from_the_cache(model, cached, media):
    for source in (cached(), media(modalities=("vision",), cached=cached(("text", "audio")))):
        assert source.batch(EACH, None).audio is not None
        with pytest.raises(UserError, match=r"masked audio.*towers.*--from media"):
            source.batch(EACH, None, 7)


def test_a_tower_without_a_masked_view_says_which_one_has_it(tiny_model, made_up):
    with pytest.raises(UserError, match=r"'aa' and 'mt' need CLIP4VLA's audio encoder"):
        MediaSource(CLIPS, tiny_model, made_up).batch(EACH, None, 7)


# Cached and fresh together


@pytest.fixture
def cached(model, made_up, tmp_path):
    """Everything of the clips above, extracted; gives sources of some modalities."""

    def source(modalities=("text", "audio", "vision"), of=model):
        folder = FeatureFolder(tmp_path / "cache")
        texts = [caption.text for clip in CLIPS for caption in clip.captions]
        list(extract_texts(of, texts, folder))
        list(extract_media(of, CLIPS, folder, made_up))
        return FeatureSource(CLIPS, of, folder, modalities)

    return source


CAPTIONS = np.array([0, 1, -1, 2, 3])


@torch.inference_mode()
def embedded(model, source, masking=None):
    found = model(source.batch(EACH, CAPTIONS, masking))
    texts = source.texts(np.arange(4), "vision")
    read = texts if "text" in source.precomputed else model.text.trunk_features(texts)
    return found, model.text(read).pooled


def same_embeddings(one, other):
    for name in ("text", "audio", "vision"):
        assert one.of(name).present.tolist() == other.of(name).present.tolist()
        for part in ("pooled", "steps"):
            first, second = getattr(one.of(name), part), getattr(other.of(name), part)
            torch.testing.assert_close(first, second, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "fresh", [("audio",), ("vision",), ("text",), ("text", "audio"), ("audio", "vision")]
)
def test_cached_and_fresh_together_give_what_media_alone_give(fresh, model, cached, media):
    held = tuple(name for name in ("text", "audio", "vision") if name not in fresh)
    mixed = media(modalities=fresh, cached=cached(held))
    assert mixed.precomputed == held
    one, texts = embedded(model, mixed)
    other, expected = embedded(model, media())
    same_embeddings(one, other)
    torch.testing.assert_close(texts, expected, atol=1e-5, rtol=0)


def test_masked_sound_comes_from_media_while_the_rest_is_cached(model, cached, media):
    mixed = media(modalities=("audio",), cached=cached(("text", "vision")))
    one, _ = embedded(model, mixed, 7)
    other, _ = embedded(model, media(), 7)
    torch.testing.assert_close(one.masked.pooled, other.masked.pooled, atol=1e-5, rtol=0)
    assert mixed.batch(EACH, None).masked is None


def test_the_cache_alone_gives_the_same_with_each_clips_token(model, cached, media):
    one, texts = embedded(model, cached())
    other, expected = embedded(model, media())
    same_embeddings(one, other)
    torch.testing.assert_close(texts, expected, atol=1e-5, rtol=0)


def test_the_words_of_a_caption_come_from_the_cache_as_from_media(tiny_clip4vla, cached, made_up):
    settings = replace(tiny_clip4vla, text=replace(tiny_clip4vla.text, tokens=True, longest=6))
    torch.manual_seed(0)
    wordy = settings.build().eval()
    one, texts = embedded(wordy, cached(of=wordy))
    other, expected = embedded(wordy, MediaSource(CLIPS, wordy, made_up))
    same_embeddings(one, other)
    torch.testing.assert_close(texts, expected, atol=1e-5, rtol=0)
    assert one.text.mask.sum(dim=1).tolist() == [5, 6, 0, 6, 5]


def test_a_source_of_some_modalities_leaves_the_others_out(model, cached):
    source = cached(("audio",))
    assert source.precomputed == ("audio",)
    batch = source.batch(EACH, CAPTIONS)
    assert batch.text is None
    assert batch.vision is None
    assert batch.audio.present.tolist() == [True, True, False, True, True]
