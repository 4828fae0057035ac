"""The sigmoid loss: every pair is classified by itself, under a learned bias."""

import math

import pytest
import torch
from drawn_embeddings import contrastive, everything, features, units, wanted, zeroed

from trichord.config import InfoNCE, Term, Weight
from trichord.losses.sigmoid import sigmoid_loss
from trichord.types import UserError
from trichord.types.tensors import Embeddings

BIAS = torch.tensor(-1.0)
KINDS = ("av-sigmoid", "at-sigmoid", "vt-sigmoid")


def softplus(x):
    return math.log1p(math.exp(x))


def test_two_pairs_worked_by_hand():
    left = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    right = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # Logits 2 cos - 1: matches 1 and 0.6, mismatches 0.2 and -1.
    by_hand = (softplus(-1.0) + softplus(-0.6) + softplus(0.2) + softplus(-1.0)) / 2
    found = sigmoid_loss(left, right, torch.tensor(2.0), bias=BIAS)
    assert found == pytest.approx(by_hand, rel=1e-6)


def test_equal_texts_match_each_others_clips():
    left, right = units(0, 4), units(1, 4)
    logits = (3 * left @ right.T - 1).tolist()
    groups = torch.tensor([5, -1, 5, -1])
    matches = {(i, i) for i in range(4)} | {(0, 2), (2, 0)}
    by_hand = sum(
        softplus(-logits[i][j] if (i, j) in matches else logits[i][j])
        for i in range(4)
        for j in range(4)
    )
    found = sigmoid_loss(left, right, torch.tensor(3.0), bias=BIAS, groups=groups)
    assert found == pytest.approx(by_hand / 4, rel=1e-6)


@pytest.mark.parametrize("tile", [2, 2048])
@pytest.mark.parametrize("groups", [None, torch.tensor([1, 0, 1, -1, -1])])
def test_gradients_are_those_of_differences(tile, groups):
    inputs = [units(0).double(), units(1).double(), torch.tensor(3.0).double(), BIAS.double()]

    def loss(left, right, scale, bias):
        return sigmoid_loss(left, right, scale, bias=bias, tile=tile, groups=groups)

    assert torch.autograd.gradcheck(loss, [one.requires_grad_() for one in inputs])


def test_order_sides_and_tiles_do_not_matter():
    left, right, scale = units(0, 23), units(1, 23), torch.tensor(9.0)
    whole = sigmoid_loss(left, right, scale, bias=BIAS)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sigmoid_loss(left[order], right[order], scale, bias=BIAS), whole)
    torch.testing.assert_close(sigmoid_loss(right, left, scale, bias=BIAS), whole)
    torch.testing.assert_close(sigmoid_loss(left, right, scale, bias=BIAS, tile=4), whole)


def test_huge_logits_are_finite_and_have_gradients():
    left = torch.eye(3, requires_grad=True)
    loss = sigmoid_loss(left, -torch.eye(3), torch.tensor(100.0), bias=torch.tensor(100.0))
    (gradient,) = torch.autograd.grad(loss, left)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_clips_without_a_side_change_neither_loss_nor_gradient():
    audio = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    here, vision = [True, True, False, True, True], features(units(1))
    objective = contrastive(terms=("av-sigmoid",))
    masked = objective(Embeddings(None, features(audio, here), vision), wanted("av-sigmoid"))
    kept = [0, 1, 3, 4]
    fewer = objective(
        Embeddings(None, features(audio[kept]), features(units(1)[kept])),
        wanted("av-sigmoid", rows=4),
    )
    torch.testing.assert_close(masked["av-sigmoid"], fewer["av-sigmoid"])
    (gradient,) = torch.autograd.grad(masked["av-sigmoid"], audio)
    assert not gradient[2].any()
    assert gradient[kept].any(dim=1).all()


