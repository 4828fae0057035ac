import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trichord.features.importing import import_features
from trichord.features.store import IMPORTED, FeatureFolder
from trichord.types import UserError


@pytest.fixture
def folder(tmp_path):
    return FeatureFolder(tmp_path / "cache")


def test_npz_arrays_become_rows_of_known_clips(tiny_model, captioned, folder, tmp_path):
    steps = np.random.default_rng(0).normal(size=(5, 32))
    np.savez(tmp_path / "v.npz", a=steps, b=steps[0], stranger=steps)
    assert import_features(tiny_model, "vision", tmp_path / "v.npz", captioned, folder) == 2
    table = folder.table("vision", tiny_model.vision)
    assert table.origins() == {"a": IMPORTED, "b": IMPORTED}
    held, _ = table.load(["a", "b"])
    np.testing.assert_array_equal(held.values[:5].numpy(), steps.astype(np.float32))
    assert held.starts.tolist() == [0, 5, 6]


def test_parquet_brings_texts_by_themselves(tiny_model, captioned, folder, tmp_path):
    values = [[float(i)] * 32 for i in range(2)]
    table = pa.table({"id": ["a dog", "a red bell"], "values": values})
    pq.write_table(table, tmp_path / "t.parquet")
    assert import_features(tiny_model, "text", tmp_path / "t.parquet", captioned, folder) == 2


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros((2, 7)), "width 32"),
        (np.full((2, 32), np.nan), "finite"),
        (np.array(3.0), "width 32"),
    ],
)
def test_features_that_do_not_fit_are_refused_and_nothing_is_written(
    tiny_model, captioned, folder, tmp_path, values, why
):
    np.savez(tmp_path / "v.npz", a=values)
    with pytest.raises(UserError, match=why):
        import_features(tiny_model, "vision", tmp_path / "v.npz", captioned, folder)
    assert not folder.path.exists()


def test_files_without_a_known_key_or_of_another_kind_are_refused(
    tiny_model, captioned, folder, tmp_path
):
    np.savez(tmp_path / "v.npz", stranger=np.zeros((1, 32)))
    with pytest.raises(UserError, match="no key"):
        import_features(tiny_model, "vision", tmp_path / "v.npz", captioned, folder)
    (tmp_path / "x.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="cannot be read"):
        import_features(tiny_model, "vision", tmp_path / "x.npz", captioned, folder)


def test_pickled_objects_are_never_loaded(tiny_model, captioned, folder, tmp_path):
    np.savez(tmp_path / "v.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        import_features(tiny_model, "vision", tmp_path / "v.npz", captioned, folder)
