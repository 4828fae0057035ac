import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from trichord.models.cross import CrossTransformer
from trichord.models.fusion import (
    GlobalToGlobalFusion,
    GlobalToLocalFusion,
    LocalToLocalFusion,
    TightSequenceFusion,
)
from trichord.types.tensors import Features

DIM, POSITIONS = 16, 24
TEXT_SLOTS, FRAME_SLOTS = 6, 5
TEXTS, FRAMES, SEGMENTS = [4, 2, 6], [5, 3, 0, 1, 0], [2, 0, 4, 1, 0]
NEITHER = 4  # the last clip has no sight and no sound


def cross(form="clip", seed=0, dropout=0.1):
    """A transformer whose weights are large enough for every part of it to matter."""
    torch.manual_seed(seed)
    model = CrossTransformer(
        form=form, dim=DIM, layers=2, heads=4, inner=24, positions=POSITIONS, dropout=dropout
    ).eval()
    for value in model.parameters():
        nn.init.normal_(value, std=0.3)
    return model


def features(lengths, seed, width=None):
    """Features with so many steps a row; what padding holds is not a number."""
    torch.manual_seed(seed)
    width = width or max(lengths)
    steps = torch.randn(len(lengths), max(lengths), DIM)
    steps = F.pad(steps, (0, 0, 0, width - max(lengths)))
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    pooled = torch.stack([F.normalize(torch.randn(DIM), dim=-1) * (n > 0) for n in lengths])
    return Features(pooled, steps.masked_fill(~mask.unsqueeze(-1), float("nan")), mask)


def batch(widths=(None, None, None)):
    rows = zip((TEXTS, FRAMES, SEGMENTS), (1, 2, 3), widths, strict=True)
    return tuple(features(lengths, seed, width) for lengths, seed, width in rows)


def build(kind, form="clip"):
    model = cross(form)
    if kind == "global_to_local":
        return GlobalToLocalFusion(model, frame_slots=FRAME_SLOTS).eval()
    if kind == "tight_sequence":
        return TightSequenceFusion(model, frame_slots=FRAME_SLOTS).eval()
    slots = {"text_slots": TEXT_SLOTS, "frame_slots": FRAME_SLOTS}
    return LocalToLocalFusion(model, **slots).eval()


PAIRS = ["tight_sequence", "local_to_local"]
WITH_CROSS = ["global_to_local", *PAIRS]


def alone(model, parts, starts):
    """One sequence without padding through the transformer; parts are (steps, type)."""
    types = torch.cat([torch.full((len(steps),), kind) for steps, kind in parts])
    positions = torch.cat(
        [torch.arange(len(steps)) + start for (steps, _), start in zip(parts, starts, strict=True)]
    )
    sequence = torch.cat([steps for steps, _ in parts])[None]
    mask = torch.ones(sequence.shape[:2], dtype=torch.bool)
    return model(sequence, types, mask, positions)[0]


def pair_score(model, asked, frames, segments, slots):
    """What a pair fusion gives for one text and one clip."""
    starts = (0, slots, slots + FRAME_SLOTS)
    hidden = alone(model, [(asked, 0), (frames, 1), (segments, 2)], starts)
    first = hidden[0]
    if model.form == "bert":
        first = torch.tanh(model.pooler[0](first))
    return (first @ model.similarity.weight[0] + model.similarity.bias[0]).item()


def direction(vectors):
    units = [vector / vector.norm() for vector in vectors]
    mean = torch.stack(units).mean(0)
    return mean / mean.norm()


# Global to global


def hand_made():
    """Cosines 0.8 and 0.6 of one text with sight, 0.6 and 0.28 with sound; the second is silent."""
    text = Features(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 1, 2), torch.tensor([[True]]))
    vision = Features(
        torch.tensor([[0.8, 0.6], [0.6, -0.8], [0.0, 0.0]]),
        torch.zeros(3, 1, 2),
        torch.tensor([[True], [True], [False]]),
    )
    audio = Features(
        torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, 0.0]]),
        torch.zeros(3, 1, 2),
        torch.tensor([[True], [False], [False]]),
    )
    return text, vision, audio


