"""A short cut to the model of a collection: what a search by text needs of it, without loading it.

Beside a collection lies what its model was when it was last loaded whole: its fingerprint, the files
that it was made of, and the text tower's tokenizer. As long as these files are as they were, the
text tower is run from them in numpy; else, and for all that is no text, the whole model is loaded.
It is kept only where numpy has given the very vectors of the model.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trichord.api.model import embedder_of
from trichord.encoders.plain_text import PlainText, Shape, StoredWeights
from trichord.search.query_model import QueryModel
from trichord.types import UserError
from trichord.types.files import write_atomically

if TYPE_CHECKING:  # a search by text never loads torch
    from trichord.config import Experiment
    from trichord.models.embedder import Embedder
    from trichord.search.collection import Collection

NEAR = 1e-5
"""By how much a number of a vector in numpy may differ from the model's."""
TRIED = (
    "a dog barks while it rains",
    "Two people aren't talking, are they? 1,234 – naïve Ünïcode; 字",
    " ".join(["a long sentence that will have to be cut somewhere"] * 12),
    "x",
)
"""Texts by which both are compared."""
VERSIONED = ("trichord", "transformers", "tokenizers")


def model_of(collection: "Collection") -> "Embedder | QueryModel":
    """The model of a collection, loaded as far as the short cut cannot stand for it.

    Raises:
        UserError: As for `embedder_of`; or it has other weights than when the vectors were made.
    """

    def load() -> "Embedder":
        model = embedder_of(collection.description.run)
        collection.require(model.fingerprint)
        return model

    fingerprint = collection.description.fingerprint
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept: dict[str, Any] = json.loads(_place(collection, "json").read_text())
        if kept["versions"] == _versions() and kept["files"] == _marks(kept["files"]):
            text = _tower(collection, kept)
            return QueryModel(fingerprint, text, load, reranks=kept["reranks"])
    model = load()
    keep(collection, model)
    return model


def keep(collection: "Collection", model: "Embedder") -> None:
    """Keep a short cut to the model of a collection, where one leads to the same vectors.

    Where the place cannot be written to, or the model is of another kind, nothing is kept.
    """
    with suppress(UserError, OSError, ValueError, KeyError, TypeError):
        experiment, run = _origin(collection.description.run)
        kept = _described(experiment, run, model)
        tokenizer: Any = model.text.tokenizer
        write_atomically(_place(collection, "tokenizer"), tokenizer.backend_tokenizer.to_str())
        found = _tower(collection, kept).embed(TRIED)
        if np.abs(found - model.embed_text(TRIED)).max() <= NEAR:
            write_atomically(_place(collection, "json"), json.dumps(kept, indent=2) + "\n")


def _origin(name: str) -> "tuple[Experiment, Path | None]":
    """The experiment of a run or of that name, and the run's folder."""
    from trichord.checkpoint import Run
    from trichord.experiments import EXPERIMENTS

    if Path(name).is_dir():
        return Run(Path(name)).experiment(), Path(name)
    return EXPERIMENTS[name][1], None


def _described(experiment: "Experiment", run: Path | None, model: "Embedder") -> dict[str, Any]:
    """What is kept of a model.

    Raises:
        ValueError: There is no short cut to such a model.
    """
    from trichord.encoders.clip import ClipTextEncoder
    from trichord.encoders.pretrained import folder_of

    towers = experiment.model
    text = folder_of(towers.text.name)
    others = [folder_of(tower.name) for tower in (towers.vision, towers.audio)]
    exported = "graph" in {tower.arithmetic for tower in (towers.vision, towers.audio)}
    usual = model.aligned and isinstance(model.text, ClipTextEncoder)
    if exported or not (usual and text and all(others)):
        raise ValueError("No short cut to such a model.")
    weights = None if run is None else run / "weights.safetensors"
    folders = dict.fromkeys([text, *(other for other in others if other is not None)])
    files = [file for folder in folders for file in sorted(folder.iterdir()) if file.is_file()]
    if run is not None:
        files += [run / "experiment.json", run / "weights.safetensors"]
    return {
        "versions": _versions(),
        "files": _marks(map(str, files)),
        "folder": str(text),
        "weights": None if weights is None else str(weights),
        "longest": model.text.max_tokens,
        "reranks": model.fusion is not None and not model.fusion.indexable,
    }


def _tower(collection: "Collection", kept: dict[str, Any]) -> PlainText:
    folder = Path(kept["folder"])
    weights = StoredWeights(folder, None if kept["weights"] is None else Path(kept["weights"]))
    return PlainText(
        weights, _place(collection, "tokenizer"), Shape.of(folder, int(kept["longest"]))
    )


def _place(collection: "Collection", kind: str) -> Path:
    name = f"model-{collection.description.fingerprint}.{kind}"
    return collection.storage.cache / name


def _marks(files: Iterable[str]) -> dict[str, list[int]]:
    """What is seen of a file that was changed: its size, and when it was written (ns)."""
    stats = {file: Path(file).stat() for file in files}
    return {file: [one.st_size, one.st_mtime_ns] for file, one in stats.items()}


def _versions() -> dict[str, str]:
    return {name: version(name) for name in VERSIONED}
