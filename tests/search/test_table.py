import tracemalloc
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pytest

from trichord.search import table as module
from trichord.search.entries import rows_of
from trichord.search.table import Entry, FileEntries, FileVersion, MomentTable
from trichord.storage import Storage
from trichord.types import Moment, UserError


def test_a_table_not_begun_is_empty(table):
    assert table.version == 0
    assert table.files() == {}
    assert table.read_files(["x"]) == []
    assert len(table.gallery()) == 0
    table.remove(["x"])
    table.compact()


def test_what_was_put_is_read_back(table, entries):
    both, mute = entries("a", 2), entries("it's b", 1, audio=False)
    table.put([both, mute])
    back = table.read_files(["it's b", "a", "unknown"])
    assert [one.version for one in back] == [both.version, mute.version]
    assert [e.moment for e in back[0].entries] == [e.moment for e in both.entries]
    assert back[0].entries[1].vision.tolist() == [1, 1, 1]
    assert back[1].entries[0].audio is None
    assert back[1].entries[0].status == "no_audio"


def test_a_file_that_became_shorter_leaves_nothing_behind(table, entries):
    table.put([entries("a", 3), entries("b", 2)])
    table.put([entries("a", 1, value=5.0)])
    gallery = table.gallery()
    assert [(m.file, m.start) for m in gallery.moments] == [("a", 0), ("b", 0), ("b", 1)]
    assert gallery.vision[:, 0].tolist() == [5, 1, 1]


def test_sound_is_stored_at_all_tokens_and_heard_at_one(tmp_path, entries):
    table = MomentTable(Storage(tmp_path), "moments.lance", 3, 2, (0.5, 0.0, 1.0))
    entry = entries("a", 1).entries[0]
    wide = np.array([1, 0, 0, 1, 0.6, 0.8], np.float32)
    told, mute = replace(entry, audio=wide), entries("b", 1, audio=False)
    table.put([replace(entries("a", 1), entries=(told,)), mute])
    assert table.read_files(["a"])[0].entries[0].audio.tolist() == wide.tolist()
    heard = {token: table.gallery(token) for token in (None, 0.5, 0.0, 0.75, 1.0)}
    assert heard[None].audio.tolist() == heard[0.5].audio.tolist() == [[1, 0], [0, 0]]
    assert heard[0.0].audio.tolist() == [[0, 1], [0, 0]]
    between = np.array([0.8, 0.4]) / np.sqrt(0.8)  # half of (1, 0) and half of (0.6, 0.8)
    np.testing.assert_allclose(heard[0.75].audio, [between, [0, 0]], atol=1e-6)
    assert [one.has_audio.tolist() for one in heard.values()] == [[True, False]] * 5


def test_files_are_replaced_in_one_transaction(table, entries):
    table.put([entries("a", 3), entries("b", 1)])
    before = table.version
    table.put([entries("a", 1), entries("b", 4), entries("c", 1)])
    assert table.version == before + 1


def test_the_gallery_is_ordered_and_leaves_out_moments_without_vectors(table, entries):
    nothing = Entry(moment=Moment(file="0", start=0.0, end=0.0), status="corrupt", reason="empty")
    version = FileVersion(file="0", signature="x", size=0, mtime_ns=0)
    broken = FileEntries(version=version, entries=(nothing,))
    table.put([entries("z", 1), broken, entries("a", 2, audio=False)])
    gallery = table.gallery()
    assert [m.file for m in gallery.moments] == ["a", "a", "z"]
    assert gallery.has_vision.all()
    assert gallery.has_audio.tolist() == [False, False, True]
    assert gallery.audio.tolist() == [[0, 0], [0, 0], [1, 1]]
    known = table.files()["0"]
    assert (known.statuses, known.moments) == (("corrupt",), 0)


def test_removed_files_are_gone_and_the_others_stay(table, monkeypatch, entries):
    monkeypatch.setattr(module, "FILES_AT_ONCE", 2)
    table.put([entries(name, 1) for name in "abcde"])
    table.remove(["a", "b", "d"])
    assert list(table.files()) == ["c", "e"]


def test_many_small_transactions_are_joined_and_old_versions_dropped(table, monkeypatch, entries):
    monkeypatch.setattr(module, "FRAGMENTS", 4)
    for i in range(12):
        table.put([entries(f"f{i:02}", 1, value=float(i))])
    table.compact(timedelta(0))
    assert len(list(Path(table.uri).glob("data/*"))) == 1
    assert len(list(Path(table.uri).glob("_versions/*.manifest"))) == 1
    assert table.gallery().vision[:, 0].tolist() == list(range(12))


