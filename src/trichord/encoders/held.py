"""Pretrained weights that a command reads once, however many models it builds of them.

A model of its own layers takes the weights of the one before, and copies them before it changes any.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from torch import Tensor, nn
from transformers import PreTrainedModel

from trichord.encoders.hub import folder_of
from trichord.encoders.pretrained import load, load_model

Kind = TypeVar("Kind")
Key = tuple[object, ...]

MOST = 8
"""Models, tokenizers and preprocessors that are kept at once, those used last: SLAVA's systems take six."""
PRINTS = "prints"
"""Of a tensor that is lent: fingerprints that were made of it and its like, by what they are prints of."""

_SHELF: ContextVar[OrderedDict[Key, Any] | None] = ContextVar("shelf", default=None)


@contextmanager
def towers_held() -> Generator[None]:
    """Within it, what one model has read of a pretrained tower is lent to the next."""
    before = _SHELF.get()
    hold_towers()
    try:
        yield
    finally:
        _SHELF.set(before)


def hold_towers() -> None:
    """As `towers_held`, from now on: for a process that does nothing but train."""
    if _SHELF.get() is None:
        _SHELF.set(OrderedDict())


def held(kind: type[Kind], name: str) -> Kind:
    """As `load`; within `towers_held`, a tokenizer or preprocessor is the one that was read before.

    Raises:
        UserError: As for `load`.
    """
    return _held(kind, name, lambda: load(kind, name))


def held_model(kind: type[PreTrainedModel], name: str, model_types: Collection[str]) -> Any:
    """As `load_model`; within `towers_held`, a model has the weights of the one that was read before.

    Call `own` before changing any.

    Raises:
        UserError: As for `load_model`.
    """
    return _held(kind, name, lambda: load_model(kind, name, model_types))


def _held(kind: type, name: str, read: Callable[[], Any]) -> Any:
    shelf = _SHELF.get()
    mark = None if shelf is None else _mark(name)
    if shelf is None or mark is None:
        return read()
    key = (kind, name, mark)
    if key not in shelf:
        shelf[key] = read()
    shelf.move_to_end(key)
    while len(shelf) > MOST:
        shelf.popitem(last=False)
    return _lent(shelf[key])


def _mark(name: str) -> Key | None:
    """What a folder holds: another model may be written there. None: it is not there yet."""
    folder = folder_of(name)
    if folder is None:
        return None
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return tuple((path.name, (s := path.stat()).st_size, s.st_mtime_ns) for path in files)


def _lent(thing: Any) -> Any:
    """A model of other layers on the same memory; what has no weights is lent itself."""
    if not isinstance(thing, nn.Module):
        return thing
    prints: dict[str, str] = vars(thing).setdefault(PRINTS, {})
    same: dict[int, Any] = {id(prints): prints}
    for one in thing.parameters():
        same[id(one)] = _marked(nn.Parameter(one.data, requires_grad=False), prints)
    for one in thing.buffers():
        same[id(one)] = _marked(one.data, prints)
    return copy.deepcopy(thing, same)


def _marked(tensor: Tensor, prints: dict[str, str]) -> Tensor:
    setattr(tensor, PRINTS, prints)
    return tensor


def own(module: nn.Module) -> None:
    """Copy what is lent: from now on the module may change it."""
    for one in module.parameters():
        if hasattr(one, PRINTS):
            one.data = one.data.clone()  # the parameter stays: an optimizer may know it already
            delattr(one, PRINTS)
    for part in module.modules():
        for name, one in list(part.named_buffers(recurse=False)):
            if hasattr(one, PRINTS):
                setattr(part, name, one.clone())


def prints_of(module: nn.Module) -> dict[str, str]:
    """Fingerprints that models on the same memory have made; a new book where none of it is lent."""
    books = [getattr(one, PRINTS, None) for one in module.parameters()]
    first = books[0] if books else None
    return first if first is not None and all(book is first for book in books) else {}
