"""The fast text path: text encoders as ONNX graphs beside a collection, so that text queries need no torch.

A folder contains, for each text encoder, its graph, weights and tokenizer, and a manifest with the
model's fingerprint and a digest of each file. It is in the collection's cache, or in the collection
itself (`trichord index --portable`). It is used only if the fingerprint is that of the collection and
all digests match; otherwise the model is loaded, with torch.
"""

import errno
import hashlib
import json
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from trichord.encoders.text_graph import TextGraph
from trichord.search.query_model import QueryModel
from trichord.search.query_notes import knows_english_alone
from trichord.types import UserError
from trichord.types.files import write_atomically

if TYPE_CHECKING:  # text queries never import torch
    from trichord.models.embedder import Embedder
    from trichord.search.collection import StoredCollection

FOLDER = "text-encoders"
MANIFEST = "manifest.json"
VERIFIED = f"{FOLDER}.verified.json"
"""In the cache: size, inode and times of files when their digests were computed."""
FORMAT = 1
"""Version of the manifest; folders of another version are written again."""
ROLES = ("text", "sound_text")
READING = ("onnxruntime", "tokenizers")
WRITING = ("onnx", "onnxscript", *READING)
INSTALL = "pip install 'trichord[search]'"
TOLERANCE = 1e-5
"""Largest difference between an element of a graph's vector and the model's."""
PROBES = (
    "a dog barks while it rains",
    "Two people aren't talking, are they? 1,234 – naïve Ünïcode; 字",
    " ".join(["a long sentence that will have to be cut somewhere"] * 12),
    "x",
)
"""Texts whose vectors are compared with the model's before a graph is used."""
TOWARDS: tuple[Literal["vision", "audio"], ...] = ("vision", "audio")
SETTLED = 2_000_000_000
"""Nanoseconds after which a file's times are trusted: file systems have coarse clocks, and a second write
within one tick would go unnoticed."""

UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, UserError)
"""Errors of a damaged folder, or of one that the installed packages cannot read."""


def text_query_model(
    collection: "StoredCollection", load: "Callable[[], Embedder]"
) -> QueryModel | None:
    """A collection's model from its text encoders as graphs; None if there are no usable ones.

    Args:
        collection: Of moments.
        load: Loads the whole model, for all other queries.
    """
    storage = collection.storage
    cached = storage.cache / FOLDER
    if (model := _opened(collection, cached, load)) is not None:
        return model
    if storage.local is not None:
        return _opened(collection, storage.local / FOLDER, load)
    with suppress(*UNUSABLE):
        _fetch(collection, cached)
        return _opened(collection, cached, load)
    return None


def cache_text_encoders(
    collection: "StoredCollection", model: "Embedder", announce: Callable[[], None] = lambda: None
) -> str | None:
    """Write the text encoders of a collection, so that later text queries need no torch.

    Args:
        collection: Of moments.
        model: The model that made its vectors.
        announce: Called before graphs are written, which takes seconds.

    Returns:
        Why this is not possible; None if it is done.
    """
    if text_query_model(collection, lambda: model) is not None:
        return None
    if missing := next((name for name in WRITING if find_spec(name) is None), None):
        return f"{missing} is not installed: {INSTALL}"
    cached = collection.storage.cache / FOLDER
    from importlib.metadata import version

    # Writing a graph takes seconds. After a failure only another version tries again.
    attempt = {"format": FORMAT, "fingerprint": model.fingerprint, "version": version("trichord")}
    with suppress(*UNUSABLE):
        manifest: dict[str, Any] = json.loads((cached / MANIFEST).read_bytes())
        if attempt.items() <= manifest.items():
            return str(manifest["reason"])
    announce()
    try:
        _make(collection, model, cached)
    except OSError as error:
        return f"{cached} cannot be written: {error.strerror or error}"
    except UserError as error:
        with suppress(UserError):
            write_atomically(cached / MANIFEST, json.dumps(attempt | {"reason": str(error)}))
        return str(error)
    return None


def require_writing() -> None:
    """Require the packages that write text encoders as ONNX graphs.

    Raises:
        UserError: One is not installed.
    """
    if missing := next((name for name in WRITING if find_spec(name) is None), None):
        raise UserError(f"--portable needs {missing}, which is not installed: {INSTALL}.")


def bundle_text_encoders(collection: "StoredCollection", model: "Embedder") -> None:
    """Write the text encoders into a collection itself, for machines without its model or torch.

    Raises:
        UserError: They cannot be written as ONNX graphs, or the collection cannot be written to.
    """
    storage = collection.storage
    require_writing()
    place = (storage.local or storage.cache) / FOLDER
    if _opened(collection, place, lambda: model) is None:
        try:
            _make(collection, model, place)
        except UserError as error:
            raise UserError(
                f"--portable: {collection.description.run}: {error}: leave the option out."
            ) from error
        except OSError as error:
            raise UserError(f"{place} cannot be written: {error.strerror or error}") from error
    if storage.local is not None:
        return
    manifest = (place / MANIFEST).read_bytes()
    if storage.read(f"{FOLDER}/{MANIFEST}") != manifest:
        for name in json.loads(manifest)["files"]:
            storage.write(f"{FOLDER}/{name}", (place / name).read_bytes())
        storage.write(f"{FOLDER}/{MANIFEST}", manifest)  # last: readers begin with it


def bundled(collection: "StoredCollection") -> bool:
    """Whether a collection contains its text encoders, usable here or not.

    Raises:
        UserError: It cannot be read.
    """
    return collection.storage.read(f"{FOLDER}/{MANIFEST}") is not None


