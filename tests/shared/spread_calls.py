"""What each of several processes sees of `trichord.distributed`; run by its test.

usage: spread_calls.py FOLDER    under a launcher's environment
"""

import json
import sys
from pathlib import Path

import torch

from trichord.distributed import (
    OtherRankError,
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


def failing(call):
    try:
        call()
    except Exception as error:
        return [type(error).__name__, str(error)]


def mistake(text):
    raise UserError(text)


def gradient(rows):
    """Of a loss of all rows that each rank computes whole, averaged as parameters' gradients are."""
    held = rows.clone().requires_grad_()
    (all_gather_with_grad(held) ** 3).sum().backward()
    return (held.grad / world_size()).tolist()


def averaged(*values):
    held = [torch.nn.Parameter(torch.zeros(2)) for _ in values]
    for parameter, value in zip(held, values, strict=True):
        parameter.grad = None if value is None else torch.full((2,), value)
    average_gradients(held)
    return [None if one.grad is None else one.grad.tolist() for one in held]


def seen():
    ours = rank()
    rows = torch.arange(6.0).reshape(3, 2)[: 1 + 2 * ours] + 10 * ours
    some = torch.ones(3 * ours, dtype=torch.bool)
    every, place = all_gather(rows.requires_grad_())
    return {
        "who": [ours, world_size()],
        "rows": [every.tolist(), place.start, place.stop, every.requires_grad],
        "some": [all_gather(some)[0].tolist(), str(all_gather(some)[0].dtype)],
        "none": list(all_gather(torch.zeros(0, 5, dtype=torch.bfloat16))[0].shape),
        "shared": all_gather_with_grad(rows).tolist(),
        "gradient": gradient(rows.detach()),
        "of nothing": gradient(torch.zeros(0, 2) if ours else torch.ones(1, 2)),
        "sum": all_sum(torch.tensor([1.0 + ours, 5.0])).tolist(),
        "largest": all_max(7 - ours),
        "agreed": on_rank_0(lambda: {"made by": ours}),
        "disagreed": failing(lambda: on_rank_0(lambda: mistake(f"of {ours}"))),
        "together": on_all_ranks(lambda: ours),
        "one fails": failing(lambda: on_all_ranks(lambda: mistake("of 1") if ours else None)),
        "all fail": failing(lambda: on_all_ranks(lambda: mistake(f"of {ours}"))),
        "a defect": failing(lambda: on_all_ranks(lambda: 1 // (1 - ours))),
        "averaged": averaged(4.0, None if ours else 2.0, None),
        "echo": issubclass(OtherRankError, UserError),
    }


if __name__ == "__main__":
    with process_group("cpu"):
        (Path(sys.argv[1]) / f"{rank()}.json").write_text(json.dumps(seen()))
