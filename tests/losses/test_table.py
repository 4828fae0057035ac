"""The table of terms: what each compares, by which loss."""

import pytest
import torch

from trichord.losses.info_nce import intra_nce
from trichord.types import UserError
from trichord.types.terms import TERMS, term_of


def test_terms_say_what_they_compare():
    assert TERMS["mt"].sides == ("masked", "text")
    assert {name for name, term in TERMS.items() if not term.contrasts} == {
        *("lm", "a-distil", "v-distil", "t-distil")
    }


def test_a_term_that_is_nowhere_is_named_with_those_that_are():
    with pytest.raises(UserError, match="There is no loss term 'avt' here: did you mean 'vt'"):
        term_of("avt")


def test_sounds_and_their_copies_have_no_groups():
    rows = torch.eye(3)
    with pytest.raises(ValueError, match="no groups"):
        intra_nce(rows, rows, torch.tensor(1.0), tile=9, groups=torch.tensor([0, 0, 1]))