def _opened(
    collection: "StoredCollection", folder: Path, load: "Callable[[], Embedder]"
) -> QueryModel | None:
    """The model from a folder of graphs; None if that is damaged or of another model."""
    with suppress(*UNUSABLE):
        manifest = _manifest(collection, (folder / MANIFEST).read_bytes())
        if _is_intact(folder, manifest["files"], collection.storage.cache / VERIFIED):
            graphs: dict[str, TextGraph] = {}
            for role, one in manifest["encoders"].items():
                graph, tokenizer, _ = _names(role)
                prompt = str(one.get("prompt", ""))
                graphs[role] = TextGraph(
                    folder / graph,
                    folder / tokenizer,
                    one["end"],
                    prompt,
                    english=bool(one.get("english", False)),  # folders before it do not say
                )
            return QueryModel(
                manifest["fingerprint"],
                graphs["text"],
                graphs.get("sound_text"),
                load,
                reranks=bool(manifest["reranks"]),
                # Manifests without it are of models that have one text encoder or two spaces.
                one_space=bool(manifest.get("one_space", "sound_text" not in graphs)),
            )
    return None


def _manifest(collection: "StoredCollection", content: bytes) -> dict[str, Any]:
    """The manifest of a folder of graphs.

    Raises:
        ValueError: It is of another model or format, or names files of no encoder.
        KeyError, TypeError, AttributeError: It is damaged.
    """
    manifest: dict[str, Any] = json.loads(content)
    key = (manifest["format"], manifest["fingerprint"])
    # Collections come from other people: only these names become paths, and each has its digest.
    names = {name for role in manifest["encoders"] for name in _names(role)}
    if key != (FORMAT, collection.description.fingerprint) or set(manifest["files"]) != names:
        raise ValueError("These are not the archive's text encoders.")
    return manifest


def _names(role: str) -> tuple[str, str, str]:
    """An encoder's files: its graph, its tokenizer, and the weights of the graph."""
    if role not in ROLES:
        raise ValueError(f"No text encoder is called {role}.")
    return f"{role}.onnx", f"{role}.tokenizer.json", f"{role}.onnx.data"


def _is_intact(folder: Path, digests: Mapping[str, str], verified: Path) -> bool:
    """Whether files match their digests.

    A file that has not changed since its digest was computed is not read again: weights are hundreds of
    megabytes. Changes are detected as git does, by size, inode and times; the inode's change time cannot
    be set by the writer of a file.
    """
    known: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        known = json.loads(verified.read_bytes())
    now: dict[str, Any] = {}
    for name, digest in digests.items():
        path = folder / name
        stat = path.stat()
        mark = [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, digest]
        if known.get(name) != mark and _digest(path) != digest:
            return False
        if time.time_ns() - stat.st_ctime_ns > SETTLED:
            now[name] = mark
    if now != known:
        with suppress(UserError):  # where nothing can be written, digests are computed each time
            write_atomically(verified, json.dumps(now))
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(collection: "StoredCollection", place: Path) -> None:
    """Copy the text encoders of a collection in a bucket into its cache.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It has none, or damaged ones.
        UserError: It cannot be read.
        OSError: The cache cannot be written to.
    """
    content = collection.storage.read(f"{FOLDER}/{MANIFEST}") or b"null"
    with _replacing_folder(place) as folder:
        for name in _manifest(collection, content)["files"]:
            (folder / name).write_bytes(collection.storage.read(f"{FOLDER}/{name}") or b"")
        (folder / MANIFEST).write_bytes(content)


def _make(collection: "StoredCollection", model: "Embedder", place: Path) -> None:
    """Write the text encoders as graphs, and keep them if their vectors are those of the model.

    Raises:
        UserError: They cannot be written as graphs.
        OSError: Nothing can be written there.
    """
    with _replacing_folder(place) as folder:
        _write(model, folder)
        graphs = _opened(collection, folder, lambda: model)
        if graphs is None or not all(_agree(graphs, model, toward) for toward in TOWARDS):
            raise UserError("its text encoders have other vectors as ONNX graphs")


def _agree(graphs: QueryModel, model: "Embedder", toward: Literal["vision", "audio"]) -> bool:
    vectors, expected = (one.embed_text(PROBES, toward) for one in (graphs, model))
    return bool(np.abs(vectors - expected).max() <= TOLERANCE)


@contextmanager
def _replacing_folder(place: Path) -> Generator[Path]:
    """Yield a new folder, which replaces another when the block ends without an error.

    Raises:
        OSError: Nothing can be written there.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=place.parent, prefix=f".{FOLDER}-", suffix=".part") as part:
        folder = Path(part) / "new"
        folder.mkdir()
        yield folder
        with suppress(FileNotFoundError):
            place.rename(Path(part) / "old")
        try:
            folder.rename(place)
        except OSError as error:
            # Another process came first, between the two steps; it has written the same.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _write(model: "Embedder", folder: Path) -> None:
    from trichord.exporting.graphs import write_text_graph  # with torch

    encoders = {role: one for role, one in model.encoders().items() if role in ROLES}
    for role, encoder in encoders.items():
        write_text_graph(encoder, folder / f"{role}.onnx", folder / f"{role}.tokenizer.json")
    manifest = {
        "format": FORMAT,
        "fingerprint": model.fingerprint,
        "reranks": model.reranks,
        "one_space": model.one_space,
        "encoders": {
            role: {
                "end": getattr(one, "end", None),
                "prompt": getattr(one, "prompt", ""),
                "english": knows_english_alone(one),
            }
            for role, one in encoders.items()
        },
        "files": {path.name: _digest(path) for path in sorted(folder.iterdir())},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
