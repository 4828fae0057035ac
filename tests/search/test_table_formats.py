"""Tables that an earlier version wrote, or another model."""

import json

import lance
import pyarrow as pa
import pytest

from trichord.search.collection import StoredCollection
from trichord.search.engine import SearchEngine
from trichord.search.entries import rows_of
from trichord.search.indexing import index
from trichord.search.query import Query
from trichord.search.table import MomentTable
from trichord.storage import Storage
from trichord.types import UserError


def old_table(table):
    """What the version before this one wrote: `a` with two moments, `b` without a vector."""
    names = ("id", "file", "signature", "size", "mtime_ns", "start", "end", "status", "reason")
    values = [
        ("0#a", "a", "s", 2, 7, 0.0, 1.0, "ok", ""),
        ("1#a", "a", "s", 2, 7, 1.0, 2.0, "ok", ""),
    ]
    values.append(("0#b", "b", "s", 1, 7, 0.0, 0.0, "corrupt", "broken"))
    rows = [dict(zip(names, row, strict=True)) for row in values]
    for row, vision in zip(rows, ([1.0, 0, 0], [0, 1.0, 0], None), strict=True):
        row |= {"vision": vision, "audio": None}
    schema = pa.schema([table.schema.field(name) for name in (*names, "vision", "audio")])
    lance.write_dataset(pa.Table.from_pylist(rows, schema=schema), table.uri)


def test_a_table_of_the_first_format_is_read(table):
    old_table(table)
    assert {file: known.moments for file, known in table.files().items()} == {"a": 2, "b": 0}
    gallery = table.gallery()
    assert gallery.vision.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert gallery.duration.tolist() == [2]
    assert gallery.tags == {}
    entry = table.read_files(["a"])[0].entries[0]
    assert (entry.caption, entry.tags, entry.thumbnail, entry.speech) == (None, (), None, None)
    assert gallery.captions is None
    assert table.thumbnail("a", 0.0) is None
    assert table.match_captions("dog", 3) == []


def test_a_table_of_the_first_format_gets_its_columns_at_the_first_change(table, entries):
    old_table(table)
    table.annotate("a", [(1.0, 2.0, "a dog", ("x",))])
    table.put([entries("b", 1), entries("c", 1)])
    assert {file: known.moments for file, known in table.files().items()} == {
        "a": 2,
        "b": 1,
        "c": 1,
    }
    assert table.gallery().tags["x"].tolist() == [1]
    assert table.match_captions("dog", 3)[0][:2] == ("a", 1.0)


def test_a_sample_of_a_table_of_the_first_format(table):
    old_table(table)
    assert table.sample(1)[0].vision.tolist() in ([[1, 0, 0]], [[0, 1, 0]])
    assert len(table.sample(5)[0]) == 2


def test_vectors_of_another_model_are_refused(tmp_path, entries):
    storage = Storage(tmp_path)
    MomentTable(storage, "t.lance", 3, 2, fingerprint="one").put([entries("a", 1)])
    with pytest.raises(UserError, match="vectors of other weights") as caught:
        MomentTable(storage, "t.lance", 3, 2, fingerprint="two").gallery()
    assert "\n" not in str(caught.value)


def test_rows_without_a_checksum_are_read_and_later_ones_have_it(table, entries):
    """As the version before this one wrote them."""
    rows = rows_of([entries("a", 2)], table.schema).drop_columns(["checksum"])
    lance.write_dataset(rows, table.uri)
    assert len(table.gallery()) == 2
    table.put([entries("b", 1)])
    assert len(table.gallery()) == 3
    assert [len(one.entries) for one in table.read_files(["a", "b"])] == [2, 1]
    noted = table.rows(["file", "checksum"]).sort_by("file")["checksum"]
    assert noted.is_null().to_pylist() == [True, True, False]


def test_a_whole_collection_of_the_first_format_is_searched_and_goes_on(
    collection, tiny_model, decoder, archive, tmp_path
):
    """The table without the columns of format 2, and the description that goes with it."""
    query = Query.of("a low bell")
    expected = SearchEngine(collection, tiny_model, decoder).search(query, k=20)
    later = ["duration", "findable", "caption", "tags", "thumbnail", "speech", "checksum"]
    rows = collection.table.rows(collection.table.schema.names).drop_columns(later)
    old = tmp_path / "old"
    fields = [field.remove_metadata() for field in rows.schema]
    lance.write_dataset(rows.cast(pa.schema(fields)), old / "moments.lance")
    described = json.loads((collection.path / "collection.json").read_text())
    for name in ("table", "weighting", "cut", "frames", "roots", "relative_run"):
        del described[name]
    described["sound_tokens"] = described.pop("audio_types")
    for scales in described["calibration"].values():
        scales["sight"], scales["sound"] = scales.pop("vision"), scales.pop("audio")
    (old / "collection.json").write_text(json.dumps(described | {"format": 1}))
    there = StoredCollection.open(old)
    found = SearchEngine(there, tiny_model, decoder).search(query, k=20)
    assert [(one.moment, one.score) for one in found] == [
        (one.moment, pytest.approx(one.score, abs=1e-4)) for one in expected
    ]
    (archive / "late.png").write_bytes((archive / "still.png").read_bytes() + b"\0")
    done = {one.file: one.change for one in index(there, tiny_model, decoder, [archive])}
    assert done.pop(str(archive / "late.png")) == "new"
    assert set(done.values()) == {"unchanged"}
    again = StoredCollection.open(old)
    assert json.loads((old / "collection.json").read_text())["format"] == 4
    assert len(again.table.gallery()) == len(collection.table.gallery()) + 1
