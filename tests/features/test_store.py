import threading

import lance
import numpy as np
import pyarrow as pa
import pytest
import torch

from trichord.features.store import SCHEMA, FeatureFolder, FeatureRow, FeatureTable, Ragged
from trichord.storage import Storage
from trichord.types import UserError


def row(key, steps, value=1.0, origin="o"):
    return FeatureRow(key, origin, "ok", np.full((steps, 3), value, np.float32))


@pytest.fixture
def table(place):
    return FeatureTable(Storage(place), "vision-abc.lance", 3)


def test_rows_come_back_in_the_order_asked_for_bit_for_bit(table):
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    table.put([FeatureRow("x", "o", "ok", values), row("y", 0), row("z", 2, 5.0)])
    held, statuses = table.load(["z", "y", "x"])
    assert statuses == ("ok", "ok", "ok")
    assert held.starts.tolist() == [0, 2, 2, 6]
    assert torch.equal(held.values[2:], torch.from_numpy(values))


def test_a_key_put_again_replaces_its_row(table):
    table.put([row("x", 2, origin="old"), row("y", 1)])
    table.put([row("x", 1, 9.0, origin="new")])
    assert table.origins() == {"x": "new", "y": "o"}
    held, _ = table.load(["x"])
    assert held.values.tolist() == [[9.0, 9.0, 9.0]]


def test_putting_nothing_makes_no_table(table):
    table.put([])
    assert table.origins() == {}
    assert len(table.load([])[0]) == 0


def test_a_missing_key_is_an_error(table):
    table.put([row("x", 1)])
    with pytest.raises(KeyError, match="nope"):
        table.load(["nope"])


def test_compaction_keeps_every_row(table):
    for i in range(5):
        table.put([row(f"k{i}", 1, float(i))])
    table.compact()
    held, _ = table.load([f"k{i}" for i in range(5)])
    assert held.values[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_padding_keeps_lengths_and_marks_missing_rows():
    held = Ragged.of([torch.ones(2, 3), torch.zeros(0, 3), 2 * torch.ones(1, 3)], 3)
    padded = held.padded(torch.tensor([2, 0, 1, -1]))
    assert padded.mask.tolist() == [[True, False], [True, True], [False, False], [False, False]]
    assert padded.values[:, :, 0].tolist() == [[2, 0], [1, 1], [0, 0], [0, 0]]


def test_padding_rows_of_nothing_is_all_missing():
    padded = Ragged.of([torch.zeros(0, 3)], 3).padded(torch.tensor([0]))
    assert not padded.mask.any()
    assert padded.values.shape == (1, 1, 3)


def test_origins_of_some_keys_are_told_alone(table):
    table.put([row("x", 1, origin="a"), row("y", 1, origin="b")])
    assert table.origins(["y", "unknown"]) == {"y": "b"}
    assert table.origins([]) == {}


def test_writers_at_the_same_time_lose_and_double_nothing(tmp_path):
    """Eight threads put the same sixteen keys, each several times, and a key of their own."""
    failed = []

    def write(number):
        try:
            table = FeatureTable(Storage(tmp_path), "vision-abc.lance", 3)
            for turn in range(4):
                keys = [f"k{turn * 4 + i}" for i in range(4)]
                table.put([row(key, 1, float(number), origin=str(number)) for key in keys])
            table.put([row(f"own-{number}", 1, float(number), origin=str(number))])
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    table = FeatureTable(Storage(tmp_path), "vision-abc.lance", 3)
    keys = table.rows(["key"])["key"].to_pylist()
    assert sorted(keys) == sorted([f"k{i}" for i in range(16)] + [f"own-{i}" for i in range(8)])
    origins = table.origins()
    held, _ = table.load(keys)
    assert held.values[:, 0].tolist() == [float(origins[key]) for key in keys]


def test_a_table_from_before_keys_were_said_is_gone_on_with(tmp_path):
    table = FeatureTable(Storage(tmp_path), "vision-abc.lance", 3)
    bare = pa.schema([field.remove_metadata() for field in SCHEMA])
    values = np.ones((1, 3), "<f4").tobytes()
    old = pa.table([["x"], ["old"], ["ok"], pa.array([1], pa.int32()), [values]], schema=bare)
    lance.write_dataset(old, table.uri)
    table.put([row("x", 1, 2.0, origin="new"), row("y", 1)])
    assert table.origins() == {"x": "new", "y": "o"}


def test_features_of_other_weights_are_refused_not_mixed(tiny_model, place):
    folder = FeatureFolder(place)
    with pytest.raises(UserError, match="run 'trichord extract' first"):
        folder.existing("vision", tiny_model.vision)
    folder.table("vision", tiny_model.vision).put(
        [FeatureRow("x", "o", "ok", np.zeros((1, 32), np.float32))]
    )
    assert folder.existing("vision", tiny_model.vision).origins() == {"x": "o"}
    next(tiny_model.vision.trunk.parameters()).data += 1
    tiny_model.vision.unfreeze()  # weights changed: the fingerprint is taken anew
    tiny_model.vision.freeze_trunk()
    with pytest.raises(UserError, match="made by other weights or settings"):
        folder.existing("vision", tiny_model.vision)


def test_features_lie_beside_their_manifest(tmp_path):
    assert FeatureFolder.beside(tmp_path / "clips.jsonl").path == tmp_path / "clips.features"


def test_a_bucket_is_named_by_its_path_too(bucket, tiny_model):
    folder = FeatureFolder(bucket)
    row_of = FeatureRow("x", "o", "ok", np.zeros((1, 32), np.float32))
    folder.table("vision", tiny_model.vision).put([row_of])
    again = FeatureFolder(folder.path)
    assert again.name == bucket
    assert again.existing("vision", tiny_model.vision).origins() == {"x": "o"}
