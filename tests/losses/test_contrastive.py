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
    units,
    wanted,
    zeroed,
)

from trichord.config import InfoNCE
from trichord.losses.info_nce import info_nce
from trichord.types import UserError
from trichord.types.tensors import Embeddings
from trichord.types.terms import TERMS


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
    assert info_nce(left, right, scale, "a_to_b") == pytest.approx(math.log(2), rel=1e-6)
    columns = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    assert info_nce(left, right, scale, "b_to_a") == pytest.approx(columns, rel=1e-6)


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


def test_a_start_beyond_the_bound_is_at_the_bound():
    beyond = contrastive(temperature=1e-4)
    assert beyond.scales() == pytest.approx({"av": 100.0, "at": 100.0, "vt": 100.0}, rel=1e-6)
    fixed = contrastive(temperature=0.01, learned=False)
    assert fixed.scales() == {"av": 100.0, "at": 100.0, "vt": 100.0}  # to the last bit


def pulled_down(objective):
    """Loss and gradient of the log scale where pairs are unlike: a lower scale costs less."""
    generator = torch.Generator().manual_seed(0)
    audio, vision = torch.randn(2, 6, 8, generator=generator)
    rows = {"av": torch.ones(6, dtype=torch.bool)}
    loss = objective(Embeddings(None, features(audio), features(vision)), rows)["av"]
    (gradient,) = torch.autograd.grad(loss, objective.log_scale["av"])
    return loss, gradient


@pytest.mark.parametrize("scale", [50.0, 100.0, 200.0])
def test_a_scale_has_its_gradient_below_at_and_beyond_the_bound(scale):
    objective, free = contrastive(terms=("av",)), contrastive(terms=("av",))
    free.config = replace(free.config, max_scale=1e9)
    with torch.no_grad():
        for one in (objective, free):
            one.log_scale["av"].fill_(math.log(scale))
    loss, gradient = pulled_down(objective)
    assert gradient > 1
    assert (loss, gradient) == pulled_down(free)


@pytest.mark.parametrize(("scale", "kept"), [(50.0, 50.0), (100.0, 100.0), (200.0, 100.0)])
def test_a_scale_beyond_the_bound_is_moved_back_to_it_after_a_step(scale, kept):
    objective = contrastive(terms=("av",))
    with torch.no_grad():
        objective.log_scale["av"].fill_(math.log(scale))
    objective.clamp_scales()
    assert objective.scales()["av"] == pytest.approx(kept, rel=1e-6)


def test_a_scale_that_was_pushed_against_the_bound_comes_back_from_it():
    objective = contrastive(terms=("av",), temperature=0.011)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=0.1, weight_decay=0.0)
    seen = []
    for step in range(25):
        push = torch.tensor(-1.0)
        objective.log_scale["av"].grad = push if step < 5 else pulled_down(objective)[1]
        optimizer.step()
        objective.clamp_scales()
        seen.append(objective.scales()["av"])
    assert seen[4] == pytest.approx(100.0, rel=1e-6)
    assert max(seen) <= 100.0 * (1 + 1e-6)
    assert seen[-1] < 80


def test_a_shared_or_fixed_temperature_is_one_or_does_not_train():
    shared = contrastive(shared=True, learned=False)
    assert set(shared.scales()) == {"all"}
    assert shared.scale("vt") == pytest.approx(1 / 0.07)
    assert not any(parameter.requires_grad for parameter in shared.parameters())


# Large batches, and equal texts


@pytest.mark.parametrize("directions", ["both", "a_to_b", "b_to_a"])
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


@pytest.mark.parametrize("directions", ["both", "a_to_b", "b_to_a"])
def test_equal_texts_may_be_positives_of_each_others_clips(directions):
    embeddings = everything()
    texts = torch.tensor([4, 7, 4, 1, 7])
    objective = contrastive(terms=ALL_TERMS, directions=directions, same_text="positives")
    assert objective.needs_texts
    found = objective(embeddings, wanted(*ALL_TERMS), texts)
    plain = contrastive(terms=ALL_TERMS, directions=directions)(embeddings, wanted(*ALL_TERMS))
    for term in ("av", "aa", "vv"):
        assert found[term] == plain[term]
    for term in ("at", "vt", "mt", "tt", "ct"):
        if term == "ct":
            logits = SCALE * embeddings.similarity.numpy().T
        else:
            one, other = (embeddings.of(side).pooled for side in TERMS[term].sides)
            logits = SCALE * (one @ other.T).numpy()
        there, back = shared_wish(logits, texts), shared_wish(logits.T, texts)
        expected = {"both": (there + back) / 2, "a_to_b": there, "b_to_a": back}[directions]
        assert found[term].item() == pytest.approx(expected, rel=1e-5)
        assert found[term] != plain[term]


def test_captions_of_one_clip_are_positives_of_it_and_of_one_another():
    embeddings = everything()
    owners = torch.tensor([3, 8, 3, 1, -1])
    found = contrastive(terms=ALL_TERMS)(embeddings, wanted(*ALL_TERMS), None, owners)
    equal = contrastive(terms=ALL_TERMS, same_text="positives")(
        embeddings, wanted(*ALL_TERMS), owners
    )
    assert found == equal  # as if the texts of a clip were equal
    assert found["vt"] != contrastive()(embeddings, wanted("vt"))["vt"]


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
    assert not contrastive().needs_texts
    # Where equal texts are negatives, their numbers are not looked at.
    same = torch.zeros(5, dtype=torch.int64)
    assert contrastive()(everything(), wanted("at"), same) == contrastive()(
        everything(), wanted("at")
    )


def test_the_configuration_reaches_the_objective():
    chosen = InfoNCE(tile=64, same_text="positives", absent="zeros", directions="b_to_a")
    assert chosen.build().config == chosen


def test_a_tile_holds_at_least_a_row():
    with pytest.raises(UserError, match=r"--objective\.tile 0: give at least 1"):
        InfoNCE(tile=0).build()
