"""A short cut to the model of a collection: what a search by text needs of it, without loading it.

Beside a collection lies what its model was when it was last loaded whole: the files that it was made
of, where its text towers lie, and their tokenizers. As long as these files are as they were, the text
towers are run from them without torch; else, and for all that is no text, the whole model is loaded.
It is kept only where it has given the very vectors of the model.

A collection may also hold its text towers itself (`carry`), with vectors that the model gave. Then
words are searched on machines that have neither the model nor torch.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trichord.api.model import embedder_of
from trichord.encoders.plain_clap import PlainClap
from trichord.encoders.plain_clip import PlainClip
from trichord.encoders.plain_graph import PlainGraph
from trichord.encoders.plain_text import PlainText, Source
from trichord.encoders.plain_weights import WEIGHTS, is_cached, weights_of
from trichord.search.query_model import QueryModel
from trichord.types import UserError
from trichord.types.extras import NotInstalledError
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

CARRIED = "texts"
"""A folder of the collection with the text towers that it holds itself, each in one of its own."""
MADE = f"{CARRIED}/made.json"
"""What is known of them; written last, and so there only where all of them are."""
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
ROLES = ("text", "sound_text")

Unusable = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a damaged or an unlike file ends in."""


def model_of(
    collection: "Collection", load: "Callable[[str], Embedder] | None" = None
) -> "Embedder | QueryModel":
    """The model of a collection, loaded as far as no short cut can stand for it.

    Args:
        collection: Of moments.
        load: Loads a model by the name that the collection has for it; `embedder_of` if not given.

    Raises:
        UserError: As for `embedder_of`; or the model has other weights than when the vectors were made.
        NotInstalledError: It would have to be loaded, and torch is not installed.
    """

    def whole() -> "Embedder":
        model = (load or embedder_of)(collection.description.run)
        collection.require(model.fingerprint)
        return model

    with suppress(*Unusable):
        kept: dict[str, Any] = json.loads(_place(collection, "json").read_text())
        if kept["versions"] == _versions() and kept["files"] == _marks(kept["files"]):
            return _query_model(collection, kept, _texts(kept), whole)
    if (carried := _carried(collection, whole)) is not None:
        return carried
    try:
        model = whole()
    except NotInstalledError as error:
        raise NotInstalledError(
            f"{collection.name} holds no text towers to search it by words here: make it again with "
            f"'trichord index --portable', or install what reads others. {error}"
        ) from error
    keep(collection, model)
    return model


def lasting_model_of(collection: "Collection") -> "Embedder | QueryModel":
    """The model of a collection for a long time: whole where torch is installed, else as `model_of`."""
    if find_spec("torch") is None:
        return model_of(collection)
    return embedder_of(collection.description.run)


def keep(collection: "Collection", model: "Embedder") -> None:
    """Keep a short cut to the model of a collection, where one leads to the same vectors.

    Where the place cannot be written to, or the model is of another kind, nothing is kept.
    """
    with suppress(UserError, *Unusable):
        kept, _ = _tried(collection, model)
        _write(collection, kept)


def carry(collection: "Collection", model: "Embedder") -> None:
    """Put the text towers into a collection itself, so that words are searched wherever it is.

    Raises:
        UserError: They are not those of CLIP and CLAP in float32; or it cannot be written to.
    """
    try:
        kept, texts = _tried(collection, model)
        for role, tower in texts.items():
            weights = tower.written()
            described = (Path(tower.source.folder) / CONFIG).read_bytes()
            tokenizer = Path(kept["tokenizers"][role]).read_bytes()
            collection.storage.write(f"{CARRIED}/{role}/{CONFIG}", described)
            collection.storage.write(f"{CARRIED}/{role}/{TOKENIZER}", tokenizer)
            collection.storage.write(f"{CARRIED}/{role}/{WEIGHTS}", weights)
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


def _carried(collection: "Collection", whole: "Callable[[], Embedder]") -> QueryModel | None:
    """The model of a collection by the text towers that it holds; None where it holds none.

    They are tried by the vectors that the model gave, as this machine computes them.
    """
    with suppress(*Unusable):
        made: dict[str, Any] = json.loads(collection.storage.read(MADE) or b"null")
        if made["fingerprint"] != collection.description.fingerprint:
            return None
        kept = _unpacked(collection, made)
        short = _query_model(collection, kept, _texts(kept), whole)
        if all(_near(short, toward, made["vectors"][toward]) for toward in TOWARDS):
            with suppress(UserError):  # where it cannot be written to, they are tried each time
                _write(collection, kept)
            return short
    return None


def _unpacked(collection: "Collection", made: dict[str, Any]) -> dict[str, Any]:
    """What is kept of text towers that a collection holds; those in a bucket are fetched first."""
    roles = [role for role in ROLES if role in made["towers"]]
    storage = collection.storage
    root = storage.local or storage.cache / f"carried-{made['fingerprint']}"
    towers: dict[str, Any] = {}
    files: list[str] = []
    for role in roles:
        folder = root.absolute() / CARRIED / role
        for name in (CONFIG, TOKENIZER, WEIGHTS):
            content = None if storage.local else storage.read(f"{CARRIED}/{role}/{name}")
            if content is not None and not (folder / name).is_file():
                write_atomically(folder / name, content)
        files += [str(folder / name) for name in (CONFIG, TOKENIZER, WEIGHTS)]
        moved = {"folder": str(folder), "files": [str(folder / WEIGHTS)]}
        towers[role] = made["towers"][role] | moved
    return {
        "versions": _versions(),
        "files": _marks(files),
        "towers": towers,
        "tokenizers": {role: str(Path(towers[role]["folder"]) / TOKENIZER) for role in roles},
        "reranks": bool(made["reranks"]),
    }


def _tried(
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
    for toward in TOWARDS[: 1 if short.aligned else 2]:
        if not _near(short, toward, model.embed_text(TRIED, toward)):
            raise ValueError("The short cut leads elsewhere.")
    return kept, texts


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


def _near(short: QueryModel, toward: Literal["vision", "audio"], expected: Any) -> bool:
    found = short.embed_text(TRIED, toward)
    return bool(np.abs(found - np.asarray(expected, np.float32)).max() <= NEAR)


def _write(collection: "Collection", kept: dict[str, Any]) -> None:
    write_atomically(_place(collection, "json"), json.dumps(kept, indent=2) + "\n")


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
            for role in ROLES
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
