"""A short cut to the model of a collection: what a search by text needs of it, without loading it.

Beside a collection lies what its model was when it was last loaded whole: the files that it was made
of, where its text towers lie, and their tokenizers. As long as these files are as they were, the text
towers are run from them without torch; else, and for all that is no text, the whole model is loaded.
It is kept only where it has given the very vectors of the model.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

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
FINGERPRINT = re.compile("[0-9a-f]{24}")
"""As `Embedder.fingerprint` makes them."""
ROLES = ("text", "sound_text")

Unusable = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a damaged or an unlike file ends in."""


def kept_model(collection: "Collection", whole: "Callable[[], Embedder]") -> QueryModel | None:
    """The model of a collection by the short cut that is kept; None where none leads to it any more.

    Raises:
        UserError: As for `fingerprint_of`.
    """
    with suppress(*Unusable):
        kept: dict[str, Any] = json.loads(_place(collection, "json").read_text())
        if kept["versions"] == _versions() and kept["files"] == _marks(kept["files"]):
            return opened(collection, kept, whole)
    return None


def keep(collection: "Collection", model: "Embedder") -> None:
    """Keep a short cut to the model of a collection, where one leads to the same vectors.

    Where the place cannot be written to, or the model is of another kind, nothing is kept.
    """
    with suppress(UserError, *Unusable):
        kept, _ = tried(collection, model)
        write(collection, kept)


def fingerprint_of(collection: "Collection") -> str:
    """The fingerprint of a collection's model, to be part of a path.

    Raises:
        UserError: It is none. Whoever made the collection may have meant a place outside the cache.
    """
    fingerprint = collection.description.fingerprint
    if FINGERPRINT.fullmatch(fingerprint) is None:
        raise UserError(
            f"{collection.name} is damaged (impossible fingerprint of its model): delete the "
            "collection and index anew."
        )
    return fingerprint


def tried(
    collection: "Collection", model: "Embedder"
) -> tuple[dict[str, Any], dict[str, PlainText]]:
    """What is kept of a model whose text towers have just given its own vectors, and they.

    Raises:
        ValueError: There is no short cut to such a model, or it leads elsewhere.
        OSError, KeyError, TypeError, AttributeError: A file of it is damaged or of another kind.
        UserError: The place cannot be written to.
    """
    experiment, run = _origin(collection.description.run)
    kept = _described(experiment, run, model)
    for role in kept["towers"]:
        _write_tokenizer(model.encoders()[role], _tokenizer(collection, role))
    kept["tokenizers"] = {role: str(_tokenizer(collection, role)) for role in kept["towers"]}
    texts = _texts(kept)
    short = _query_model(collection, kept, texts, lambda: model)
    for toward in TOWARDS[: 2 if short.texts_differ else 1]:
        if not near(short, toward, model.embed_text(TRIED, toward)):
            raise ValueError("The short cut leads elsewhere.")
    return kept, texts


def as_kept(files: Iterable[str], towers: dict[str, Any], *, reranks: bool) -> dict[str, Any]:
    """What is kept of a model, but for the files of its tokenizers.

    Args:
        files: That it is made of.
        towers: A `Source` as JSON values, by role.
        reranks: Whether its fusion reads text and moment together.

    Raises:
        OSError: There is no such file.
    """
    return {
        "versions": _versions(),
        "files": _marks(files),
        "towers": towers,
        "reranks": reranks,
    }


def opened(
    collection: "Collection", kept: dict[str, Any], whole: "Callable[[], Embedder]"
) -> QueryModel:
    """The model of a collection by what is kept of it.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError: A file is damaged or missing.
    """
    return _query_model(collection, kept, _texts(kept), whole)


def near(short: QueryModel, toward: Literal["vision", "audio"], expected: Any) -> bool:
    """Whether the vectors of `TRIED` are those that the model gave."""
    found = short.embed_text(TRIED, toward)
    return bool(np.abs(found - np.asarray(expected, np.float32)).max() <= NEAR)


def write(collection: "Collection", kept: dict[str, Any]) -> None:
    """Put what is kept where `kept_model` finds it.

    Raises:
        UserError: The place cannot be written to.
    """
    write_atomically(_place(collection, "json"), json.dumps(kept, indent=2) + "\n")


def _texts(kept: dict[str, Any]) -> dict[str, PlainText]:
    texts: dict[str, PlainText] = {}
    for role, told in kept["towers"].items():
        source = Source(**told)
        texts[role] = TOWERS[source.kind](source, Path(kept["tokenizers"][role]))
    return texts


def _query_model(
    collection: "Collection",
    kept: dict[str, Any],
    texts: dict[str, PlainText],
    whole: "Callable[[], Embedder]",
) -> QueryModel:
    return QueryModel(
        collection.description.fingerprint,
        texts["text"],
        texts.get("sound_text"),
        whole,
        reranks=kept["reranks"],
    )


def _origin(name: str) -> "tuple[Experiment, Path | None]":
    """The experiment of a run or of that name, and the run's folder.

    Raises:
        ValueError: An experiment that starts from a run has weights that are in no one place.
    """
    from trichord.checkpoint import Run
    from trichord.experiments import load_experiment

    if Path(name).is_dir():
        return Run(Path(name)).experiment(), Path(name)
    known = load_experiment(name)
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
    sources = {
        role: asdict(_source(role, towers[role], model, run)) for role in ROLES if role in towers
    }
    named = map(str, dict.fromkeys([*files, *own]))
    return as_kept(named, sources, reranks=model.reranks)


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
        kind, files = built.preparation["kind"], weights_of(folder)
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
    elif is_cached(folder):  # which of the folders of a name is meant
        refs = sorted((folder.parent.parent / "refs").rglob("*"))
        yield from (ref for ref in refs if ref.is_file())


def _folder(tower: Any) -> Path:
    from trichord.encoders.hub import folder_of

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
    return collection.storage.cache / f"model-{fingerprint_of(collection)}.{kind}"


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
