"""Import of features that were computed elsewhere into the cache."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float

from trichord.features.store import IMPORTED, FeatureFolder, FeatureRow
from trichord.models.embedder import Embedder
from trichord.types import Clip, UserError


def import_features(
    model: Embedder, name: str, path: Path, clips: Sequence[Clip], folder: FeatureFolder
) -> int:
    """Put trunk features from a file into the cache, as if the tower of the model had made them.

    Args:
        model: Its tower gives the width that they must have.
        name: `vision`, `audio` or `text`.
        path: `.npz` with one array per key, or Parquet with the columns `id` and `values`. A key is a
            clip's id, for text the caption itself. An array is (step, width), or (width,) for one step.
        clips: Of the manifest; other keys of the file are ignored.
        folder: The cache.

    Returns:
        The number of imported rows.

    Raises:
        UserError: The file is unreadable, of another width, has NaN, or no known key.
    """
    tower = model.encoders()[name]
    texts = {caption.text for clip in clips for caption in clip.captions}
    known = texts if name == "text" else {clip.id for clip in clips}
    rows = [
        FeatureRow(key, IMPORTED, "ok", steps)
        for key, steps in features_of(path, name, tower.width, known)
    ]
    if not rows:
        raise UserError(f"{path} has no key that is a clip or caption of the manifest.")
    folder.table(name, tower).put(rows)
    return len(rows)


def features_of(
    path: Path, name: str, width: int, known: Collection[str]
) -> Iterator[tuple[str, Float[np.ndarray, "step width"]]]:
    """Features of some keys from a file, or from all files of a folder.

    Args:
        path: As for `import_features`, or a folder of such files.
        name: Of the tower, for messages.
        width: The width that they must have.
        known: Keys to read.

    Raises:
        UserError: A file is unreadable, of another width or has NaN; or there is no file.
    """
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in (".npz", ".parquet"))
    if not files:
        raise UserError(f"{path} has no .npz or .parquet file: name the folder of the features.")
    seen: set[str] = set()
    for file in files:
        for key, values in _arrays(file):
            if key not in known:
                continue
            if key in seen:
                raise UserError(f"{file}: '{key}' is there twice: keep one.")
            seen.add(key)
            steps = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
            if steps.shape[1] != width or not np.isfinite(steps).all():
                raise UserError(
                    f"{file}: '{key}' is {values.shape}; the {name} tower gives finite features of "
                    f"width {width}: bring features of the same model."
                )
            yield key, steps.astype(np.float32)


def _arrays(path: Path) -> Iterator[tuple[str, Float[np.ndarray, "..."]]]:
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                yield from ((key, arrays[key]) for key in arrays.files)
        else:
            table = pq.read_table(path, columns=["id", "values"])
            for row in table.to_pylist():
                yield row["id"], np.asarray(row["values"], dtype=np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read as features ({error}).") from error
