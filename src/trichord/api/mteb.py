"""A model as MTEB reads it: its audio, video and image tasks, measured by MTEB's own evaluation.

MTEB (Muennighoff et al., EACL 2023; MAEB and MVEB are its audio and video benchmarks) asks an encoder for
one vector of each query and document, and compares them by `similarity`. A text is encoded toward the
modality on the other side of the task. If that side has picture and sound, the text has one vector toward
each, and the score is the mean of both cosines: the same as `trichord evaluate` has for fused clips.
"""

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

import numpy as np

from trichord.api.model import Model
from trichord.types import Modality, UserError
from trichord.types.arrays import Float
from trichord.types.comparable import not_comparable
from trichord.types.extras import require_package

Vectors = Float[np.ndarray, "item dim"]
Media = Literal["vision", "audio"]
_OURS: dict[str, Modality] = {
    "text": "text",
    "video": "vision",
    "image": "vision",
    "audio": "audio",
}
"""Our modality of each of MTEB's, which are the names of its columns; vision before audio everywhere."""


class MtebModel:
    """A model with the methods that MTEB's `EncoderProtocol` names.

    Media are read by our own decoder, in child processes, from the bytes of the data set: MTEB's way needs
    torchcodec. An item without picture or sound has a zero vector, hence the score 0 with everything.

    Attributes:
        model: The model.
        mteb_model_meta: What MTEB writes beside its results: the name, and the fingerprint as revision.
    """

    def __init__(self, model: Model, revision: str | None = None, **_: Any) -> None:
        """Wrap a model.

        Args:
            model: From `trichord.load`.
            revision: Of what MTEB calls the revision; None: the model's fingerprint.

        Raises:
            NotInstalledError: The extra `mteb` is missing.
        """
        require_package("mteb")
        meta: Any = import_module("mteb.models").ModelMeta
        self.model = model
        names = {"text": ("text",), "audio": ("audio",), "vision": ("image", "video")}
        self.mteb_model_meta = meta.create_empty(
            {
                "name": f"trichord/{Path(model.name).name}",
                "revision": revision or model.fingerprint,
                "modalities": [name for one in model.modalities for name in names[one]],
                "framework": ["PyTorch"],
                "similarity_fn_name": "dot",
            }
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str = "",
        hf_subset: str = "",
        prompt_type: Any = None,
        batch_size: int = 32,
        **_: Any,
    ) -> Vectors:
        """Vectors of one side of a task, float32 (item, dim).

        Args:
            inputs: A torch `DataLoader`; the columns of its data set are read.
            task_metadata: MTEB's `TaskMetadata`.
            hf_split: Not used.
            hf_subset: Not used.
            prompt_type: `query`, `document` or None: the side, and the model's prompt of texts.
            batch_size: Most media in memory.

        Raises:
            UserError: A side has text and media in one item, the model does not compare the two sides, or
                a file cannot be read.
        """
        columns = [name for name in _OURS if name in inputs.dataset.column_names]
        side = None if prompt_type is None else str(getattr(prompt_type, "value", prompt_type))
        here, there = _sides(task_metadata, side, columns)
        name = str(task_metadata.name)
        if here == ["text"]:
            texts: list[str] = list(inputs.dataset["text"])
            self._require_compared(name, here, there)
            return self._texts(texts, [cast("Media", one) for one in there or ["vision"]], side)
        if "text" in here:
            raise UserError(
                f"{name} joins text and media in one item, for which this model has no vector: choose a "
                "task that asks by text or by media."
            )
        self._require_compared(name, here, there)
        parts = [self._media(inputs.dataset, column, batch_size) for column in columns]
        return _joined(parts) if len(parts) > 1 else parts[0]

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Scores of two sets of vectors, a tensor (first, second)."""
        return _tensor(embeddings1) @ _tensor(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Scores of corresponding vectors, a tensor (item,)."""
        return (_tensor(embeddings1) * _tensor(embeddings2)).sum(-1)

    def _texts(self, texts: list[str], toward: Sequence[Media], side: str | None) -> Vectors:
        """Vectors toward each modality, side by side."""
        encode = {"query": self.model.encode_query, "document": self.model.encode_document}
        by = encode.get(side or "", self.model.encode)
        found = [np.asarray(by(texts, modality="text", toward=one)) for one in toward]
        return np.concatenate(found, axis=1)

    def _media(self, dataset: Any, column: str, batch_size: int) -> Vectors:
        """Vectors of a column of sounds, pictures or videos; zero where an item has none."""
        embed = self.model.embed_audio if column == "audio" else self.model.embed_vision
        rows = _undecoded(dataset.select_columns([column]), column)
        found: list[Vectors] = []
        for batch in _batches(rows, batch_size):
            with TemporaryDirectory(prefix="trichord-mteb-") as folder:
                items = [_item(row[column], Path(folder) / str(i)) for i, row in enumerate(batch)]
                found.append(np.nan_to_num(embed(items)))
        return np.concatenate(found)

    def _require_compared(self, task: str, here: list[Modality], there: list[Modality]) -> None:
        """Refuse a task between spaces that the model does not compare.

        Raises:
            UserError: Names both modalities.
        """
        for one in here:
            for other in there:
                if one != other and not self.model.compares(one, other):
                    raise UserError(f"{task}: {not_comparable(one, other)}: choose another model.")