@pytest.mark.parametrize(
    ("absent", "sight", "sound", "expected"),
    [
        ("masked", 1.0, 1.0, [(0.8 + 0.6) / 2, 0.6, 0.0]),
        ("zeros", 1.0, 1.0, [(0.8 + 0.6) / 2, 0.3, 0.0]),
        ("masked", 3.0, 1.0, [(3 * 0.8 + 0.6) / 4, 0.6, 0.0]),
        ("zeros", 3.0, 1.0, [(3 * 0.8 + 0.6) / 4, 3 * 0.6 / 4, 0.0]),
        ("masked", 0.0, 2.0, [0.6, 0.0, 0.0]),
        ("masked", 0.5, 0.0, [0.8, 0.6, 0.0]),
    ],
)
def test_global_to_global_is_the_weighted_mean_of_what_is_there(absent, sight, sound, expected):
    found = GlobalToGlobalFusion(absent=absent)(
        *hand_made(), visual_weight=sight, audio_weight=sound
    )
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_the_mean_of_sight_and_sound_is_not_normalised_again():
    text, vision, audio = hand_made()
    mean = (vision.pooled[0] + audio.pooled[0]) / 2
    assert mean.norm() < 0.99
    assert GlobalToGlobalFusion()(text, vision, audio)[0, 0] == pytest.approx(
        (text.pooled[0] @ mean).item()
    )


@pytest.mark.parametrize("absent", ["masked", "zeros"])
def test_a_modality_that_no_clip_has_is_as_good_as_masked(absent):
    text, vision, audio = hand_made()
    silent = Features(torch.zeros_like(audio.pooled), audio.steps, torch.zeros_like(audio.mask))
    fusion = GlobalToGlobalFusion(absent=absent)
    assert torch.equal(fusion(text, vision, None), fusion(text, vision, silent))


def test_global_to_global_leaves_media_as_they_are():
    _, vision, audio = hand_made()
    assert GlobalToGlobalFusion().media(vision, audio) == (vision, audio)
    assert GlobalToGlobalFusion().media(None, audio) == (None, audio)


def test_which_fusions_can_fill_an_index():
    assert GlobalToGlobalFusion.indexable
    assert build("global_to_local").indexable
    assert not build("tight_sequence").indexable
    assert not build("local_to_local").indexable


# Global to local