def test_each_pair_learns_its_own_scale_and_bias():
    objective = contrastive(terms=(*KINDS, "av"))
    assert objective.learned_weights() == dict.fromkeys((f"{kind}:bias" for kind in KINDS), -10.0)
    assert set(objective.scales()) == {*KINDS, "av"}
    terms = objective(everything(), wanted(*KINDS, "av"))
    sum(terms.values()).backward()
    assert all(one.grad is not None and one.grad != 0 for one in objective.parameters())
    fixed = contrastive(terms=KINDS, learned=False)
    assert not any(one.requires_grad for one in fixed.parameters())


@pytest.mark.parametrize(("bias", "kept"), [(-300.0, -100.0), (-20.0, -20.0), (300.0, 100.0)])
def test_a_bias_beyond_its_bounds_is_moved_back(bias, kept):
    objective = contrastive(terms=("vt-sigmoid",))
    with torch.no_grad():
        objective.weights["vt-sigmoid:bias"].fill_(bias)
    objective.clamp_scales()
    assert objective.learned_weights() == {"vt-sigmoid:bias": kept}


def test_objectives_without_weights_have_the_parameters_that_they_had():
    assert set(contrastive().state_dict()) == {"log_scale.av", "log_scale.at", "log_scale.vt"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"directions": "a_to_b"},
            r"--objective\.directions a_to_b: 'vt-sigmoid' classifies pairs",
        ),
        ({"absent": "zeros"}, r"--objective\.absent zeros: 'vt-sigmoid' takes a zero vector"),
    ],
)
def test_settings_that_it_does_not_have_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        contrastive(terms=("av", "vt-sigmoid"), **options)
    contrastive(terms=("av",), **options)


def test_a_direction_is_refused_by_the_loss_itself():
    with pytest.raises(ValueError, match="no direction"):
        sigmoid_loss(units(0), units(1), torch.tensor(1.0), "b_to_a", bias=BIAS)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"loss": "sigmoid"}, "sigmoid learns a bias and nothing else"),
        ({"loss": "info_nce", "weights": {"bias": Weight(0.0)}}, "info_nce learns no weights"),
        ({"weights": {"scale": Weight(0.0)}}, "called 'scale': give it a Python name other than"),
        ({"weights": {"a.b": Weight(0.0)}}, "called 'a.b'"),
        ({"weights": {"b": Weight(2.0, (-1.0, 1.0))}}, "'b' starts at 2, outside of -1 to 1"),
        ({"weights": {"b": Weight(math.nan)}}, "give a finite start"),
    ],
)
def test_impossible_weights_are_refused(term, message):
    with pytest.raises(UserError, match=message):
        Term(**{"kind": "mine", "sides": ("audio", "text"), "loss": lambda *_, **__: 0} | term)


def test_a_loss_of_ones_own_learns_its_weights():
    def leaning(left, right, *, slant, **_):
        return ((left * right).sum(dim=1).mean() - slant) ** 2

    from trichord.types.plugins import provide, temporary_parts

    mine = Term(
        kind="at-leaning",
        sides=("audio", "text"),
        loss=leaning,
        weights={"slant": Weight(0.5, (0.0, 1.0))},
    )
    with temporary_parts():
        provide([mine])
        objective = contrastive(terms=("at-leaning",))
        objective(everything(), wanted("at-leaning"))["at-leaning"].backward()
    assert objective.weights["at-leaning:slant"].grad != 0
    assert set(objective.state_dict()) == {"log_scale.at-leaning", "weights.at-leaning:slant"}


def test_zero_vectors_would_have_changed_the_loss():
    # Why `absent zeros` is refused: a silent clip would push the bias up.
    silent = zeroed(features(units(0), [True, False, True, True, True])).pooled
    with_zero = sigmoid_loss(silent, units(1), torch.tensor(10.0), bias=torch.tensor(-10.0))
    assert with_zero > 10 / 5  # the cost of its own match alone


def test_the_configuration_is_as_before_by_default():
    assert (InfoNCE().matryoshka, InfoNCE().matryoshka_weights) == ((), ())