def test_a_first_transaction_that_was_cut_off_does_not_count(table, entries):
    (Path(table.uri) / "data").mkdir(parents=True)
    (Path(table.uri) / "data" / "half.lance").write_bytes(b"half a file")
    assert table.files() == {}
    table.put([entries("a", 1)])
    assert list(table.files()) == ["a"]


def test_a_damaged_table_is_said_in_one_line(table, entries):
    table.put([entries("a", 1)])
    [manifest] = Path(table.uri).glob("_versions/*.manifest")
    manifest.write_bytes(b"no manifest")
    with pytest.raises(UserError, match="cannot be read or written") as caught:
        table.gallery()
    assert "\n" not in str(caught.value)


def test_a_vector_that_the_disk_changed_is_refused_until_its_file_is_indexed_again(table, entries):
    table.put([entries("a", 2), entries("b", 1, value=0.7371)])
    [path] = Path(table.uri).glob("data/*")
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(0.7371).tobytes())] ^= 1
    path.write_bytes(content)
    for look in (table.gallery, lambda: table.sample(1), lambda: table.read_files(["a", "b"])):
        with pytest.raises(
            UserError, match=r"^b: its stored vectors are damaged.* index it again"
        ) as caught:
            look()
        assert "\n" not in str(caught.value)
    assert table.read_files(["a"])
    assert list(table.files()) == ["a", "b"]
    table.remove(["b"])
    table.put([entries("b", 1, value=0.7371)])
    assert table.gallery().vision[:, 0].tolist() == [1, 1, np.float32(0.7371)]


def test_putting_nothing_makes_no_transaction(table):
    table.put([])
    assert table.version == 0


def test_reading_makes_no_object_a_number(tmp_path, entries):
    """300 moments of 2 × 512 numbers are 1.2 MB as float32, and 10 MB as lists of floats."""
    table = MomentTable(Storage(tmp_path), "moments.lance", 512, 512)
    file = entries("a", 300)
    wide = np.arange(512, dtype=np.float32)
    seen = [replace(one, vision=wide + i, audio=None) for i, one in enumerate(file.entries)]
    seen[1::2] = [replace(one, vision=None, audio=one.vision + 0.5) for one in seen[1::2]]
    table.put([replace(file, entries=tuple(seen))])
    table.read_files(["a"])  # what is loaded at the first call does not count
    tracemalloc.start()
    try:
        [read] = table.read_files(["a"])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1e6
    for one, was in zip(read.entries, seen, strict=True):
        assert (one.vision is None, one.audio is None) == (was.vision is None, was.audio is None)
        there = one.audio if one.vision is None else one.vision
        np.testing.assert_array_equal(there, was.audio if was.vision is None else was.vision)


def test_a_sample_is_of_some_moments_always_the_same_ones(table, entries):
    table.put([entries("a", 40), entries("b", 1, audio=False)])
    table.put(
        [
            replace(file, entries=(replace(file.entries[0], vision=None, audio=None),))
            for file in [entries("c", 1)]
        ]
    )
    table.remove(["b"])
    table.put([entries(name, 20, value=float(i)) for i, name in enumerate("defg")])
    whole, (sample, version) = table.gallery(), table.sample(30)
    assert version == table.version
    assert len(sample) == 30
    assert set(sample.moments) < set(whole.moments)
    assert len({moment.file for moment in sample.moments}) == 5
    for row, moment in enumerate(sample.moments):
        there = whole.row_of(moment.file, moment.start)
        assert sample.vision[row].tolist() == whole.vision[there].tolist()
        assert sample.audio[row].tolist() == whole.audio[there].tolist()
    again, _ = table.sample(30)
    assert again.moments == sample.moments


def test_a_sample_of_as_many_as_there_are_is_the_gallery(told, entries):
    told.put([entries("A", 1)])
    sample, version = told.sample(5)
    whole = told.gallery()
    assert version == told.version
    assert (sample.moments, sample.files) == (whole.moments, whole.files)
    assert sample.tags["loud"].tolist() == whole.tags["loud"].tolist() == [1]
    np.testing.assert_array_equal(sample.speech, whole.speech)


def test_a_sample_of_nothing_is_empty(table):
    sample, version = table.sample(5)
    assert (len(sample), version) == (0, 0)


