import torch

from trichord.types.rng import isolated_rng


def test_what_is_drawn_inside_is_not_missed_outside():
    torch.manual_seed(7)
    expected = torch.rand(6)
    torch.manual_seed(7)
    first = torch.rand(3)
    with isolated_rng():
        torch.rand(100)
    with isolated_rng(3):
        torch.rand(1)
    assert torch.equal(torch.cat([first, torch.rand(3)]), expected)


def test_a_seed_gives_the_numbers_that_it_gives_torch():
    torch.manual_seed(3)
    expected = torch.rand(4)
    with isolated_rng(3):
        assert torch.equal(torch.rand(4), expected)


def test_after_an_error_too_they_are_as_they_were():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    try:
        with isolated_rng(3):
            raise ValueError
    except ValueError:
        assert torch.equal(torch.get_rng_state(), before)
