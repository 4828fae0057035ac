"""A cache of pretrained encoders, which a command loads once for all models that it builds.

Models share the memory of their frozen trunks, but not the modules. `unshare` copies a trunk before its
weights change.
"""

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import nn

from trichord.encoders.hub import folder_of
from trichord.encoders.pretrained import load

Options = ParamSpec("Options")
Rest = TypeVar("Rest")
Kind = TypeVar("Kind")
Tower = tuple[nn.Module, nn.Module, Rest]
"""Trunk, head, and other data of an encoder."""

FINGERPRINTS = "shared_fingerprints"
"""Attribute of a shared trunk: its fingerprints by preparation, for all models that share the weights."""

_caches: list[dict[object, Any]] = []
"""Of nested `shared_towers` blocks; all entries are the same cache."""


@contextmanager
def shared_towers() -> Generator[None]:
    """Load each pretrained encoder once within the block; models share their frozen trunks."""
    _caches.append(_caches[-1] if _caches else {})
    try:
        yield
    finally:
        _caches.pop()


def load_cached(kind: type[Kind], name: str) -> Kind:
    """As `load`, for a tokenizer or preprocessor; within `shared_towers`, it is loaded once.

    Raises:
        UserError: As for `load`.
    """
    return _cached(name, kind, lambda: load(kind, name))


def shared_trunk(
    read: Callable[Concatenate[str, Options], Tower[Rest]],
) -> Callable[Concatenate[str, Options], Tower[Rest]]:
    """Decorate a function that loads an encoder by name: within `shared_towers`, trunks share memory.

    Each call returns new trunk modules, and a head with its own weights.
    """

    @wraps(read)
    def shared(name: str, *args: Options.args, **kwargs: Options.kwargs) -> Tower[Rest]:
        if not _caches:
            return read(name, *args, **kwargs)
        key = (read, args, tuple(sorted(kwargs.items())))
        trunk, head, rest = _cached(name, key, lambda: read(name, *args, **kwargs))
        return _on_same_memory(trunk), copy.deepcopy(head), rest

    return shared


def _cached(name: str, key: object, read: Callable[[], Any]) -> Any:
    folder = folder_of(name)
    if not _caches or folder is None:  # None: not fetched from the hub yet
        return read()
    # Another model may be written to the same place.
    files = sorted(path for path in folder.iterdir() if path.is_file())
    content = tuple((path.name, (s := path.stat()).st_size, s.st_mtime_ns) for path in files)
    full_key, cache = (name, key, content), _caches[-1]
    if full_key not in cache:
        cache[full_key] = read()
    return cache[full_key]


def _on_same_memory(trunk: nn.Module) -> nn.Module:
    fingerprints: dict[str, str] = vars(trunk).setdefault(FINGERPRINTS, {})
    # `deepcopy` takes objects from its memo instead of copying them.
    memo: dict[int, Any] = {id(fingerprints): fingerprints}
    memo |= {
        id(tensor): nn.Parameter(tensor.data, requires_grad=False) for tensor in trunk.parameters()
    }
    memo |= {id(tensor): tensor.data for tensor in trunk.buffers()}
    return copy.deepcopy(trunk, memo)


def part_of(whole: nn.Module, part: Kind) -> Kind:
    """Mark a trunk as made of modules of a shared one, whose memory it shares as well.

    Several encoders may each keep what they need of one model, under preparations of their own.
    """
    if FINGERPRINTS in vars(whole):
        vars(part)[FINGERPRINTS] = vars(whole)[FINGERPRINTS]
    return part


def unshare(trunk: nn.Module) -> None:
    """Copy the weights of a trunk that shares them, so that it may change them."""
    if vars(trunk).pop(FINGERPRINTS, None) is None:
        return
    for tensor in trunk.parameters():
        tensor.data = tensor.data.clone()  # the parameter stays, because an optimizer may have it
    for part in trunk.modules():
        for name, tensor in list(part.named_buffers(recurse=False)):
            setattr(part, name, tensor.clone())


def known_fingerprints(trunk: nn.Module) -> dict[str, str]:
    """Fingerprints of a shared trunk; an empty dict if it is not shared."""
    return vars(trunk).get(FINGERPRINTS, {})
