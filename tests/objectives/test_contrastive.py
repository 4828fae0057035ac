import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from trichord.config import InfoNCE
from trichord.objectives import PAIRS, SIDES, Asking, Contrastive, info_nce, intra_nce, nce_of
from trichord.types import UserError
from trichord.types.tensors import Embeddings, Features


def features(rows, present=None):
    pooled = F.normalize(torch.as_tensor(rows, dtype=torch.float32), dim=-1)
    mask = torch.ones(len(pooled), 1, dtype=torch.bool)
    if present is not None:
        mask[:, 0] = torch.tensor(present)
    return Features(pooled, pooled[:, None], mask)


def contrastive(terms=PAIRS, temperature=0.07, learned=True, shared=False, **asking):
    return Contrastive(
        temperature=temperature,
        learned=learned,
        shared=shared,
        max_scale=100.0,
        asking=Asking(**asking),
        terms=terms,
    )


@pytest.mark.parametrize("rows", [2, 3, 17])
def test_equal_logits_cost_the_logarithm_of_the_batch(rows):
    same = torch.ones(rows, 4) / 2
    assert info_nce(same, same, torch.tensor(5.0)) == pytest.approx(math.log(rows), rel=1e-6)


def test_orthogonal_pairs_at_a_large_scale_cost_nothing():
    assert info_nce(torch.eye(4), torch.eye(4), torch.tensor(100.0)) == pytest.approx(0, abs=1e-6)


def test_two_pairs_worked_by_hand():
    left = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    right = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    # Logits [[2, 2], [0, 0]]: each row is a tie; each column prefers the first row.
    rows = math.log(2)
    columns = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    assert info_nce(left, right, torch.tensor(2.0)) == pytest.approx((rows + columns) / 2, rel=1e-6)


def test_one_direction_is_half_of_the_two():
    left = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    right = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    scale = torch.tensor(2.0)
    assert info_nce(left, right, scale, "to_second") == pytest.approx(math.log(2), rel=1e-6)
    columns = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    assert info_nce(left, right, scale, "to_first") == pytest.approx(columns, rel=1e-6)


def test_sides_may_be_swapped():
    left, right = F.normalize(torch.randn(2, 9, 5), dim=-1)
    scale = torch.tensor(7.0)
    torch.testing.assert_close(info_nce(left, right, scale), info_nce(right, left, scale))


def test_a_masked_row_changes_neither_loss_nor_gradient():
    objective = contrastive()
    generator = torch.Generator().manual_seed(0)
    audio = torch.randn(5, 6, generator=generator, requires_grad=True)
    vision = torch.randn(5, 6, generator=generator)
    here = [True, True, False, True, True]
    everywhere = {"av": torch.ones(5, dtype=torch.bool)}
    masked = objective(Embeddings(None, features(audio, here), features(vision)), everywhere)["av"]
    kept = torch.tensor([0, 1, 3, 4])
    fewer = {"av": torch.ones(4, dtype=torch.bool)}
    without = objective(Embeddings(None, features(audio[kept]), features(vision[kept])), fewer)
    torch.testing.assert_close(masked, without["av"])
    (gradient,) = torch.autograd.grad(masked, audio)
    assert gradient[2].abs().sum() == 0
    assert gradient[kept].abs().sum() > 0


def test_a_term_without_two_rows_is_left_out_and_never_nan():
    embeddings = Embeddings(
        features(torch.eye(3)), features(torch.eye(3), [True, False, False]), None
    )
    wanted = {name: torch.ones(3, dtype=torch.bool) for name in ("av", "at", "vt")}
    assert contrastive()(embeddings, wanted) == {}


def test_terms_count_only_the_rows_that_ask_for_them():
    both = features(torch.randn(4, 8, generator=torch.Generator().manual_seed(3)))
    rows = torch.tensor([True, True, False, False])
    term = contrastive()(Embeddings(both, both, None), {"at": rows})["at"]
    scale = torch.tensor(1 / 0.07)
    torch.testing.assert_close(term, info_nce(both.pooled[:2], both.pooled[:2], scale))


