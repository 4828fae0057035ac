"""Pretrained towers from a folder or a model hub, in the `transformers` format."""

from pathlib import Path
from typing import Any

from huggingface_hub.utils import logging as hub_logging
from transformers import logging as transformers_logging

from trichord.types import UserError

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()
hub_logging.set_verbosity_error()  # its retries would hide our one line

CLIP_STAND_IN, CLAP_STAND_IN = "stand-in-clip", "stand-in-clap"
STAND_INS = {
    name: Path(__file__).parent / "stand_ins" / name for name in (CLIP_STAND_IN, CLAP_STAND_IN)
}
"""The small towers of the generated world that come with the package, by the name they are called."""


def load(kind: Any, name: str, **options: object) -> Any:
    """Load a `transformers` model, tokenizer or preprocessor by folder, stand-in name or hub name.

    Weights come from safetensors files only and no code of a checkpoint is ever run.

    Raises:
        UserError: Neither a folder nor a name that the hub answers to, or a folder of another kind.
    """
    place = STAND_INS.get(name) or Path(name)
    try:
        if place.is_dir():
            return kind.from_pretrained(str(place), local_files_only=True, **options)
        return kind.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = "in that folder" if place.is_dir() else "as a folder or at the model hub"
        raise UserError(
            f"The model '{name}' could not be loaded {where} ({why}): check the name, the network, "
            "or give a local folder in the transformers format."
        ) from error
