"""Distillation: a student's softmax over a batch, and its vectors, against a teacher's."""

import math
from functools import partial

import pytest
import torch
from drawn_embeddings import contrastive, everything, units, wanted
from spread_losses import teacher

from trichord.config import InfoNCE, check
from trichord.losses.distillation import distillation_loss, vector_distillation_loss
from trichord.types import UserError
from trichord.types.tensors import Embeddings

SIX = torch.tensor(6.0)


def softmax(logits):
    total = sum(math.exp(one) for one in logits)
    return [math.exp(one) / total for one in logits]


def divergence(wanted_rows, found_rows):
    """The mean KL divergence of rows of logits, number by number."""
    rows = zip(map(softmax, wanted_rows), map(softmax, found_rows), strict=True)
    terms = [p * math.log(p / q) for wish, found in rows for p, q in zip(wish, found, strict=True)]
    return sum(terms) / len(wanted_rows)


def test_two_pairs_worked_by_hand():
    left = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    right = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    taught = torch.tensor([[1.0], [1.0]]), torch.tensor([[1.0], [-1.0]])  # another width
    found = {
        way: distillation_loss(
            left, right, *taught, scale=torch.tensor(2.0), teacher_scale=0.5, directions=way
        )
        for way in ("a_to_b", "b_to_a", "both")
    }
    # Cosines of the student [[1, 0.6], [0, 0.8]], of the teacher [[1, -1], [1, -1]].
    by_hand = {
        "a_to_b": divergence([[0.5, -0.5], [0.5, -0.5]], [[2.0, 1.2], [0.0, 1.6]]),
        "b_to_a": divergence([[0.5, 0.5], [-0.5, -0.5]], [[2.0, 0.0], [1.2, 1.6]]),
    }
    by_hand["both"] = sum(by_hand.values()) / 2
    assert {way: float(one) for way, one in found.items()} == pytest.approx(by_hand, rel=1e-5)


def test_a_student_that_ranks_as_its_teacher_has_nothing_to_learn():
    sides = units(0, 9), units(1, 9)
    assert distillation_loss(*sides, *sides, scale=SIX, teacher_scale=6.0) == pytest.approx(0)
    assert vector_distillation_loss(units(0), units(0)) == 0


def test_vectors_worked_by_hand():
    student, wish = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[0.0, 1.0], [0.6, 0.8]])
    assert vector_distillation_loss(student, wish) == pytest.approx(1.0)  # (2 + 0) / 2


@pytest.mark.parametrize("tile", [2, 2048])
def test_gradients_are_those_of_differences_and_tiles_do_not_matter(tile):
    inputs = [units(0).double(), units(1).double(), torch.tensor(3.0).double()]
    taught = units(2).double(), units(3).double()

    def loss(left, right, scale, tile):
        return distillation_loss(left, right, *taught, scale=scale, teacher_scale=4.0, tile=tile)

    gradients = [one.requires_grad_() for one in inputs]
    assert torch.autograd.gradcheck(partial(loss, tile=tile), gradients)
    torch.testing.assert_close(loss(*inputs, tile), loss(*inputs, 2048))


def test_clips_that_the_teacher_has_not_seen_are_left_out():
    embeddings = everything(rows=12)
    seen = torch.arange(12) != 10
    objective = contrastive(terms=("vt-distil", "v-distil"))
    taught = Embeddings(
        embeddings.text, embeddings.audio, embeddings.vision, teacher=teacher(slice(None), dim=6)
    )
    found = objective(taught, wanted("vt-distil", "v-distil", rows=12))
    sides = [one.pooled[seen] for one in (embeddings.vision, embeddings.text)]
    known = [one.pooled[seen] for one in (taught.teacher.vision, taught.teacher.text)]
    scale = objective.scale("vt-distil")
    expected = distillation_loss(*sides, *known, scale=scale, teacher_scale=7.0)
    torch.testing.assert_close(found["vt-distil"], expected)
    torch.testing.assert_close(found["v-distil"], vector_distillation_loss(sides[0], known[0]))
    assert set(objective.scales()) == {"vt-distil"}  # matched vectors have no temperature


def test_without_a_teacher_there_is_no_loss():
    with pytest.raises(ValueError, match="'at-distil' learns from a teacher"):
        contrastive(terms=("at-distil",))(everything(), wanted("at-distil"))


def test_parts_of_vectors_are_not_matched_with_whole_ones():
    with pytest.raises(UserError, match="matryoshka 4: 'v-distil' imitates whole vectors"):
        contrastive(terms=("v-distil",), matryoshka=(4,))
    check(InfoNCE(matryoshka=(4,), teacher_temperature=0.1))