def test_a_vector_that_is_no_number_counts_as_absent(table, entries):
    table.put([entries("a.mp4", 2), entries("b.mp4", 2, value=2.0)])
    [file] = table.read_files(["a.mp4"])
    bad = np.full(table.vision_dim, np.nan, np.float32)
    bad[0] = np.inf
    table.put([replace(file, entries=(replace(file.entries[0], vision=bad), file.entries[1]))])
    gallery = table.gallery()
    assert gallery.has_vision.tolist() == [False, True, True, True]
    assert not gallery.vision[0].any()
    assert np.isfinite(gallery.vision).all()
    assert gallery.has_audio.all()


def test_a_table_in_a_bucket_does_what_one_in_a_folder_does(bucket, entries):
    table = MomentTable(Storage(bucket), "moments.lance", 3, 2)
    assert table.files() == {}
    table.put([entries("a", 3), entries("b", 1)])
    table.put([entries("a", 1, value=5.0)])
    table.annotate("b", [(0.0, 1.0, "a dog", ("x",))])
    table.index_captions()
    table.compact(timedelta(0))
    gallery = table.gallery()
    assert [(m.file, m.start) for m in gallery.moments] == [("a", 0), ("b", 0)]
    assert gallery.vision[:, 0].tolist() == [5, 1]
    assert gallery.tags["x"].tolist() == [1]
    assert table.match_captions("dog", 3)[0][:2] == ("b", 0.0)
    table.remove(["a"])
    assert list(table.files()) == ["b"]


class Behind(MomentTable):
    """A table in a bucket whose lock was lost: it commits on what it saw before others did."""

    seen = None

    @property
    def now(self):
        return self.seen or super().now


@pytest.mark.parametrize("keyed", [True, False])
def test_a_lost_lease_leaves_one_row_a_moment(bucket, monkeypatch, keyed, entries):
    monkeypatch.setattr(Storage, "writing", nullcontext)
    first, second = (kind(Storage(bucket), "t.lance", 3, 2) for kind in (MomentTable, Behind))
    if not keyed:  # written before rows had a key
        schema = first.schema.set(0, first.schema.field("id").remove_metadata())
        rows = rows_of([entries("a", 1)], schema)
        lance.write_dataset(rows, first.uri, storage_options=first.storage.options)
    first.put([entries("a", 1)])
    second.seen = first.latest
    first.put([entries("b", 2, value=5.0)])
    second.put([entries("b", 2, value=7.0)])
    second.put([entries("b", 2, value=7.0)])  # an append that is tried again
    first.put([entries("b", 2, value=7.0), entries("c", 1)])
    assert {file: known.moments for file, known in first.files().items()} == {
        "a": 1,
        "b": 2,
        "c": 1,
    }
    assert first.gallery().vision[:, 0].tolist() == [1, 7, 7, 1]


def test_a_lost_lease_leaves_no_moments_of_another_reading(bucket, monkeypatch, entries):
    """Of a file that another process found longer meanwhile."""
    monkeypatch.setattr(Storage, "writing", nullcontext)
    first, second = (kind(Storage(bucket), "t.lance", 3, 2) for kind in (MomentTable, Behind))
    first.put([entries("a", 1)])
    second.seen = first.latest
    first.put([entries("b", 3, value=5.0)])
    second.put([entries("b", 2, value=7.0), entries("c", 1)])
    assert first.gallery().vision[:, 0].tolist() == [1, 7, 7, 1]


def test_a_large_table_finds_a_files_rows_by_an_index(table, monkeypatch, entries):
    monkeypatch.setattr(module, "INDEXED_FROM", 2)
    table.put([entries("a", 1), entries("it's b", 1)])
    table.compact()
    table.put([entries("it's b", 2, value=3.0), entries("c", 1)])
    table.compact()
    assert [one.field_names for one in lance.dataset(table.uri).describe_indices()] == [["file"]]
    assert [len(one.entries) for one in table.read_files(["it's b", "c", "d"])] == [1, 2]
    assert table.gallery().vision[:, 0].tolist() == [1, 1, 3, 3]


def test_who_began_to_read_before_a_joining_reads_on(table, entries):
    table.put([entries("a", 2), entries("b", 1)])
    before = table.latest
    table.put([entries("a", 1, value=5.0)])
    table.compact()
    portions = list(table.scan(before, ["file", "vision"]))
    assert [len(portion) for portion in portions] == [0, 3]
    assert portions[1]["vision"].to_pylist() == [[1, 1, 1]] * 3
