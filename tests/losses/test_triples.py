"""Losses of three modalities at once: volume (GRAM) and area (TRIANGLE)."""

import math

import pytest
import torch
from drawn_embeddings import contrastive, everything, features, softmax_loss, units, wanted

from trichord.config import Term
from trichord.losses.triples import area, area_nce, volume, volume_nce
from trichord.types import UserError
from trichord.types.tensors import Embeddings

LOSSES = {"tva-volume": volume_nce, "tva-area": area_nce}
MEASURES = {"tva-volume": volume, "tva-area": area}
SCALE = torch.tensor(5.0)


def measured(kind, *vectors):
    """The measure of three vectors of plain numbers."""
    first, second, third = (torch.tensor([one], dtype=torch.float64) for one in vectors)
    return MEASURES[kind](first @ second.T, first @ third.T, (second * third).sum(dim=1)).item()


def solid(first, second, third):
    """Volume by the product of three vectors of space, area by the cross product."""
    edges = torch.stack([first, second, third])
    return torch.linalg.det(edges).abs().item()


def triangle(first, second, third):
    return torch.linalg.cross(second - first, third - first).norm().item() / 2


@pytest.mark.parametrize(
    ("kind", "vectors", "expected"),
    [
        ("tva-volume", ([1, 0, 0], [0, 1, 0], [0, 0, 1]), 1.0),
        ("tva-volume", ([1, 0, 0], [0.6, 0.8, 0], [0, 0, 1]), 0.8),
        ("tva-volume", ([1, 0, 0], [0.6, 0.8, 0], [0, 1, 0]), 0.0),
        ("tva-volume", ([1, 0, 0], [-1, 0, 0], [1, 0, 0]), 0.0),
        ("tva-area", ([1, 0, 0], [0, 1, 0], [0, 0, 1]), math.sqrt(3) / 2),
        ("tva-area", ([1, 0, 0], [0, 1, 0], [-1, 0, 0]), 1.0),
        ("tva-area", ([1, 0, 0], [1, 0, 0], [0, 1, 0]), 0.0),
    ],
)
def test_measures_worked_by_hand(kind, vectors, expected):
    found = measured(kind, *([float(x) for x in one] for one in vectors))
    assert found == pytest.approx(expected, abs=1.1e-3)  # the root of TINY


@pytest.mark.parametrize("directions", ["both", "a_to_b", "b_to_a"])
@pytest.mark.parametrize("kind", LOSSES)
def test_texts_are_contrasted_with_clips_by_the_measure(kind, directions):
    text, vision, audio = (units(seed, 5, 3).double() for seed in range(3))
    shape = {"tva-volume": solid, "tva-area": triangle}[kind]
    measures = [[shape(t, v, a) for v, a in zip(vision, audio, strict=True)] for t in text]
    logits = -5.0 * torch.tensor(measures, dtype=torch.float64)
    there, back = softmax_loss(logits), softmax_loss(logits.T)
    expected = {"both": (there + back) / 2, "a_to_b": there, "b_to_a": back}[directions]
    found = LOSSES[kind](text, vision, audio, SCALE, directions)
    assert found.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("tile", [2, 2048])
@pytest.mark.parametrize("groups", [None, torch.tensor([1, 0, 1, -1, -1])])
@pytest.mark.parametrize("kind", LOSSES)
def test_gradients_are_those_of_differences(kind, groups, tile):
    inputs = [*(units(seed).double() for seed in range(3)), SCALE.double()]

    def loss(*inputs):
        return LOSSES[kind](*inputs, tile=tile, groups=groups)

    assert torch.autograd.gradcheck(loss, [one.requires_grad_() for one in inputs])


@pytest.mark.parametrize("kind", LOSSES)
def test_order_and_tiles_and_the_order_of_the_other_two_do_not_matter(kind):
    text, vision, audio = (units(seed, 23) for seed in range(3))
    loss = LOSSES[kind]
    whole = loss(text, vision, audio, SCALE)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss(text[order], vision[order], audio[order], SCALE), whole)
    torch.testing.assert_close(loss(text, audio, vision, SCALE), whole)
    torch.testing.assert_close(loss(text, vision, audio, SCALE, tile=4), whole)


@pytest.mark.parametrize("tile", [3, 2048])
@pytest.mark.parametrize("kind", LOSSES)
def test_equal_texts_are_positives_of_each_others_clips(kind, tile):
    sides = [units(seed, 4) for seed in range(3)]
    text, vision, audio = sides
    logits = -5 * MEASURES[kind](text @ vision.T, text @ audio.T, (vision * audio).sum(dim=1))
    target = torch.eye(4)
    target[0, 2] = target[2, 0] = 1
    target = target / target.sum(dim=1, keepdim=True)
    expected = sum(-(target * one.log_softmax(1)).sum(1).mean() / 2 for one in (logits, logits.T))
    groups = torch.tensor([7, -1, 7, -1])
    torch.testing.assert_close(LOSSES[kind](*sides, SCALE, tile=tile, groups=groups), expected)


@pytest.mark.parametrize("kind", LOSSES)
def test_equal_and_opposite_vectors_have_finite_gradients(kind):
    for others in ((1.0, 1.0), (-1.0, 1.0), (-1.0, -1.0)):
        sides = [sign * units(0) for sign in (1.0, *others)]
        for side in sides:
            side.requires_grad_()
        loss = LOSSES[kind](*sides, torch.tensor(100.0))
        assert torch.isfinite(loss)
        assert all(torch.isfinite(one).all() for one in torch.autograd.grad(loss, sides))


@pytest.mark.parametrize("kind", LOSSES)
def test_clips_without_a_side_change_neither_loss_nor_gradient(kind):
    audio = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    here = [True, True, False, True, True]
    text, vision = features(units(1)), features(units(2))
    objective = contrastive(terms=(kind,))
    masked = objective(Embeddings(text, features(audio, here), vision), wanted(kind))[kind]
    kept = [0, 1, 3, 4]
    sides = (features(one[kept]) for one in (units(1), audio, units(2)))
    fewer = objective(Embeddings(*sides), wanted(kind, rows=4))[kind]
    torch.testing.assert_close(masked, fewer)
    (gradient,) = torch.autograd.grad(masked, audio)
    assert not gradient[2].any()
    assert gradient[kept].any(dim=1).all()


def test_fewer_than_two_whole_clips_are_no_term():
    lonely = everything({"text": (0, 1), "vision": (2,), "audio": (3,)})
    assert contrastive(terms=tuple(LOSSES))(lonely, wanted(*LOSSES)) == {}


@pytest.mark.parametrize("kind", LOSSES)
def test_zero_vectors_are_refused(kind):
    with pytest.raises(UserError, match=f"--objective.absent zeros: '{kind}' takes a zero vector"):
        contrastive(terms=(kind,), absent="zeros")


@pytest.mark.parametrize(
    "sides", [("text", "audio"), ("text", "text", "audio"), ("text", "audio", "vision", "masked")]
)
def test_they_compare_three_different_sides(sides):
    with pytest.raises(UserError, match="volume compares three different sides: name three"):
        Term(kind="mine", sides=sides, loss="volume")
