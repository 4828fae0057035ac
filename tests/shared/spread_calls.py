"""What each of several processes sees of `trichord.distributed`; run by its test.

usage: spread_calls.py FOLDER    under a launcher's environment
"""

import json
import sys
from pathlib import Path

import torch

from trichord.distributed import (
    EchoError,
    agreed,
    average_gradients,
    gathered,
    joined,
    largest,
    rank,
    ranks,
    shared,
    summed,
    together,
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
    (shared(held) ** 3).sum().backward()
    return (held.grad / ranks()).tolist()


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
    every, place = gathered(rows.requires_grad_())
    return {
        "who": [ours, ranks()],
        "rows": [every.tolist(), place.start, place.stop, every.requires_grad],
        "some": [gathered(some)[0].tolist(), str(gathered(some)[0].dtype)],
        "none": list(gathered(torch.zeros(0, 5, dtype=torch.bfloat16))[0].shape),
        "shared": shared(rows).tolist(),
        "gradient": gradient(rows.detach()),
        "of nothing": gradient(torch.zeros(0, 2) if ours else torch.ones(1, 2)),
        "sum": summed(torch.tensor([1.0 + ours, 5.0])).tolist(),
        "largest": largest(7 - ours),
        "agreed": agreed(lambda: {"made by": ours}),
        "disagreed": failing(lambda: agreed(lambda: mistake(f"of {ours}"))),
        "together": together(lambda: ours),
        "one fails": failing(lambda: together(lambda: mistake("of 1") if ours else None)),
        "all fail": failing(lambda: together(lambda: mistake(f"of {ours}"))),
        "a defect": failing(lambda: together(lambda: 1 // (1 - ours))),
        "averaged": averaged(4.0, None if ours else 2.0, None),
        "echo": issubclass(EchoError, UserError),
    }


if __name__ == "__main__":
    with joined("cpu"):
        (Path(sys.argv[1]) / f"{rank()}.json").write_text(json.dumps(seen()))
