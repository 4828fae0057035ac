"""Lance tables of trunk features, one per encoder, named by its fingerprint."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trichord.encoders.encoder import Encoder
from trichord.storage import Storage
from trichord.storage.lance_table import KEY, LanceTable
from trichord.types import UserError
from trichord.types.tensors import Padded

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False, metadata=KEY),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("steps", pa.int32(), nullable=False),
        pa.field("values", pa.large_binary(), nullable=False),
    ]
)
"""`values`: steps x width float32, little-endian. Half precision would miss the promised 1e-5."""

FRAGMENTS = 64
"""Number of small files at which they are merged: every commit opens and lists each of them."""
FRAGMENT_ROWS = 8192
"""A file with this many rows (some hundred megabytes) is not merged again."""
KEPT = timedelta(minutes=10)
"""Replaced rows stay on disk at least this long, for processes that are reading them."""

IMPORTED = "imported"
"""Origin of features that were computed elsewhere: never extracted again."""


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """The features of one clip or caption.

    `key` is a clip id or the text of a caption; `origin` identifies the file and span, so that a
    changed file is read again. No steps: the clip lacks the modality, and `status` says why.
    """

    key: str
    origin: str
    status: str
    values: Float[np.ndarray, "step width"]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of different lengths, concatenated."""

    values: Float[Tensor, "total width"]
    starts: Int[Tensor, " row_plus_one"]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def of(cls, rows: Sequence[Float[Tensor, "_ width"]], width: int) -> "Ragged":
        """Concatenate rows of one width."""
        starts = torch.tensor([0, *np.cumsum([len(row) for row in rows])], dtype=torch.long)
        return cls(torch.cat([torch.zeros(0, width), *rows]), starts)

    def padded(self, rows: Int[Tensor, " batch"]) -> Padded:
        """Rows by number, padded to the longest; a negative number is a missing row."""
        known = rows.clamp(min=0, max=max(0, len(self) - 1))
        ends = self.starts[(known + 1).clamp(max=len(self))]
        lengths = torch.where(rows >= 0, ends - self.starts[known], 0)
        step = torch.arange(max(1, int(lengths.max())) if len(lengths) else 1)
        mask = step < lengths[:, None]
        place = torch.where(mask, self.starts[known][:, None] + step, 0)
        if not len(self.values):  # nothing to index into
            return Padded(self.values.new_zeros((*mask.shape, self.values.shape[1])), mask)
        return Padded(self.values[place] * mask.unsqueeze(-1), mask)


