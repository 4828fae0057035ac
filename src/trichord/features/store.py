"""Lance tables of trunk features, one an encoder, keyed by what made them."""

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
"""`values`: steps x width float32, little-endian. Half precision would cost the 1e-5 we promise."""

FRAGMENTS = 64
"""Small files after which they are joined: every commit opens, and lists, each of them."""
FRAGMENT_ROWS = 8192
"""A file of that many rows is joined no further: some hundred megabytes."""
KEPT = timedelta(minutes=10)
"""Replaced rows stay on the disk at least so long: for who began to read them before."""

IMPORTED = "imported"
"""The origin of features that were computed elsewhere: never read again from media."""


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """The features of one clip or caption.

    `key` is a clip id or a caption's text; `origin` says which bytes they were read from, so that a
    changed file is read again. No steps: the clip lacks the modality, and `status` says why.
    """

    key: str
    origin: str
    status: str
    values: Float[np.ndarray, "step width"]


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of different lengths, end to end."""

    values: Float[Tensor, "total width"]
    starts: Int[Tensor, " row_plus_one"]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @classmethod
    def of(cls, rows: Sequence[Float[Tensor, "_ width"]], width: int) -> "Ragged":
        """Join rows of a width."""
        starts = torch.tensor([0, *np.cumsum([len(row) for row in rows])], dtype=torch.long)
        return cls(torch.cat([torch.zeros(0, width), *rows]), starts)

    def padded(self, rows: Int[Tensor, " batch"]) -> Padded:
        """Some rows, padded to the longest of them; a negative row number is a missing one."""
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

    Several processes may write it at the same time: commits take turns, and each replaces the rows
    that it brings, so that a key never has two.
    """

    def __init__(self, storage: Storage, name: str, width: int) -> None:
        """Name a table, which need not be there yet.

        Args:
            storage: Where it lies.
            name: Its name there.
            width: Of a step's features.
        """
        super().__init__(storage, name, SCHEMA, remedy="delete it and run 'trichord extract' again")
        self.width = width

    @property
    def path(self) -> Path:
        """Where it lies in a folder; nothing is at this path where it lies in a bucket."""
        return Path(self.uri)

    @property
    def there(self) -> bool:
        """Whether anything was ever put."""
        return self.now is not None

    def origins(self, keys: Collection[str] | None = None) -> dict[str, str]:
        """Key to origin of every row, or of those of some keys."""
        held = self.rows(["key", "origin"])
        if keys is not None:
            held = held.filter(pc.field("key").isin(pa.array(list(keys), pa.string())))
        return dict(zip(held["key"].to_pylist(), held["origin"].to_pylist(), strict=True))

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
        with self.changing() as table:
            if table is None:
                options = self.storage.options
                lance.write_dataset(batch, self.uri, mode="create", storage_options=options)
                return
            upsert = table.merge_insert("key").when_matched_update_all()
            upsert.when_not_matched_insert_all().execute(batch)
            now = self.now
            if len(_small(now)) >= FRAGMENTS:
                _join(now)

    def compact(self) -> None:
        """Join the small files that a long extraction leaves, and drop what was replaced a while ago."""
        if (table := self.now) is None or len(_small(table)) < 2:
            return
        with self.changing() as table:
            _join(table)
            # Of a bucket's lock the holder may have been taken for dead: what no version names stays.
            alone = self.storage.local is not None
            table.cleanup_old_versions(older_than=KEPT, delete_unverified=alone)

    def load(self, keys: Iterable[str]) -> tuple[Ragged, tuple[str, ...]]:
        """Features of keys in their order, and the status of each.

        Raises:
            KeyError: A key has no row.
        """
        wanted = list(keys)
        # Not in one piece, as `rows` gives them: features may fill most of the memory.
        columns = pa.concat_tables(self.scan(self.now, ["key", "status", "values"]))
        place = {key: i for i, key in enumerate(columns["key"].to_pylist())}
        chosen = columns.take(pa.array([place[key] for key in wanted], pa.int64()))
        # A copy: torch wants writable memory, Arrow's is not.
        rows = [
            torch.from_numpy(np.frombuffer(value, "<f4").reshape(-1, self.width).copy())
            for value in chosen["values"].to_pylist()
        ]
        return Ragged.of(rows, self.width), tuple(chosen["status"].to_pylist())


class FeatureFolder:
    """Where the features of a manifest's clips lie, a table an encoder: a folder or a bucket.

    Attributes:
        storage: The place.
    """

    def __init__(self, where: str | Path) -> None:
        """Name a place, which need not exist yet: a folder or `s3://bucket/prefix`."""
        self.storage = Storage(where)

    @property
    def name(self) -> str:
        """Where it lies, as it was given."""
        return self.storage.name

    @property
    def path(self) -> Path:
        """The same as a path, from which the place can be named again, a bucket too."""
        return Path(self.name)

    @classmethod
    def beside(cls, manifest: Path) -> "FeatureFolder":
        """The default place: `clips.jsonl` has its features in `clips.features`."""
        return cls(manifest.with_suffix(".features"))

    def table(self, name: str, encoder: Encoder) -> FeatureTable:
        """The table of one encoder, to write to."""
        file = f"{name}-{encoder.fingerprint}.lance"
        return FeatureTable(self.storage, file, encoder.width)

    def existing(self, name: str, encoder: Encoder) -> FeatureTable:
        """The table of one encoder, to read from.

        Raises:
            UserError: There is none; or only those that other weights or settings made.
        """
        table = self.table(name, encoder)
        if table.there:
            return table
        stems = [file.removesuffix(".lance") for file in self.storage.names()]
        if others := [stem for stem in stems if stem.startswith(f"{name}-")]:
            raise UserError(
                f"The {name} features in {self.name} were made by other weights or settings "
                f"({others[0]}) than this run's ({table.name.removesuffix('.lance')}): run "
                "'trichord extract' with this run or experiment."
            )
        raise UserError(
            f"No {name} features in {self.name}: run 'trichord extract' first, or train and evaluate "
            "with --from media."
        )


def _small(table: Any) -> list[Any]:
    return [one for one in table.get_fragments() if one.metadata.physical_rows < FRAGMENT_ROWS]


def _join(table: Any) -> None:
    table.optimize.compact_files(target_rows_per_fragment=FRAGMENT_ROWS)
