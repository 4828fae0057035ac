import pytest
import torch

from trichord.checkpoint import Progress
from trichord.config import Stage
from trichord.training.soundness import (
    MOST_EMPTY,
    MOST_IN_A_ROW,
    Buffers,
    is_finite,
    refuse_skips,
    refuse_unfinite,
    refuse_unlearnt,
)
from trichord.types import UserError

STAGE = Stage(name="s", trains=(), draws=(), criterion=())


@pytest.mark.parametrize(
    ("loss", "gradient", "sound"),
    [
        (1.0, [1.0, 2.0], True),
        (float("nan"), [1.0, 2.0], False),
        (float("inf"), [1.0, 2.0], False),
        (1.0, [1.0, float("nan")], False),
        (1.0, [float("-inf"), 2.0], False),
    ],
)
def test_loss_and_gradient_must_both_be_finite(loss, gradient, sound):
    still, moved = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))
    moved.grad = torch.tensor(gradient)
    assert is_finite(torch.tensor(loss), [still, moved]) is sound


def test_without_any_gradient_the_loss_decides():
    assert is_finite(torch.tensor(1.0), [torch.nn.Parameter(torch.ones(3))])


def test_too_many_in_a_row_end_training_with_the_step_and_a_remedy():
    refuse_skips(STAGE, Progress(epoch=3, step=4, skipped_in_a_row=MOST_IN_A_ROW - 1))
    expected = r"Stage 's', epoch 3, step 5: for 10 steps in a row .* lower --stages.N.optimizer.lr"
    with pytest.raises(UserError, match=expected) as told:
        refuse_skips(STAGE, Progress(epoch=3, step=4, skipped_in_a_row=MOST_IN_A_ROW))
    assert "\n" not in str(told.value)


def test_a_stage_whose_first_steps_are_all_empty_is_ended():
    last = Progress(epoch=1, step=MOST_EMPTY - 1, empty=MOST_EMPTY)
    for going_on in (
        Progress(epoch=1, step=MOST_EMPTY - 2, empty=MOST_EMPTY - 1),
        Progress(epoch=1, step=MOST_EMPTY, empty=MOST_EMPTY),  # one of them had something
        Progress(epoch=2, step=MOST_EMPTY - 1, empty=MOST_EMPTY),
    ):
        refuse_skips(STAGE, going_on)
    expected = r"Stage 's' learnt nothing: none of the first 100 steps had anything to learn from"
    with pytest.raises(UserError, match=expected) as told:
        refuse_skips(STAGE, last)
    assert "\n" not in str(told.value)


def test_a_stage_without_a_single_step_is_no_training():
    epochs = [{"loss": None, "empty": 0, "skipped": 0}, {"loss": None, "empty": 3, "skipped": 1}]
    refuse_unlearnt(STAGE, [*epochs, {"loss": 1.0, "empty": 2, "skipped": 0}])
    expected = "3 steps had nothing to learn from, 1 a loss that was not finite, and there were no"
    with pytest.raises(UserError, match=expected):
        refuse_unlearnt(STAGE, epochs)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_called_trained(value):
    sound, broken = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    refuse_unfinite([sound, broken])
    broken.data[1] = value
    with pytest.raises(UserError, match=r"has diverged; .* lower --stages\.N\.optimizer\.lr"):
        refuse_unfinite([sound, broken])


def test_buffers_of_what_trains_are_put_back_and_others_are_not_looked_at():
    norms = torch.nn.ModuleList([torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2).eval()])
    buffers = Buffers(norms)
    copies = buffers.copies()
    assert len(copies) == 3  # mean, variance and count of one
    for norm in norms:
        norm.train()(torch.full((4, 2), float("nan")))
    buffers.restore(copies)
    assert torch.isfinite(norms[0].running_mean).all()
    assert norms[0].num_batches_tracked == 0
    assert torch.isnan(norms[1].running_mean).all()