class FeatureTable(LanceTable):
    """The features of one encoder: a Lance table named by its fingerprint.

    Several processes may write it at the same time: there is one commit at a time, and each replaces
    rows of the same key, so that a key never has two.
    """

    def __init__(self, storage: Storage, name: str, width: int) -> None:
        """Name a table, which need not exist yet.

        Args:
            storage: Its storage.
            name: Its name there.
            width: Of the features of a step.
        """
        super().__init__(storage, name, SCHEMA, remedy="delete it and run 'trichord extract' again")
        self.width = width

    @property
    def path(self) -> Path:
        """Its path in a folder; for a bucket there is nothing at this path."""
        return Path(self.uri)

    @property
    def exists(self) -> bool:
        """Whether the table exists."""
        return self.latest is not None

    def origins(self, keys: Collection[str] | None = None) -> dict[str, str]:
        """Origins by key, of all rows or of some keys."""
        stored = self.rows(["key", "origin"])
        if keys is not None:
            stored = stored.filter(pc.field("key").isin(pa.array(list(keys), pa.string())))
        return dict(zip(stored["key"].to_pylist(), stored["origin"].to_pylist(), strict=True))

    def put(self, rows: Sequence[FeatureRow]) -> None:
        """Add rows, or replace those of the same key, in one transaction."""
        if not rows:
            return
        batch = pa.table(
            [
                [row.key for row in rows],
                [row.origin for row in rows],
                [row.status for row in rows],
                [len(row.values) for row in rows],
                [row.values.astype("<f4").tobytes() for row in rows],
            ],
            schema=SCHEMA,
        )
        with self.commit() as table:
            if table is None:
                options = self.storage.options
                lance.write_dataset(batch, self.uri, mode="create", storage_options=options)
                return
            upsert = table.merge_insert("key").when_matched_update_all()
            upsert.when_not_matched_insert_all().execute(batch)
            now = self.latest
            if len(_small(now)) >= FRAGMENTS:
                now.optimize.compact_files(target_rows_per_fragment=FRAGMENT_ROWS)

    def compact(self) -> None:
        """Merge the small files of a long extraction, and delete rows replaced a while ago."""
        if (table := self.latest) is None or len(_small(table)) < 2:
            return
        with self.commit() as table:
            table.optimize.compact_files(target_rows_per_fragment=FRAGMENT_ROWS)
            # A lock on a bucket may be lost, so files that no version names are kept there.
            alone = self.storage.local is not None
            table.cleanup_old_versions(older_than=KEPT, delete_unverified=alone)

    def load(self, keys: Iterable[str]) -> tuple[Ragged, tuple[str, ...]]:
        """Features of keys in their order, and the status of each.

        Raises:
            KeyError: A key has no row.
        """
        requested = list(keys)
        # Not combined, as `rows` does: features may fill most of the memory.
        columns = pa.concat_tables(self.scan(self.latest, ["key", "status", "values"]))
        place = {key: i for i, key in enumerate(columns["key"].to_pylist())}
        chosen = columns.take(pa.array([place[key] for key in requested], pa.int64()))
        # A copy, because torch needs writable memory and Arrow's is not.
        rows = [
            torch.from_numpy(np.frombuffer(value, "<f4").reshape(-1, self.width).copy())
            for value in chosen["values"].to_pylist()
        ]
        return Ragged.of(rows, self.width), tuple(chosen["status"].to_pylist())


class FeatureFolder:
    """The features of a manifest's clips, one table per encoder, in a folder or a bucket.

    Attributes:
        storage: Their storage.
    """

    def __init__(self, location: str | Path) -> None:
        """Name a location, which need not exist yet: a folder or `s3://bucket/prefix`."""
        self.storage = Storage(location)

    @property
    def name(self) -> str:
        """The location as given."""
        return self.storage.name

    @property
    def path(self) -> Path:
        """The name as a path, from which a folder or a bucket can be opened again."""
        return Path(self.name)

    @classmethod
    def beside(cls, manifest: Path) -> "FeatureFolder":
        """The default: `clips.jsonl` has its features in `clips.features`."""
        return cls(manifest.with_suffix(".features"))

    def table(self, name: str, encoder: Encoder) -> FeatureTable:
        """The table of one encoder, to write to."""
        file = f"{name}-{encoder.fingerprint}.lance"
        return FeatureTable(self.storage, file, encoder.width)

    def existing(self, name: str, encoder: Encoder) -> FeatureTable:
        """The table of one encoder, to read from.

        Raises:
            UserError: There is none, or only tables of other weights or settings.
        """
        table = self.table(name, encoder)
        if table.exists:
            return table
        stems = [file.removesuffix(".lance") for file in self.storage.names()]
        if others := [stem for stem in stems if stem.startswith(f"{name}-")]:
            raise UserError(
                f"The {name} features in {self.name} were made by other weights or settings "
                f"({others[0]}) than this model's ({table.name.removesuffix('.lance')}): run "
                "'trichord extract' with this run or model as --model."
            )
        raise UserError(
            f"No {name} features in {self.name}: run 'trichord extract' first, with the same --model, or "
            "train and evaluate with --from media."
        )


def _small(table: Any) -> list[Any]:
    return [
        fragment
        for fragment in table.get_fragments()
        if fragment.metadata.physical_rows < FRAGMENT_ROWS
    ]
