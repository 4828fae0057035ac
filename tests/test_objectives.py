import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from trichord.objectives import Contrastive, info_nce
from trichord.types.tensors import Embeddings, Features


def features(rows, present=None):
    pooled = F.normalize(torch.as_tensor(rows, dtype=torch.float32), dim=-1)
    mask = torch.ones(len(pooled), 1, dtype=torch.bool)
    if present is not None:
        mask[:, 0] = torch.tensor(present)
    return Features(pooled, pooled[:, None], mask)


def contrastive(**changes):
    return Contrastive(
        **{
            "temperature": 0.07,
            "learned": True,
            "shared": False,
            "max_scale": 100.0,
            "directions": "both",
        }
        | changes
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