@pytest.mark.parametrize("form", ["clip", "bert"])
@torch.no_grad()
def test_global_to_local_is_each_clip_alone_through_the_transformer(form):
    fusion = build("global_to_local", form)
    text, vision, audio = batch()
    seen, heard = fusion.media(vision, audio)
    expected = torch.zeros(len(TEXTS), len(FRAMES))
    for i, (n, m) in enumerate(zip(FRAMES, SEGMENTS, strict=True)):
        if i == NEITHER:
            continue
        parts = [(vision.steps[i, :n], 1), (audio.steps[i, :m], 2)]
        hidden = alone(fusion.cross, parts, (0, FRAME_SLOTS))
        vectors = []
        for got, steps in ((seen, hidden[:n]), (heard, hidden[n:])):
            if len(steps):
                vectors.append(direction(steps))
                torch.testing.assert_close(got.pooled[i], vectors[-1], atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(got.steps[i, : len(steps)], steps, atol=1e-5, rtol=1e-5)
            else:
                assert not got.pooled[i].any()
            assert not got.steps[i, len(steps) :].any()
        expected[:, i] = text.pooled @ torch.stack(vectors).mean(0)
    torch.testing.assert_close(fusion(text, vision, audio), expected, atol=1e-5, rtol=1e-5)
    assert not fusion(text, vision, audio)[:, NEITHER].any()


@torch.no_grad()
def test_what_global_to_local_puts_into_an_index_is_all_that_a_query_needs():
    fusion = build("global_to_local")
    text, vision, audio = batch()
    weights = {"visual_weight": 0.7, "audio_weight": 2.0}
    from_index = GlobalToGlobalFusion()(text, *fusion.media(vision, audio), **weights)
    torch.testing.assert_close(fusion(text, vision, audio, **weights), from_index)


@torch.no_grad()
def test_global_to_local_without_any_media():
    fusion = build("global_to_local")
    _, vision, audio = batch()
    assert fusion.media(None, None) == (None, None)
    seen, heard = fusion.media(vision, None)
    assert heard is None
    silent = features([0] * len(FRAMES), 3, width=2)
    torch.testing.assert_close(seen.pooled, fusion.media(vision, silent)[0].pooled)
    assert fusion.media(None, audio)[0] is None


@torch.no_grad()
def test_the_authors_runs_on_sound_alone_have_no_frame_slots():
    model = cross()
    _, _, audio = batch()
    _, heard = GlobalToLocalFusion(model, frame_slots=0).media(None, audio)
    counted_from_0 = model(audio.steps, torch.full((audio.mask.shape[1],), 2), audio.mask)
    assert torch.equal(heard.steps[audio.mask], counted_from_0[audio.mask])


# Pairs


@pytest.mark.parametrize("form", ["clip", "bert"])
@pytest.mark.parametrize("kind", PAIRS)
@torch.no_grad()
def test_pairs_are_each_text_with_each_clip_texts_down_and_clips_across(kind, form):
    fusion = build(kind, form)
    text, vision, audio = batch()
    expected = torch.zeros(len(TEXTS), len(FRAMES))
    for i, length in enumerate(TEXTS):
        asked = text.steps[i, :length] if kind == "local_to_local" else text.pooled[i : i + 1]
        slots = TEXT_SLOTS if kind == "local_to_local" else 1
        for j, (n, m) in enumerate(zip(FRAMES, SEGMENTS, strict=True)):
            if j != NEITHER:
                frames, segments = vision.steps[j, :n], audio.steps[j, :m]
                expected[i, j] = pair_score(fusion.cross, asked, frames, segments, slots)
    torch.testing.assert_close(fusion(text, vision, audio), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", PAIRS)
@torch.no_grad()
def test_how_many_pairs_go_together_makes_no_difference(kind):
    whole = build(kind)(*batch())
    for portion, expected in ((1, [1] * 15), (4, [4, 4, 4, 3]), (15, [15]), (16, [15])):
        fusion, together = build(kind), []
        fusion.pairs_at_once = portion
        fusion.cross.register_forward_pre_hook(
            lambda _, given, together=together: together.append(len(given[0]))
        )
        torch.testing.assert_close(fusion(*batch()), whole)
        assert together == expected


@pytest.mark.parametrize("kind", PAIRS)
@torch.no_grad()
def test_a_weight_of_0_hides_a_modality_from_pairs(kind):
    fusion = build(kind)
    text, vision, audio = batch()
    sighted, heard = (
        fusion(text, vision, audio, audio_weight=0.0),
        fusion(text, vision, audio, visual_weight=0.0),
    )
    assert torch.equal(sighted, fusion(text, vision, None))
    assert torch.equal(heard, fusion(text, None, audio))
    assert not sighted[:, [2, NEITHER]].any()
    assert not heard[:, [1, NEITHER]].any()
    assert torch.equal(fusion(text, vision, audio, visual_weight=0.3), fusion(text, vision, audio))
    assert not fusion(text, None, audio, audio_weight=0.0).any()


@pytest.mark.parametrize("kind", PAIRS)
@torch.no_grad()
def test_a_missing_text_is_like_nothing(kind):
    _, vision, audio = batch()
    found = build(kind)(features([3, 0], 1), vision, audio)
    assert not found[1].any()
    assert found[0, :NEITHER].all()


@torch.no_grad()
def test_candidates_of_pairs_are_found_by_the_vectors_as_they_are():
    _, vision, audio = batch()
    assert build("local_to_local").media(vision, audio) == (vision, audio)


# All with a transformer


@pytest.mark.parametrize("form", ["clip", "bert"])
@pytest.mark.parametrize("kind", WITH_CROSS)
@torch.no_grad()
def test_neither_padding_nor_neighbours_matter(kind, form):
    fusion = build(kind, form)
    text, vision, audio = batch()
    together = fusion(text, vision, audio)
    torch.testing.assert_close(fusion(*batch((9, 11, 16))), together, atol=1e-5, rtol=1e-5)
    for j in range(len(FRAMES)):
        row = slice(j, j + 1)
        one = [
            Features(part.pooled[row], part.steps[row, :n], part.mask[row, :n])
            for part, n in ((vision, max(1, FRAMES[j])), (audio, max(1, SEGMENTS[j])))
        ]
        torch.testing.assert_close(fusion(text, *one), together[:, row], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_slots_stand_where_the_authors_padding_does():
    model = cross()
    text, vision, audio = batch((TEXT_SLOTS, FRAME_SLOTS, 6))
    found = build("local_to_local")(text, vision, audio)
    types = torch.tensor([0] * TEXT_SLOTS + [1] * FRAME_SLOTS + [2] * 6)
    for i in range(len(TEXTS)):
        clips = len(FRAMES) - 1
        asked = text.steps[i].expand(clips, -1, -1), text.mask[i].expand(clips, -1)
        sequence = torch.cat([asked[0], vision.steps[:clips], audio.steps[:clips]], dim=1)
        mask = torch.cat([asked[1], vision.mask[:clips], audio.mask[:clips]], dim=1)
        expected = model.similarity(model(sequence, types, mask)[:, 0]).squeeze(-1)
        torch.testing.assert_close(found[i, :clips], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["clip", "bert"])
@pytest.mark.parametrize("kind", WITH_CROSS)
def test_gradients_reach_everything_that_is_used_and_nothing_else_trains(kind, form):
    fusion = build(kind, form)
    parts = [
        Features(part.pooled.requires_grad_(), part.steps.requires_grad_(), part.mask)
        for part in batch()
    ]
    fusion(*parts).square().sum().backward()
    unused = {"cross.similarity", "cross.pooler"} if kind == "global_to_local" else set()
    for name, value in fusion.named_parameters():
        used = not any(name.startswith(part) for part in unused)
        assert value.requires_grad == used, name
        assert (value.grad is not None and bool(value.grad.any())) == used, name
    text, vision, audio = parts
    for part in (vision, audio):
        assert part.steps.grad.isfinite().all()
        assert torch.equal(part.steps.grad.any(-1), part.mask)
    asked = text.steps if kind == "local_to_local" else text.pooled
    assert asked.grad.any()


@pytest.mark.parametrize("kind", WITH_CROSS)
def test_more_than_there_is_room_for_is_refused_by_the_option_that_helps(kind):
    fusion = build(kind)
    text, vision, audio = batch()
    with pytest.raises(ValueError, match="6 frames, the fusion room for 5: raise frame_slots"):
        fusion(text, features([6, 1, 1, 1, 1], 2), audio)
    with pytest.raises(ValueError, match=r"20 audio segments.*the cross transformer's positions"):
        fusion(text, vision, features([20, 1, 1, 1, 1], 3))
    if kind == "local_to_local":
        with pytest.raises(ValueError, match=r"7 text tokens.*room for 6: raise text_slots"):
            fusion(features([7, 1], 1), vision, audio)


def test_slots_beyond_the_positions_are_refused():
    with pytest.raises(ValueError, match=r"20 text slots and 5 frame slots.*24 positions"):
        LocalToLocalFusion(cross(), text_slots=20, frame_slots=5)
    with pytest.raises(ValueError, match="25 frame slots"):
        GlobalToLocalFusion(cross(), frame_slots=25)


@pytest.mark.parametrize("kind", ["global_to_global", *WITH_CROSS])
def test_what_cannot_be_asked_is_refused(kind):
    fusion = GlobalToGlobalFusion() if kind == "global_to_global" else build(kind)
    text, vision, audio = batch()
    with pytest.raises(ValueError, match="no clips"):
        fusion(text, None, None)
    with pytest.raises(ValueError, match="0 and 0: give numbers of 0 or more, not both 0"):
        fusion(text, vision, audio, visual_weight=0.0, audio_weight=0.0)
    with pytest.raises(ValueError, match="-1 and 1"):
        fusion(text, vision, audio, visual_weight=-1.0)
