"""Pretrained models in the `transformers` format: loaded completely, or refused."""

from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig
from transformers import logging as transformers_logging

from trichord.encoders.foreign import format_of
from trichord.encoders.hub import fetch_model
from trichord.encoders.weight_files import (
    PICKLE,
    SAFETENSORS,
    WeightFiles,
    holds_code,
    weight_files,
)
from trichord.types import UserError, first_line

PICKLES = "pickles are read only where they hold nothing but tensors"
NAMED = 3
"""Number of tensors that an error names."""


def load(kind: Any, name: str, *, weights: bool = True) -> Any:
    """Load a configuration, tokenizer or preprocessor by folder, hub name or name of weights.

    Args:
        kind: Its class in `transformers`.
        name: As for `fetch_model`.
        weights: As for `fetch_model`: the model itself will be needed too.

    Raises:
        UserError: As for `fetch_model`; or the folder does not contain it.
    """
    folder = fetch_model(name, weights=weights)
    try:
        with quiet():
            return kind.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        what = kind.__name__.removeprefix("Auto")
        raise UserError(
            # Further sentences of theirs are about the hub, which is not asked here.
            f"The model '{name}' has no {what} that can be read in {folder} "
            f"({first_line(error).partition('. ')[0]}): "
            "fetch the whole model again, or choose another."
        ) from error


def load_model(
    kind: Any,
    name: str,
    model_types: Collection[str] = (),
    dtype: Any = torch.float32,
    **options: Any,
) -> Any:
    """Load weights, and refuse incomplete ones.

    `transformers` initialises missing weights randomly and only logs it; then each build would give
    other vectors. Weights are safetensors; if there are none, a pickle of tensors, which is read without
    running its code.

    Args:
        kind: A class of `transformers`.
        name: As for `fetch_model`.
        model_types: Allowed types in its configuration; all if there are none.
        dtype: Of the weights in memory; `auto`: as they are stored.
        options: Further arguments of `from_pretrained`.

    Raises:
        UserError: As for `fetch_model`; another type of model; or tensors are missing, of another
            shape, or not in the configuration.
    """
    folder = fetch_model(name)
    kind_of_model = require_type(name, model_types) if model_types else model_type(name)
    files = require_weights(folder, name)
    try:
        with quiet():
            model, info = kind.from_pretrained(
                str(folder),
                local_files_only=True,
                use_safetensors=files.safetensors,
                weights_only=True,  # reads only tensors, and runs no code of a pickle
                dtype=dtype,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # refused below, by name: its own error names none
                **options,
            )
    except Exception as error:  # a hostile or damaged file may raise anything
        path = files.folder / files.names[0]
        if holds_code(error):  # torch's message advises to run the code
            raise UserError(
                f"{path} holds more than tensors, and Trichord runs no code of a file: save the model as "
                f"{SAFETENSORS}, or choose another."
            ) from error
        raise UserError(
            f"The weights of the model '{name}' cannot be read ({path}: {first_line(error)}): fetch them "
            + (
                "again."
                if files.safetensors
                else f"again, or save them as {SAFETENSORS}: {PICKLES}."
            )
        ) from error
    require_all(name, kind_of_model, files, model, info)
    return model


def require_weights(folder: Path, name: str) -> WeightFiles:
    """The weight files in a folder.

    Raises:
        UserError: There are none; or as for `weight_files`.
    """
    files = weight_files(folder)
    if files is None:
        other = format_of(folder)
        raise UserError(
            f"The model '{name}' has no weights in {folder}: it takes {SAFETENSORS} or {PICKLE}, in one "
            f"file or in shards with their index.{other and f' The folder holds {other}.'}"
        )
    return files


def model_type(name: str) -> str:
    """The type in a model's configuration.

    Raises:
        UserError: As for `load`.
    """
    config: Any = load(AutoConfig, name)
    return config.model_type


def require_type(name: str, model_types: Collection[str]) -> str:
    """The type in a model's configuration.

    Raises:
        UserError: As for `load`; or it is not allowed.
    """
    found = model_type(name)
    if found not in model_types:
        raise UserError(
            f"The model '{name}' is of type '{found}', and this tower takes "
            f"{', '.join(sorted(model_types))}: choose another model."
        )
    return found


def require_all(
    name: str, kind_of_model: str, files: WeightFiles, model: Any, info: dict[str, Any]
) -> None:
    """Refuse a model with missing or unknown weights.

    Args:
        name: Of the model, for the message.
        kind_of_model: Its type, for the message.
        files: Its weights.
        model: The loaded model.
        info: What `transformers` reports about loading it.

    Raises:
        UserError: Tensors are missing, of another shape, or not in the configuration.
    """
    file = files.folder / (files.index or files.names[0])
    label = f"The weights of '{name}' (type '{kind_of_model}', {file})"
    ours, kind = model.state_dict(), type(model).__name__
    parts = {tensor.partition(".")[0] for tensor in ours}
    missing = sorted(info["missing_keys"])
    mismatched = sorted(str(one[0]) for one in info["mismatched_keys"])
    # Other towers in the same file are ignored. Older files contain the numbers of positions.
    beyond = sorted(
        tensor
        for tensor in info["unexpected_keys"]
        if tensor.partition(".")[0] in parts and not tensor.endswith(".position_ids")
    )
    faults = {
        f"lack {len(missing)} of the {len(ours)} tensors of {kind}": missing,
        f"have {len(mismatched)} of another shape than its config.json says": mismatched,
        f"have {len(beyond)} that its config.json knows nothing of": beyond,
    }
    for fault, tensors in faults.items():
        if tensors:
            listed = ", ".join(tensors[:NAMED]) + ", ..." * (len(tensors) > NAMED)
            raise UserError(
                f"{label} {fault} ({listed}): give a whole checkpoint of the right kind."
            )


@contextmanager
def quiet() -> Generator[None]:
    """Silence the reports and progress bars of `transformers`, and restore them afterwards."""
    verbosity, bars = (
        transformers_logging.get_verbosity(),
        transformers_logging.is_progress_bar_enabled(),
    )
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
