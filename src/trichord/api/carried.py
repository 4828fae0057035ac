"""Text towers that a collection holds itself: words are searched without its model, and without torch.

They lie in it with vectors that the model gave, and are used only where they give the same ones. Who
opens a collection need not have made it: no path is made of what it says, but for a fingerprint that
is looked at first.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trichord.api.shortcut import (
    ROLES,
    TOWARDS,
    TRIED,
    Unusable,
    as_kept,
    fingerprint_of,
    near,
    opened,
    tried,
    write,
)
from trichord.encoders.weight_files import SAFETENSORS
from trichord.search.query_model import QueryModel
from trichord.types import UserError
from trichord.types.files import write_atomically

if TYPE_CHECKING:  # a search by text never loads torch
    from trichord.models.embedder import Embedder
    from trichord.search.collection import Collection

CARRIED = "texts"
"""A folder of the collection with the text towers that it holds itself, each in one of its own."""
MADE = f"{CARRIED}/made.json"
"""What is known of them; written last, and so there only where all of them are."""
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
NAMES = (CONFIG, TOKENIZER, SAFETENSORS)
"""Of a tower's files."""


def carry(collection: "Collection", model: "Embedder") -> None:
    """Put the text towers into a collection itself, so that words are searched wherever it is.

    Raises:
        UserError: They are not those of CLIP and CLAP in float32; or it cannot be written to.
    """
    try:
        kept, texts = tried(collection, model)
        for role, tower in texts.items():
            weights = tower.written()
            described = (Path(tower.source.folder) / CONFIG).read_bytes()
            tokenizer = Path(kept["tokenizers"][role]).read_bytes()
            collection.storage.write(f"{CARRIED}/{role}/{CONFIG}", described)
            collection.storage.write(f"{CARRIED}/{role}/{TOKENIZER}", tokenizer)
            collection.storage.write(f"{CARRIED}/{role}/{SAFETENSORS}", weights)
    except Unusable as error:
        raise UserError(
            f"--portable: {collection.description.run} has a text tower that only torch or onnxruntime "
            "can run: leave the option out."
        ) from error
    made = {
        "fingerprint": collection.description.fingerprint,
        "towers": {role: asdict(tower.source) for role, tower in texts.items()},
        "reranks": kept["reranks"],
        "vectors": {toward: model.embed_text(TRIED, toward).tolist() for toward in TOWARDS},
    }
    collection.storage.write(MADE, json.dumps(made) + "\n")


def carried_model(collection: "Collection", whole: "Callable[[], Embedder]") -> QueryModel | None:
    """The model of a collection by the text towers that it holds; None where it holds none.

    They are tried by the vectors that the model gave, as this machine computes them.

    Raises:
        UserError: As for `fingerprint_of`; or the collection cannot be read, or its cache be written to.
    """
    with suppress(*Unusable):
        made: dict[str, Any] = json.loads(collection.storage.read(MADE) or b"null")
        if made["fingerprint"] != fingerprint_of(collection):
            return None
        kept = _unpacked(collection, made)
        short = opened(collection, kept, whole)
        if all(near(short, toward, made["vectors"][toward]) for toward in TOWARDS):
            with suppress(UserError):  # where it cannot be written to, they are tried each time
                write(collection, kept)
            return short
    return None


def _unpacked(collection: "Collection", made: dict[str, Any]) -> dict[str, Any]:
    """What is kept of text towers that a collection holds; those in a bucket are fetched first.

    Raises:
        ValueError: One is a graph, which `carry` never writes: a stranger's is not run.
    """
    told = {role: made["towers"][role] for role in ROLES if role in made["towers"]}
    if any(one["kind"] == "graph" for one in told.values()):
        raise ValueError("Graphs are not carried.")
    held = {role: _fetched(collection, role) for role in told}
    towers = {
        role: told[role] | {"folder": str(folder), "files": [str(folder / SAFETENSORS)]}
        for role, folder in held.items()
    }
    files = [str(folder / name) for folder in held.values() for name in NAMES]
    tokenizers = {role: str(folder / TOKENIZER) for role, folder in held.items()}
    return as_kept(files, towers, reranks=bool(made["reranks"])) | {"tokenizers": tokenizers}


def _fetched(collection: "Collection", role: str) -> Path:
    """The folder of a text tower on this machine; out of a bucket a file is read only once."""
    storage = collection.storage
    root = storage.local or storage.cache / f"carried-{fingerprint_of(collection)}"
    folder = root.absolute() / CARRIED / role
    for name in NAMES if storage.local is None else ():
        if not (folder / name).is_file():
            content = storage.read(f"{CARRIED}/{role}/{name}")
            if content is not None:
                write_atomically(folder / name, content)
    return folder