def test_three_pairs_of_identical_modalities_have_equal_terms_with_a_temperature_each():
    objective = contrastive()
    assert set(objective.scales()) == {"av", "at", "vt"}
    same = features(torch.randn(6, 8, generator=torch.Generator().manual_seed(1)))
    wanted = {name: torch.ones(6, dtype=torch.bool) for name in ("av", "at", "vt")}
    terms = objective(Embeddings(same, same, same), wanted)
    assert terms["av"] == terms["at"] == terms["vt"]
    sum(terms.values()).backward()
    assert all(scale.grad is not None for scale in objective.parameters())


def test_the_inverse_temperature_stays_below_its_bound():
    assert contrastive(temperature=1e-4).scales() == {"av": 100.0, "at": 100.0, "vt": 100.0}


def test_a_shared_or_fixed_temperature_is_one_or_does_not_train():
    shared = contrastive(shared=True, learned=False)
    assert set(shared.scales()) == {"all"}
    assert shared.scale("vt") == pytest.approx(1 / 0.07)
    assert not any(parameter.requires_grad for parameter in shared.parameters())


# CLIP4VLA's terms


def units(seed, rows=5, dim=6):
    return F.normalize(
        torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


def share_of_the_first(first, others):
    """-log of what one logit has of the softmax over it and others."""
    logits = np.array([first, *others])
    top = logits.max()
    return float(np.log(np.exp(logits - top).sum()) + top - first)


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
    expected = {"both": (there + back) / 2, "to_second": there, "to_first": back}
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


ALL_TERMS = ("av", "at", "vt", "aa", "mt", "tt", "vv", "ct")


def everything(missing=None, rows=5):
    """Embeddings with every side; `missing` says which rows of which lack theirs."""
    missing = missing or {}
    sides = {
        side: features(units(seed, rows), [i not in missing.get(side, ()) for i in range(rows)])
        for seed, side in enumerate(("text", "audio", "vision", "masked"))
    }
    return Embeddings(**sides, clips=units(9, rows, rows))


def wanted(*terms, rows=5):
    return {term: torch.ones(rows, dtype=torch.bool) for term in terms}


def softmax_loss(logits):
    """Mean loss of the diagonal against each row, in double precision."""
    logits = np.asarray(logits, dtype=np.float64)
    return np.mean(
        [
            share_of_the_first(row[i], [value for j, value in enumerate(row) if j != i])
            for i, row in enumerate(logits)
        ]
    )


SCALE = 1 / 0.07


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
@pytest.mark.parametrize("directions", ["both", "to_second", "to_first"])
def test_a_term_compares_what_its_letters_say(term, one, other, directions):
    embeddings = everything()
    logits = SCALE * (embeddings.of(one).pooled @ embeddings.of(other).pooled.T).numpy()
    asked = {"to_second": [logits], "to_first": [logits.T], "both": [logits, logits.T]}
    expected = np.mean([softmax_loss(matrix) for matrix in asked[directions]])
    objective = contrastive(terms=ALL_TERMS, directions=directions)
    found = objective(embeddings, wanted(term))
    assert found[term].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("directions", ["both", "to_second", "to_first"])
def test_sounds_and_their_masked_copies_make_the_intra_modal_term(directions):
    embeddings = everything()
    there = asked_by_hand(embeddings.audio.pooled, embeddings.masked.pooled, SCALE)
    back = asked_by_hand(embeddings.masked.pooled, embeddings.audio.pooled, SCALE)
    expected = {"both": (there + back) / 2, "to_second": there, "to_first": back}[directions]
    found = contrastive(terms=ALL_TERMS, directions=directions)(embeddings, wanted("aa"))
    assert found["aa"].item() == pytest.approx(expected, rel=1e-5)


def test_texts_ask_for_clips_and_clips_for_texts_by_the_models_own_likeness():
    embeddings = everything()
    asked = SCALE * embeddings.clips.numpy()  # rows are texts
    for directions, expected in (
        ("to_first", softmax_loss(asked)),  # as published: text to clip alone
        ("to_second", softmax_loss(asked.T)),
        ("both", (softmax_loss(asked) + softmax_loss(asked.T)) / 2),
    ):
        found = contrastive(terms=ALL_TERMS, directions=directions)(embeddings, wanted("ct"))
        assert found["ct"].item() == pytest.approx(expected, rel=1e-5)


def test_direction_of_a_square_of_similarities():
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    rows = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    assert nce_of(logits, "to_second") == pytest.approx(rows, rel=1e-6)
    assert nce_of(logits, "to_first") == pytest.approx(math.log(2), rel=1e-6)


def test_a_fixed_scale_of_a_hundred_multiplies_every_similarity():
    objective = contrastive(terms=ALL_TERMS, temperature=0.01, learned=False)
    assert set(objective.scales()) == set(ALL_TERMS)
    embeddings = everything()
    found = objective(embeddings, wanted("ct", "aa"))
    asked = 100 * embeddings.clips.numpy()
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
    kept = embeddings.clips[[1, 2, 4, 5]][:, [1, 2, 4, 5]].numpy() * SCALE
    expected = (softmax_loss(kept) + softmax_loss(kept.T)) / 2
    assert found["ct"].item() == pytest.approx(expected, rel=1e-5)


def test_without_a_fusion_or_a_masked_copy_their_terms_are_left_out():
    bare = replace(everything(), clips=None, masked=None)
    assert set(contrastive(terms=ALL_TERMS)(bare, wanted(*ALL_TERMS))) == {
        "av", "at", "vt", "tt", "vv",
    }  # fmt: skip
    alone = Embeddings(features(units(0)), None, None, clips=units(1, 5, 5))
    assert contrastive(terms=ALL_TERMS)(alone, wanted("ct")) == {}


def zeroed(features):
    """As an encoder gives it: zero where the row is absent."""
    return replace(features, pooled=features.pooled * features.present[:, None])


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


# Large batches, and equal texts


@pytest.mark.parametrize("directions", ["both", "to_second", "to_first"])
@pytest.mark.parametrize("absent", ["masked", "zeros"])
def test_all_terms_in_tiles_are_those_of_the_whole_batch(directions, absent):
    missing = {"audio": (1, 8), "masked": (1,), "text": (3,), "vision": (0, 9)}
    embeddings = everything(missing, rows=23)
    embeddings = replace(
        embeddings,
        **{side: zeroed(embeddings.of(side)) for side in ("text", "audio", "vision", "masked")},
    )
    values = {}
    for tile in (4, 2048):
        objective = contrastive(terms=ALL_TERMS, directions=directions, absent=absent, tile=tile)
        values[tile] = objective(embeddings, wanted(*ALL_TERMS, rows=23))
        sum(values[tile].values()).backward()
        values[tile] |= {f"{name}'": x.grad for name, x in objective.log_scale.items()}
    assert set(values[4]) == set(values[2048])
    assert values[4] != values[2048]  # computed another way
    for name, value in values[2048].items():
        torch.testing.assert_close(values[4][name], value, rtol=1e-5, atol=1e-6)


def test_tiles_take_only_the_rows_that_count():
    objective = contrastive(tile=2)
    audio = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    here = [True, True, False, True, False]
    everywhere = {"av": torch.ones(5, dtype=torch.bool)}
    vision = features(units(1, 5))
    masked = objective(Embeddings(None, features(audio, here), vision), everywhere)["av"]
    (gradient,) = torch.autograd.grad(masked, audio)
    assert not gradient[[2, 4]].any()
    assert gradient[[0, 1, 3]].any(dim=1).all()
    assert (
        objective(Embeddings(None, features(units(0), [True] + [False] * 4), vision), everywhere)
        == {}
    )


def shared_wish(logits, texts):
    """Mean loss of rows whose wish is shared among the columns of the same text."""
    logits = np.asarray(logits, dtype=np.float64)
    losses = []
    for row, text in zip(logits, texts, strict=True):
        chances = [share_of_the_first(row[j], np.delete(row, j)) for j in range(len(row))]
        losses.append(np.mean([chances[j] for j in range(len(row)) if texts[j] == text]))
    return np.mean(losses)


@pytest.mark.parametrize("directions", ["both", "to_second", "to_first"])
def test_equal_texts_may_be_positives_of_each_others_clips(directions):
    embeddings = everything()
    texts = torch.tensor([4, 7, 4, 1, 7])
    objective = contrastive(terms=ALL_TERMS, directions=directions, same_text="positives")
    assert objective.wants_texts
    found = objective(embeddings, wanted(*ALL_TERMS), texts)
    plain = contrastive(terms=ALL_TERMS, directions=directions)(embeddings, wanted(*ALL_TERMS))
    for term in ("av", "aa", "vv"):
        assert found[term] == plain[term]
    for term in ("at", "vt", "mt", "tt", "ct"):
        if term == "ct":
            logits = SCALE * embeddings.clips.numpy().T
        else:
            one, other = (embeddings.of(side).pooled for side in SIDES[term])
            logits = SCALE * (one @ other.T).numpy()
        there, back = shared_wish(logits, texts), shared_wish(logits.T, texts)
        expected = {"both": (there + back) / 2, "to_second": there, "to_first": back}[directions]
        assert found[term].item() == pytest.approx(expected, rel=1e-5)
        assert found[term] != plain[term]


def test_texts_of_rows_that_are_left_out_and_of_no_text_are_like_no_other():
    objective = contrastive(terms=ALL_TERMS, same_text="positives")
    plain = contrastive(terms=ALL_TERMS)
    embeddings = everything({"text": (1, 3)})
    texts = torch.tensor([4, -1, 5, -1, 6])
    found = objective(embeddings, wanted(*ALL_TERMS), texts)
    for term, value in plain(embeddings, wanted(*ALL_TERMS)).items():
        torch.testing.assert_close(found[term], value)
    # The second text of number 4 belongs to a row that does not count.
    texts[1] = 4
    torch.testing.assert_close(objective(embeddings, wanted("at"), texts)["at"], found["at"])


def test_zero_vectors_without_a_text_have_only_their_partner():
    embeddings = everything({"text": (1, 3)})
    embeddings = replace(embeddings, text=zeroed(embeddings.text))
    texts = torch.tensor([4, -1, 5, -1, 6])
    found = contrastive(terms=ALL_TERMS, absent="zeros", same_text="positives")(
        embeddings, wanted("vt"), texts
    )
    plain = contrastive(terms=ALL_TERMS, absent="zeros")(embeddings, wanted("vt"))
    torch.testing.assert_close(found["vt"], plain["vt"])


def test_the_numbers_of_texts_must_be_passed_where_they_matter():
    objective = contrastive(same_text="positives")
    with pytest.raises(ValueError, match="numbers of the texts"):
        objective(everything(), wanted("at"))
    assert set(objective(everything(), wanted("av", "lm"))) == {"av"}
    assert not contrastive().wants_texts
    # Where equal texts are negatives, their numbers are not looked at.
    same = torch.zeros(5, dtype=torch.int64)
    assert contrastive()(everything(), wanted("at"), same) == contrastive()(
        everything(), wanted("at")
    )


def test_the_configuration_reaches_the_objective():
    chosen = InfoNCE(tile=64, same_text="positives", absent="zeros", directions="to_first")
    assert chosen.build().asking == Asking(
        directions="to_first", absent="zeros", same_text="positives", tile=64
    )
    assert InfoNCE().build().asking == Asking()


def test_a_tile_holds_at_least_a_row():
    with pytest.raises(UserError, match="tile 0: at least 1"):
        InfoNCE(tile=0).build()
