import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from drawn_embeddings import (
    ALL_TERMS,
    SCALE,
    contrastive,
    everything,
    features,
    share_of_the_first,
    softmax_loss,
    units,
    wanted,
    zeroed,
)

from trichord.losses.info_nce import info_nce_of_logits, intra_nce
from trichord.types.tensors import Embeddings, Features


def asked_by_hand(original, masked, scale):
    """The paper's S: a masked copy among all masked copies and all other originals."""
    z, m = original.numpy().astype(np.float64), masked.numpy().astype(np.float64)
    losses = [
        share_of_the_first(
            scale * z[i] @ m[i],
            [scale * z[i] @ m[j] for j in range(len(z)) if j != i]
            + [scale * z[i] @ z[k] for k in range(len(z)) if k != i],
        )
        for i in range(len(z))
    ]
    return np.mean(losses)


@pytest.mark.parametrize("scale", [1.0, 14.0, 100.0])
def test_the_intra_modal_term_is_the_papers_and_its_mirror(scale):
    original, masked = units(0), units(1)
    there, back = asked_by_hand(original, masked, scale), asked_by_hand(masked, original, scale)
    assert there != pytest.approx(back, rel=1e-3)
    expected = {"both": (there + back) / 2, "a_to_b": there, "b_to_a": back}
    for directions, value in expected.items():
        found = intra_nce(original, masked, torch.tensor(scale), directions)
        assert found == pytest.approx(value, rel=1e-5)


def test_a_sound_is_no_negative_of_itself():
    same = torch.eye(4)
    assert intra_nce(same, same, torch.tensor(100.0)) == pytest.approx(0, abs=1e-6)
    # Three equal sounds: one partner among three copies and two other originals.
    alike = torch.ones(3, 4) / 2
    assert intra_nce(alike, alike, torch.tensor(9.0)) == pytest.approx(math.log(5), rel=1e-6)


def test_the_gradient_of_the_intra_modal_term_is_finite_and_right():
    original, masked = units(2).requires_grad_(), units(3).requires_grad_()
    scale = torch.tensor(100.0, requires_grad=True)
    found = torch.autograd.grad(intra_nce(original, masked, scale), (original, masked, scale))
    assert all(torch.isfinite(one).all() for one in found)

    def doubled(z, m):
        return intra_nce(z, m, torch.tensor(3.0, dtype=torch.float64))

    assert torch.autograd.gradcheck(
        doubled, [one.detach().double().requires_grad_() for one in (original, masked)]
    )


@pytest.mark.parametrize(
    ("term", "one", "other"),
    [
        ("av", "audio", "vision"),
        ("at", "audio", "text"),
        ("vt", "vision", "text"),
        ("mt", "masked", "text"),
        ("tt", "text", "text"),
        ("vv", "vision", "vision"),
    ],
)
@pytest.mark.parametrize("directions", ["both", "a_to_b", "b_to_a"])
def test_a_term_compares_what_its_letters_say(term, one, other, directions):
    embeddings = everything()
    logits = SCALE * (embeddings.of(one).pooled @ embeddings.of(other).pooled.T).numpy()
    asked = {"a_to_b": [logits], "b_to_a": [logits.T], "both": [logits, logits.T]}
    expected = np.mean([softmax_loss(matrix) for matrix in asked[directions]])
    objective = contrastive(terms=ALL_TERMS, directions=directions)
    found = objective(embeddings, wanted(term))
    assert found[term].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("directions", ["both", "a_to_b", "b_to_a"])
def test_sounds_and_their_masked_copies_make_the_intra_modal_term(directions):
    embeddings = everything()
    there = asked_by_hand(embeddings.audio.pooled, embeddings.masked.pooled, SCALE)
    back = asked_by_hand(embeddings.masked.pooled, embeddings.audio.pooled, SCALE)
    expected = {"both": (there + back) / 2, "a_to_b": there, "b_to_a": back}[directions]
    found = contrastive(terms=ALL_TERMS, directions=directions)(embeddings, wanted("aa"))
    assert found["aa"].item() == pytest.approx(expected, rel=1e-5)


def test_texts_ask_for_clips_and_clips_for_texts_by_the_models_own_likeness():
    embeddings = everything()
    asked = SCALE * embeddings.similarity.numpy()  # rows are texts
    for directions, expected in (
        ("b_to_a", softmax_loss(asked)),  # as published: text to clip alone
        ("a_to_b", softmax_loss(asked.T)),
        ("both", (softmax_loss(asked) + softmax_loss(asked.T)) / 2),
    ):
        found = contrastive(terms=ALL_TERMS, directions=directions)(embeddings, wanted("ct"))
        assert found["ct"].item() == pytest.approx(expected, rel=1e-5)


def test_direction_of_a_square_of_similarities():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    rows = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    assert info_nce_of_logits(logits, "a_to_b") == pytest.approx(rows, rel=1e-6)
    assert info_nce_of_logits(logits, "b_to_a") == pytest.approx(math.log(2), rel=1e-6)


