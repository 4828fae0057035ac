"""Mixed precision in bfloat16, on processors too, where some convolutions in it are wrong."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (torch.conv1d, torch.conv2d, torch.conv3d)


class Float32Convolutions(TorchFunctionMode):
    """Convolutions in float32 within a block of mixed precision.

    On processors with matrix tiles (AMX), oneDNN's bfloat16 convolutions give noise for some shapes, such
    as eight channels a group under an even kernel: measured with torch 2.13, cosine 0.85 to the right
    values. Other shapes are reported too (pytorch/pytorch#169688). Convolutions are a small part of a
    transformer, and float32 is right on every processor.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch; a convolution outside of mixed precision."""
        if func not in CONVOLUTIONS:
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            whole = [one.float() if isinstance(one, Tensor) else one for one in args]
            return func(*whole, **(kwargs or {}))


@contextmanager
def half_precision(device: torch.device) -> Generator[None]:
    """A block of mixed precision in bfloat16.

    Args:
        device: Of the tensors. On a processor convolutions stay in float32.
    """
    with torch.autocast(device.type, torch.bfloat16):
        if device.type != "cpu":
            yield
            return
        with Float32Convolutions():
            yield
