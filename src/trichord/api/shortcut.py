"""A short cut to the model of a collection: what a search by text needs of it, without loading it.

Beside a collection lies what its model was when it was last loaded whole: the files that it was made
of, where its text towers lie, and their tokenizers. As long as these files are as they were, the text
towers are run from them without torch; else, and for all that is no text, the whole model is loaded.
It is kept only where it has given the very vectors of the model.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trichord.api.model import embedder_of
from trichord.encoders.plain_clap import PlainClap
from trichord.encoders.plain_clip import PlainClip
from trichord.encoders.plain_graph import PlainGraph
from trichord.encoders.plain_text import PlainText, Source
from trichord.encoders.plain_weights import is_cached, weights_of
from trichord.search.query_model import QueryModel
from trichord.types import UserError
from trichord.types.files import write_atomically

if TYPE_CHECKING:  # a search by text never loads torch
    from trichord.config import Experiment
    from trichord.models.embedder import Embedder
    from trichord.search.collection import Collection

TOWERS: dict[str, type[PlainText]] = {
    "clip_text": PlainClip,
    "clap_text": PlainClap,
    "graph": PlainGraph,
}
"""What stands for a text tower, by the kind of its preparation; a graph is one, whatever its kind."""
NEAR = 1e-5
"""By how much a number of a vector may differ from the model's."""
TRIED = (
    "a dog barks while it rains",
    "Two people aren't talking, are they? 1,234 – naïve Ünïcode; 字",
    " ".join(["a long sentence that will have to be cut somewhere"] * 12),
    "x",
)
"""Texts by which both are compared."""
TOWARDS: tuple[Literal["vision", "audio"], ...] = ("vision", "audio")
VERSIONED = ("trichord", "transformers", "tokenizers", "onnxruntime")


def model_of(collection: "Collection") -> "Embedder | QueryModel":
    """The model of a collection, loaded as far as the short cut cannot stand for it.

    Raises:
        UserError: As for `embedder_of`; or it has other weights than when the vectors were made.
    """

    def load() -> "Embedder":
        model = embedder_of(collection.description.run)
        collection.require(model.fingerprint)
        return model

    with suppress(OSError, ValueError, KeyError, TypeError):
        kept: dict[str, Any] = json.loads(_place(collection, "json").read_text())
        if kept["versions"] == _versions() and kept["files"] == _marks(kept["files"]):
            return _opened(collection, kept, load)
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
        for role in kept["towers"]:
            _write_tokenizer(model.encoders()[role], _tokenizer(collection, role))
        short = _opened(collection, kept, lambda: model)
        if all(_near(short, model, toward) for toward in TOWARDS[: 1 if short.aligned else 2]):
            write_atomically(_place(collection, "json"), json.dumps(kept, indent=2) + "\n")


def _opened(
    collection: "Collection", kept: dict[str, Any], load: "Callable[[], Embedder]"
) -> QueryModel:
    texts: dict[str, PlainText] = {}
    for role, told in kept["towers"].items():
        source = Source(**told)
        texts[role] = TOWERS[source.kind](source, _tokenizer(collection, role))
    return QueryModel(
        collection.description.fingerprint,
        texts["text"],
        texts.get("sound_text"),
        load,
        reranks=kept["reranks"],
    )


def _near(short: QueryModel, model: "Embedder", toward: Literal["vision", "audio"]) -> bool:
    found, expected = (one.embed_text(TRIED, toward) for one in (short, model))
    return bool(np.abs(found - expected).max() <= NEAR)


def _origin(name: str) -> "tuple[Experiment, Path | None]":
    """The experiment of a run or of that name, and the run's folder.

    Raises:
        ValueError: An experiment that starts from a run has weights that are in no one place.
    """
    from trichord.checkpoint import Run
    from trichord.experiments import EXPERIMENTS

    if Path(name).is_dir():
        return Run(Path(name)).experiment(), Path(name)
    known = EXPERIMENTS[name][1]
    if known.start is not None:
        raise ValueError("No short cut to such a model.")
    return known, None


def _described(experiment: "Experiment", run: Path | None, model: "Embedder") -> dict[str, Any]:
    """What is kept of a model.

    Raises:
        ValueError: There is no short cut to such a model.
    """
    towers = {role: getattr(experiment.model, role) for role in model.encoders()}
    files = [file for tower in towers.values() for file in _files(tower)]
    own = () if run is None else (run / "experiment.json", run / "weights.safetensors")
    return {
        "versions": _versions(),
        "files": _marks(map(str, dict.fromkeys([*files, *own]))),
        "towers": {
            role: asdict(_source(role, towers[role], model, run))
            for role in ("text", "sound_text")
            if role in towers
        },
        "reranks": model.fusion is not None and not model.fusion.indexable,
    }


def _source(role: str, tower: Any, model: "Embedder", run: Path | None) -> Source:
    """Where a text tower lies.

    Args:
        role: Of it.
        tower: Its configuration.
        model: With the tower itself.
        run: With weights of its own, if there is one.
    """
    from trichord.encoders.graph import graph_beside

    built: Any = model.encoders()[role]
    folder = _folder(tower)
    if tower.arithmetic == "graph":
        kind, files = "graph", [graph_beside(str(folder))]
    else:
        kind, files = built.preparation["kind"], [weights_of(folder)]
        files += [] if run is None else [run / "weights.safetensors"]
    return Source(
        kind=kind,
        role=role,
        folder=str(folder),
        files=[str(file) for file in files],
        longest=built.max_tokens,
        end=getattr(built, "end", None),
        pad=getattr(built, "pad", None),
    )


def _files(tower: Any) -> Iterator[Path]:
    """What a tower is made of, by its configuration."""
    from trichord.encoders.graph import graph_beside

    folder = _folder(tower)
    yield from (file for file in sorted(folder.iterdir()) if file.is_file())
    if tower.arithmetic == "graph":
        yield graph_beside(str(folder))
    elif is_cached(folder):  # which of the folders of a name is meant, and where its weights are
        refs = sorted((folder.parent.parent / "refs").rglob("*"))
        yield from (ref for ref in refs if ref.is_file())
        yield weights_of(folder)


def _folder(tower: Any) -> Path:
    from trichord.encoders.pretrained import folder_of

    folder = folder_of(tower.name)
    if folder is None:
        raise ValueError(f"{tower.name} is not on this machine.")
    return folder


def _write_tokenizer(tower: Any, path: Path) -> None:
    kept: Any = getattr(tower.tokenizer, "backend_tokenizer", None)
    if kept is None:
        raise ValueError("Not a tokenizer of the package of that name.")
    write_atomically(path, kept.to_str())


def _place(collection: "Collection", kind: str) -> Path:
    name = f"model-{collection.description.fingerprint}.{kind}"
    return collection.storage.cache / name


def _tokenizer(collection: "Collection", role: str) -> Path:
    return _place(collection, f"{role}.tokenizer")


def _marks(files: Iterable[str]) -> dict[str, list[int]]:
    """What is seen of a file that was changed: its size, and when it was written (ns)."""
    stats = {file: Path(file).stat() for file in files}
    return {file: [one.st_size, one.st_mtime_ns] for file, one in stats.items()}


def _versions() -> dict[str, str | None]:
    return {name: _version(name) for name in VERSIONED}


def _version(name: str) -> str | None:
    """None: the package is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
