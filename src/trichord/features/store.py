"""Lance tables of trunk features, one an encoder, keyed by what made them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trichord.encoders.encoder import Encoder
from trichord.types import UserError
from trichord.types.tensors import Padded

SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("steps", pa.int32(), nullable=False),
        pa.field("values", pa.large_binary(), nullable=False),
    ]
)
"""`values`: steps x width float32, little-endian. Half precision would cost the 1e-5 we promise."""

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


class FeatureTable:
    """The features of one encoder: a Lance table named by its fingerprint."""

    def __init__(self, path: Path, width: int) -> None:
        self.path = path
        self.width = width

    @property
    def _table(self) -> Any:
        return lance.dataset(str(self.path)) if self.path.exists() else None

    def origins(self) -> dict[str, str]:
        """Of every row: key to origin."""
        if (table := self._table) is None:
            return {}
        columns = table.to_table(columns=["key", "origin"])
        return dict(zip(columns["key"].to_pylist(), columns["origin"].to_pylist(), strict=True))

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
        if (table := self._table) is None:
            lance.write_dataset(batch, str(self.path), mode="create")
            return
        upsert = table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all()
        upsert.execute(batch)

    def compact(self) -> None:
        """Join the many small files that a long extraction leaves."""
        if (table := self._table) is not None and len(table.get_fragments()) > 1:
            table.optimize.compact_files()

    def load(self, keys: Iterable[str]) -> tuple[Ragged, tuple[str, ...]]:
        """Features of keys in their order, and the status of each.

        Raises:
            KeyError: A key has no row.
        """
        wanted = list(keys)
        table = self._table
        columns = SCHEMA.empty_table() if table is None else table.to_table()
        place = {key: i for i, key in enumerate(columns["key"].to_pylist())}
        chosen = columns.take(pa.array([place[key] for key in wanted], pa.int64()))
        # A copy: torch wants writable memory, Arrow's is not.
        rows = [
            torch.from_numpy(np.frombuffer(value, "<f4").reshape(-1, self.width).copy())
            for value in chosen["values"].to_pylist()
        ]
        return Ragged.of(rows, self.width), tuple(chosen["status"].to_pylist())


@dataclass(frozen=True, slots=True)
class FeatureFolder:
    """Where the features of a manifest's clips lie, a table an encoder."""

    path: Path

    @classmethod
    def beside(cls, manifest: Path) -> "FeatureFolder":
        """The default place: `clips.jsonl` has its features in `clips.features`."""
        return cls(manifest.with_suffix(".features"))

    def table(self, name: str, encoder: Encoder) -> FeatureTable:
        """The table of one encoder, to write to."""
        return FeatureTable(self.path / f"{name}-{encoder.fingerprint}.lance", encoder.width)

    def existing(self, name: str, encoder: Encoder) -> FeatureTable:
        """The table of one encoder, to read from.

        Raises:
            UserError: There is none; or only those that other weights or settings made.
        """
        table = self.table(name, encoder)
        if table.path.exists():
            return table
        if others := sorted(self.path.glob(f"{name}-*.lance")):
            raise UserError(
                f"The {name} features in {self.path} were made by other weights or settings "
                f"({others[0].stem}) than this run's ({table.path.stem}): run 'trichord extract' with "
                "this run or experiment."
            )
        raise UserError(
            f"No {name} features in {self.path}: run 'trichord extract' first, or train and evaluate "
            "with --from media."
        )
