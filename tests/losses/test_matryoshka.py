"""Matryoshka: terms over whole vectors and their first numbers."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from drawn_embeddings import contrastive, everything, wanted

from trichord.config import InfoNCE, check
from trichord.losses.info_nce import info_nce
from trichord.types import UserError
from trichord.types.tensors import Embeddings, Features

TERMS = ("av", "at-sigmoid", "vt", "aa", "tva-volume", "tva-area")


def test_a_term_is_that_of_whole_vectors_and_of_their_weighted_beginnings():
    embeddings = everything()
    objective = contrastive(terms=TERMS, matryoshka=(2, 4), matryoshka_weights=(0.5, 3.0))
    found = objective(embeddings, wanted(*TERMS))
    plain = contrastive(terms=TERMS)
    expected = dict(plain(embeddings, wanted(*TERMS)))
    for width, weight in ((2, 0.5), (4, 3.0)):
        sides = {}
        for side in ("text", "audio", "vision", "masked"):
            whole = embeddings.of(side)
            short = whole.pooled[:, :width]
            unit = short / short.norm(dim=1, keepdim=True)
            sides[side] = Features(unit, unit[:, None], whole.mask)
        for term, value in plain(Embeddings(**sides), wanted(*TERMS)).items():
            expected[term] = expected[term] + weight * value
    assert set(found) == set(TERMS)
    for term in TERMS:
        torch.testing.assert_close(found[term], expected[term])


def test_beginnings_worked_by_hand():
    audio = torch.tensor([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0]])
    vision = torch.tensor([[0.6, 0.0, -0.8], [0.0, -1.0, 0.0]])
    rows = torch.ones(2, 1, dtype=torch.bool)
    sides = (Features(one, one[:, None], rows) for one in (audio, vision))
    objective = contrastive(terms=("av",), temperature=1.0, matryoshka=(2,))
    found = objective(Embeddings(None, *sides), wanted("av", rows=2))["av"]
    # Whole: cosines [[-0.28, 0], [0, -1]]. The first two numbers: [[1, 0], [0, -1]].
    whole, short = (
        torch.tensor([[-0.28, 0.0], [0.0, -1.0]]),
        torch.tensor([[1.0, 0.0], [0.0, -1.0]]),
    )
    expected = sum(F.cross_entropy(one, torch.arange(2)) for one in (whole, short))
    torch.testing.assert_close(found, expected)


def test_gradients_reach_the_beginning_of_a_vector_by_all_widths():
    audio = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).double()
    vision = torch.randn(4, 6, generator=torch.Generator().manual_seed(1)).double()
    rows = torch.ones(4, 1, dtype=torch.bool)
    objective = contrastive(terms=("av",), matryoshka=(2, 3)).double()

    def loss(audio, vision):
        sides = [F.normalize(one, dim=1) for one in (audio, vision)]
        made = (Features(one, one[:, None], rows) for one in sides)
        return objective(Embeddings(None, *made), wanted("av", rows=4))["av"]

    assert torch.autograd.gradcheck(loss, (audio.requires_grad_(), vision.requires_grad_()))


def test_without_widths_nothing_changes():
    found = contrastive()(everything(), wanted("av"))["av"]
    sides = everything()
    assert found == info_nce(sides.audio.pooled, sides.vision.pooled, torch.tensor(1 / 0.07))


def test_a_beginning_of_zeros_is_finite():
    audio = torch.eye(3).requires_grad_()  # the first two numbers of the third row are 0
    rows = torch.ones(3, 1, dtype=torch.bool)
    sides = (Features(one, one[:, None], rows) for one in (audio, torch.eye(3)))
    objective = contrastive(terms=("av",), matryoshka=(2,))
    loss = objective(Embeddings(None, *sides), wanted("av", rows=3))["av"]
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(audio.grad).all()


def test_widths_of_whole_vectors_are_refused():
    objective = contrastive(terms=("av",), matryoshka=(3, 6))
    with pytest.raises(UserError, match=r"--objective\.matryoshka 6: the vectors of 'av' have 6"):
        objective(everything(), wanted("av"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"matryoshka": (0,)}, r"--objective\.matryoshka 0: give at least 1"),
        ({"matryoshka": (4, 4)}, r"--objective\.matryoshka 4 4: name each width once"),
        (
            {"matryoshka": (4, 2), "matryoshka_weights": (1.0,)},
            r"--objective\.matryoshka-weights 1: 1 for 2 widths of --objective\.matryoshka; give one",
        ),
        ({"matryoshka_weights": (1.0,)}, r"--objective\.matryoshka-weights 1: 1 for 0 widths"),
        (
            {"matryoshka": (4,), "matryoshka_weights": (float("inf"),)},
            r"--objective\.matryoshka-weights inf: give at least 0",
        ),
    ],
)
def test_impossible_widths_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        check(InfoNCE(**options), "--objective")


def test_fused_clips_have_no_beginnings():
    with pytest.raises(UserError, match=r"--objective\.matryoshka 4: 'ct' compares by a fusion"):
        contrastive(terms=("av", "ct"), matryoshka=(4,))
