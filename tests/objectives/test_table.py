"""The table of terms: what each compares, by which loss."""

from typing import get_args

import pytest
import torch

from trichord.objectives import SIDES, TERMS, WRITES, Loss, tiled_intra_nce, tiled_nce
from trichord.types import TermName


def test_every_term_that_can_be_asked_for_stands_in_the_table():
    assert {*TERMS, WRITES} == set(get_args(TermName))
    assert SIDES["mt"] == ("masked", "text")


def test_sounds_and_their_copies_have_a_loss_of_their_own():
    assert TERMS["aa"].loss is tiled_intra_nce
    assert {TERMS[name].loss for name in ("av", "at", "vt", "mt", "tt", "vv")} == {tiled_nce}
    assert isinstance(tiled_nce, Loss)


def test_sounds_and_their_copies_have_no_groups():
    rows = torch.eye(3)
    with pytest.raises(ValueError, match="no groups"):
        tiled_intra_nce(rows, rows, torch.tensor(1.0), tile=9, groups=torch.tensor([0, 0, 1]))