def _sides(
    metadata: Any, side: str | None, columns: Sequence[str]
) -> tuple[list[Modality], list[Modality]]:
    """Our modalities of the items at hand, and those of what they are compared with."""
    here = _modalities(columns)
    if metadata.category and side in ("query", "document"):
        query, document = str(metadata.category).split("2")
        other = document if side == "query" else query
        # A category has the first letter of each modality, such as "t2va".
        return here, _modalities([name for name in _OURS if name[0] in other])
    # Labels of a zero-shot task are compared with all that the task has besides.
    return here, [one for one in _modalities(metadata.modalities) if one not in here]


def _modalities(names: Sequence[str]) -> list[Modality]:
    """Ours, vision before audio."""
    ours = {_OURS[name] for name in names if name in _OURS}
    return [one for one in ("text", "vision", "audio") if one in ours]


def _undecoded(dataset: Any, column: str) -> Any:
    """The data set with the files of a column as they are stored."""
    datasets: Any = import_module("datasets")
    kind = type(dataset.features[column])
    if kind in (datasets.Audio, datasets.Video, datasets.Image):
        return dataset.cast_column(column, kind(decode=False))
    return dataset


def _batches(rows: Any, size: int) -> Iterator[list[Any]]:
    for start in range(0, len(rows), size):
        yield [rows[i] for i in range(start, min(start + size, len(rows)))]


def _item(value: Any, place: Path) -> Any:
    """What `embed_audio` or `embed_vision` reads: a path, samples with their rate, or a picture.

    Raises:
        UserError: The item is none of these.
    """
    if isinstance(value, dict):
        row = cast("dict[str, Any]", value)
        if "array" in row:
            return np.asarray(row["array"], np.float32), int(row["sampling_rate"])
        if row.get("bytes") is not None:
            path = place.with_suffix(Path(row.get("path") or "").suffix)
            path.write_bytes(row["bytes"])
            return path
        if row.get("path"):
            return Path(row["path"])
    if hasattr(value, "convert") or isinstance(value, np.ndarray):
        return value
    raise UserError(
        f"An item of type {type(value).__name__} is no sound, picture or video that can be read: give the "
        "data set's columns the types Audio, Video or Image."
    )


def _joined(parts: Sequence[Vectors]) -> Float[np.ndarray, "item dims"]:
    """Picture and sound side by side: their product with a text's is the mean over what is there."""
    present = sum((np.abs(one).sum(1, keepdims=True) > 0).astype(np.float32) for one in parts)
    return np.concatenate(parts, axis=1) / np.maximum(present, 1)


def _tensor(vectors: Any) -> Any:
    import torch

    return torch.as_tensor(vectors, dtype=torch.float32)
