import json

import pytest
import torch
from processes import spread

from trichord.distributed import (
    all_gather,
    all_gather_with_grad,
    all_max,
    all_sum,
    average_gradients,
    on_all_ranks,
    on_rank_0,
    process_group,
    rank,
    world_size,
)
from trichord.types import UserError


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What each of two processes saw; the first has one row, the second three."""
    folder = tmp_path_factory.mktemp("seen")
    spread("spread_calls", 2, folder)
    return [json.loads((folder / f"{number}.json").read_text()) for number in (0, 1)]


ROWS = [[0.0, 1.0], [10.0, 11.0], [12.0, 13.0], [14.0, 15.0]]


def test_rows_of_all_ranks_stand_in_their_order(seen):
    assert [one["who"] for one in seen] == [[0, 2], [1, 2]]
    assert [one["rows"] for one in seen] == [[ROWS, 0, 1, False], [ROWS, 1, 4, False]]
    assert [one["some"] for one in seen] == [[[True] * 3, "torch.bool"]] * 2
    assert [one["none"] for one in seen] == [[0, 5]] * 2
    assert [one["shared"] for one in seen] == [ROWS] * 2


def test_the_mean_over_ranks_of_gradients_is_the_gradient_of_the_one_loss(seen):
    every = [[3 * value**2 for value in row] for row in ROWS]
    # A parameter's gradient on a rank is that of its rows times the ranks; here the mean is taken.
    assert [one["gradient"] for one in seen] == [every[:1], every[1:]]
    assert [one["of nothing"] for one in seen] == [[[3.0, 3.0]], []]


def test_sums_and_maxima_are_over_all_ranks(seen):
    assert [one["sum"] for one in seen] == [[3.0, 10.0]] * 2
    assert [one["largest"] for one in seen] == [7, 7]


def test_rank_0_decides_and_its_failure_is_everyones(seen):
    assert [one["agreed"] for one in seen] == [{"made by": 0}] * 2
    assert [one["disagreed"][0] for one in seen] == ["UserError", "OtherRankError"]
    assert seen[0]["disagreed"][1] == "of 0"
    assert seen[0]["echo"]


def test_a_failure_of_one_is_everyones_and_one_alone_says_what_it_was(seen):
    assert [one["together"] for one in seen] == [0, 1]
    assert [one["one fails"][0] for one in seen] == ["OtherRankError", "UserError"]
    assert [one["all fail"][0] for one in seen] == ["UserError", "OtherRankError"]
    assert [one["a defect"][0] for one in seen] == ["OtherRankError", "ZeroDivisionError"]


def test_gradients_are_averaged_and_what_no_rank_used_stays_without(seen):
    expected = [[4.0, 4.0], [1.0, 1.0], None]
    assert [one["averaged"] for one in seen] == [expected] * 2


def test_alone_everything_is_what_it_was():
    rows = torch.ones(3, 2, requires_grad=True)
    every, ours = all_gather(rows)
    assert (rank(), world_size(), all_max(5)) == (0, 1, 5)
    assert torch.equal(every, rows)
    assert not every.requires_grad
    assert ours == slice(0, 3)
    assert all_gather_with_grad(rows) is rows
    assert all_sum(torch.tensor(2.0)) == 2
    assert on_rank_0(lambda: "x") == on_all_ranks(lambda: "x") == "x"
    parameter = torch.nn.Parameter(torch.ones(1))
    average_gradients([parameter])
    assert parameter.grad is None


def test_without_other_processes_there_is_nothing_to_join(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group("cpu"):
        assert not torch.distributed.is_initialized()


def test_a_gpu_of_its_own_is_each_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(UserError, match="--device cuda:1: each process uses"),
        process_group("cuda:1"),
    ):
        pass
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="this machine has 2 GPUs"), process_group("cuda"):
        pass
