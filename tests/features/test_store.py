import numpy as np
import pytest
import torch

from trichord.features.store import FeatureFolder, FeatureRow, FeatureTable, Ragged
from trichord.types import UserError


def row(key, steps, value=1.0, origin="o"):
    return FeatureRow(key, origin, "ok", np.full((steps, 3), value, np.float32))


@pytest.fixture
def table(tmp_path):
    return FeatureTable(tmp_path / "folder" / "vision-abc.lance", 3)


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


def test_features_of_other_weights_are_refused_not_mixed(tiny_model, tmp_path):
    folder = FeatureFolder(tmp_path)
    with pytest.raises(UserError, match="run 'trichord extract' first"):
        folder.existing("vision", tiny_model.vision)
    folder.table("vision", tiny_model.vision).put(
        [FeatureRow("x", "o", "ok", np.zeros((1, 32), np.float32))]
    )
    assert folder.existing("vision", tiny_model.vision).origins() == {"x": "o"}
    next(tiny_model.vision.trunk.parameters()).data += 1
    tiny_model.vision.thaw_trunk()  # weights changed: the fingerprint is taken anew
    tiny_model.vision.freeze_trunk()
    with pytest.raises(UserError, match="made by other weights or settings"):
        folder.existing("vision", tiny_model.vision)


def test_features_lie_beside_their_manifest(tmp_path):
    assert FeatureFolder.beside(tmp_path / "clips.jsonl").path == tmp_path / "clips.features"
