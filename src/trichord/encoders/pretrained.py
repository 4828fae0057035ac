"""Pretrained towers from a folder or a model hub, in the `transformers` format."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.utils import HFValidationError
from huggingface_hub.utils import logging as hub_logging
from transformers import logging as transformers_logging

from trichord.types import UserError

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
hub_logging.set_verbosity_error()  # its retries would hide our one line

CLIP_STAND_IN, CLAP_STAND_IN = "stand-in-clip", "stand-in-clap"
_PACKAGE = find_spec("trichord_stand_ins")
STAND_INS = {
    name: Path(_PACKAGE.origin).parent / name
    for name in (CLIP_STAND_IN, CLAP_STAND_IN)
    if _PACKAGE is not None and _PACKAGE.origin is not None
}
"""The small towers of the generated world, by the name they are called; a distribution of their own, three
times as large as this one."""


def load(kind: Any, name: str, **options: object) -> Any:
    """Load a `transformers` model, tokenizer or preprocessor by folder, stand-in name or hub name.

    A hub name may end in `@` and a commit; else it is what the hub holds at the time.
    Weights come from safetensors files only and no code of a checkpoint is ever run.

    Raises:
        UserError: Neither a folder nor a name that the hub answers to, or a folder of another kind.
    """
    if name in (CLIP_STAND_IN, CLAP_STAND_IN) and name not in STAND_INS:
        raise UserError(
            f"The tower '{name}' of the generated world is not installed: pip install 'trichord[world]'."
        )
    place = STAND_INS.get(name) or Path(name)
    try:
        if place.is_dir():
            return kind.from_pretrained(str(place), local_files_only=True, **options)
        hub, _, commit = name.partition("@")
        return kind.from_pretrained(hub, **options, **({"revision": commit} if commit else {}))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = "in that folder" if place.is_dir() else "as a folder or at the model hub"
        raise UserError(
            f"The model '{name}' could not be loaded {where} ({why}): check the name, the network, "
            "or give a local folder in the transformers format."
        ) from error


def folder_of(name: str) -> Path | None:
    """Where a model lies on this machine, by folder, stand-in name or hub name; None: nowhere."""
    place = STAND_INS.get(name) or Path(name)
    if place.is_dir():
        return place.absolute()
    try:
        hub, _, commit = name.partition("@")
        found = try_to_load_from_cache(hub, "config.json", revision=commit or None)
    except HFValidationError:  # neither a folder nor a name that a hub could have
        return None
    return Path(found).parent if isinstance(found, str) else None