def test_a_fixed_scale_of_a_hundred_multiplies_every_similarity():
    objective = contrastive(terms=ALL_TERMS, temperature=0.01, learned=False)
    assert set(objective.scales()) == set(ALL_TERMS)
    embeddings = everything()
    found = objective(embeddings, wanted("ct", "aa"))
    asked = 100 * embeddings.similarity.numpy()
    expected = (softmax_loss(asked) + softmax_loss(asked.T)) / 2
    assert found["ct"].item() == pytest.approx(expected, rel=1e-5)
    both = (embeddings.audio.pooled, embeddings.masked.pooled)
    expected = (asked_by_hand(*both, 100.0) + asked_by_hand(*both[::-1], 100.0)) / 2
    assert found["aa"].item() == pytest.approx(expected, rel=1e-5)


def test_learned_temperatures_of_the_terms_train_apart():
    objective = contrastive(terms=("aa", "ct"))
    found = objective(everything(), wanted("aa"))
    found["aa"].backward()
    assert objective.log_scale["aa"].grad is not None
    assert objective.log_scale["ct"].grad is None


def test_rows_that_lack_a_side_are_left_out_of_its_terms():
    missing = {"audio": (1,), "masked": (1,), "text": (3,)}
    found = contrastive(terms=ALL_TERMS)(everything(missing), wanted(*ALL_TERMS[:-1]))
    for term, kept in (
        ("av", [0, 2, 3, 4]),
        ("at", [0, 2, 4]),
        ("vt", [0, 1, 2, 4]),
        ("aa", [0, 2, 3, 4]),
        ("mt", [0, 2, 4]),
        ("tt", [0, 1, 2, 4]),
        ("vv", [0, 1, 2, 3, 4]),
    ):
        rows = torch.tensor([i in kept for i in range(5)])
        fewer = contrastive(terms=ALL_TERMS)(everything(), {term: rows})
        assert found[term].item() == pytest.approx(fewer[term].item(), rel=1e-6)


def test_a_clip_asks_to_be_found_while_it_has_sight_or_sound_and_a_text():
    missing = {"audio": (0, 1), "vision": (0, 2), "text": (3,)}
    embeddings = everything(missing, rows=6)
    found = contrastive(terms=ALL_TERMS)(embeddings, wanted("ct", rows=6))
    kept = embeddings.similarity[[1, 2, 4, 5]][:, [1, 2, 4, 5]].numpy() * SCALE
    expected = (softmax_loss(kept) + softmax_loss(kept.T)) / 2
    assert found["ct"].item() == pytest.approx(expected, rel=1e-5)


def test_without_a_fusion_or_a_masked_copy_their_terms_are_left_out():
    bare = replace(everything(), similarity=None, masked=None)
    assert set(contrastive(terms=ALL_TERMS)(bare, wanted(*ALL_TERMS))) == {
        "av", "at", "vt", "tt", "vv",
    }  # fmt: skip
    alone = Embeddings(features(units(0)), None, None, similarity=units(1, 5, 5))
    assert contrastive(terms=ALL_TERMS)(alone, wanted("ct")) == {}


def test_as_published_a_missing_sound_stays_in_every_softmax_as_a_zero_vector():
    embeddings = everything({"audio": (1, 4), "masked": (1, 4)})
    audio, masked = zeroed(embeddings.audio), zeroed(embeddings.masked)
    embeddings = replace(embeddings, audio=audio, masked=masked)
    objective = contrastive(terms=ALL_TERMS, absent="zeros")
    found = objective(embeddings, wanted("at", "av", "aa"))
    for term, other in (("at", embeddings.text), ("av", embeddings.vision)):
        logits = SCALE * (audio.pooled @ other.pooled.T).numpy()
        assert not logits[[1, 4]].any()
        expected = (softmax_loss(logits) + softmax_loss(logits.T)) / 2
        assert found[term].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    there = asked_by_hand(audio.pooled, masked.pooled, SCALE)
    back = asked_by_hand(masked.pooled, audio.pooled, SCALE)
    assert found["aa"].item() == pytest.approx((there + back) / 2, rel=1e-5)


def test_zero_vectors_keep_the_gradient_finite_and_get_none_themselves():
    steps = units(4, 4).requires_grad_()
    here = torch.tensor([1.0, 0.0, 1.0, 0.0])
    pooled = F.normalize(steps * here[:, None], dim=-1)
    audio = Features(pooled, pooled[:, None], here[:, None] > 0)
    objective = contrastive(terms=ALL_TERMS, absent="zeros")
    terms = objective(
        Embeddings(features(units(5, 4)), audio, None, audio), wanted("at", "aa", rows=4)
    )
    sum(terms.values()).backward()
    assert torch.isfinite(steps.grad).all()
    assert not steps.grad[[1, 3]].any()
    assert steps.grad[[0, 2]].any()
