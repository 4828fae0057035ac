import tracemalloc
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest

from trichord.search import table as module
from trichord.search.entries import rows_of
from trichord.search.table import Entry, FileEntries, FileVersion, MomentTable
from trichord.storage import Storage
from trichord.types import Moment, UserError


def entries(file, count, value=1.0, signature="s", audio=True):
    """A file of `count` moments whose vectors hold `value`."""
    return FileEntries(
        version=FileVersion(file=file, signature=signature, size=count, mtime_ns=7),
        entries=tuple(
            Entry(
                moment=Moment(file=file, start=float(i), end=i + 1.0),
                status="ok" if audio else "no_audio",
                vision=np.full(3, value, np.float32),
                audio=np.full(2, value, np.float32) if audio else None,
            )
            for i in range(count)
        ),
    )


@pytest.fixture
def table(tmp_path):
    return MomentTable(Storage(tmp_path), "moments.lance", 3, 2)


def test_a_table_not_begun_is_empty(table):
    assert table.version == 0
    assert table.files() == {}
    assert table.read(["x"]) == []
    assert len(table.gallery()) == 0
    table.remove(["x"])
    table.compact()


def test_what_was_put_is_read_back(table):
    both, mute = entries("a", 2), entries("it's b", 1, audio=False)
    table.put([both, mute])
    back = table.read(["it's b", "a", "unknown"])
    assert [one.version for one in back] == [both.version, mute.version]
    assert [e.moment for e in back[0].entries] == [e.moment for e in both.entries]
    assert back[0].entries[1].vision.tolist() == [1, 1, 1]
    assert back[1].entries[0].audio is None
    assert back[1].entries[0].status == "no_audio"


def test_a_file_that_became_shorter_leaves_nothing_behind(table):
    table.put([entries("a", 3), entries("b", 2)])
    table.put([entries("a", 1, value=5.0)])
    gallery = table.gallery()
    assert [(m.file, m.start) for m in gallery.moments] == [("a", 0), ("b", 0), ("b", 1)]
    assert gallery.vision[:, 0].tolist() == [5, 1, 1]


def test_sound_is_stored_at_all_tokens_and_heard_at_one(tmp_path):
    table = MomentTable(Storage(tmp_path), "moments.lance", 3, 2, (0.5, 0.0, 1.0))
    entry = entries("a", 1).entries[0]
    wide = np.array([1, 0, 0, 1, 0.6, 0.8], np.float32)
    told, mute = replace(entry, audio=wide), entries("b", 1, audio=False)
    table.put([replace(entries("a", 1), entries=(told,)), mute])
    assert table.read(["a"])[0].entries[0].audio.tolist() == wide.tolist()
    heard = {token: table.gallery(token) for token in (None, 0.5, 0.0, 0.75, 1.0)}
    assert heard[None].audio.tolist() == heard[0.5].audio.tolist() == [[1, 0], [0, 0]]
    assert heard[0.0].audio.tolist() == [[0, 1], [0, 0]]
    between = np.array([0.8, 0.4]) / np.sqrt(0.8)  # half of (1, 0) and half of (0.6, 0.8)
    np.testing.assert_allclose(heard[0.75].audio, [between, [0, 0]], atol=1e-6)
    assert [one.has_audio.tolist() for one in heard.values()] == [[True, False]] * 5


def test_files_are_replaced_in_one_transaction(table):
    table.put([entries("a", 3), entries("b", 1)])
    before = table.version
    table.put([entries("a", 1), entries("b", 4), entries("c", 1)])
    assert table.version == before + 1


def test_the_gallery_is_ordered_and_leaves_out_moments_without_vectors(table):
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


def test_removed_files_are_gone_and_the_others_stay(table, monkeypatch):
    monkeypatch.setattr(module, "FILES_AT_ONCE", 2)
    table.put([entries(name, 1) for name in "abcde"])
    table.remove(["a", "b", "d"])
    assert list(table.files()) == ["c", "e"]


def test_many_small_transactions_are_joined_and_old_versions_dropped(table, monkeypatch):
    monkeypatch.setattr(module, "FRAGMENTS", 4)
    for i in range(12):
        table.put([entries(f"f{i:02}", 1, value=float(i))])
    table.compact(timedelta(0))
    assert len(list(Path(table.uri).glob("data/*"))) == 1
    assert len(list(Path(table.uri).glob("_versions/*.manifest"))) == 1
    assert table.gallery().vision[:, 0].tolist() == list(range(12))


def test_a_first_transaction_that_was_cut_off_does_not_count(table):
    (Path(table.uri) / "data").mkdir(parents=True)
    (Path(table.uri) / "data" / "half.lance").write_bytes(b"half a file")
    assert table.files() == {}
    table.put([entries("a", 1)])
    assert list(table.files()) == ["a"]


def test_a_damaged_table_is_said_in_one_line(table):
    table.put([entries("a", 1)])
    [manifest] = Path(table.uri).glob("_versions/*.manifest")
    manifest.write_bytes(b"no manifest")
    with pytest.raises(UserError, match="cannot be read or written") as caught:
        table.gallery()
    assert "\n" not in str(caught.value)


def test_putting_nothing_makes_no_transaction(table):
    table.put([])
    assert table.version == 0


def test_reading_makes_no_object_a_number(tmp_path):
    """300 moments of 2 × 512 numbers are 1.2 MB as float32, and 10 MB as lists of floats."""
    table = MomentTable(Storage(tmp_path), "moments.lance", 512, 512)
    file = entries("a", 300)
    wide = np.arange(512, dtype=np.float32)
    seen = [replace(one, vision=wide + i, audio=None) for i, one in enumerate(file.entries)]
    seen[1::2] = [replace(one, vision=None, audio=one.vision + 0.5) for one in seen[1::2]]
    table.put([replace(file, entries=tuple(seen))])
    table.read(["a"])  # what is loaded at the first call does not count
    tracemalloc.start()
    try:
        [read] = table.read(["a"])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1e6
    for one, was in zip(read.entries, seen, strict=True):
        assert (one.vision is None, one.audio is None) == (was.vision is None, was.audio is None)
        there = one.audio if one.vision is None else one.vision
        np.testing.assert_array_equal(there, was.audio if was.vision is None else was.vision)


def test_a_sample_is_of_some_moments_always_the_same_ones(table):
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


def test_a_sample_of_as_many_as_there_are_is_the_gallery(told):
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


def test_a_sample_of_a_table_of_the_first_format(table):
    old_table(table)
    assert table.sample(1)[0].vision.tolist() in ([[1, 0, 0]], [[0, 1, 0]])
    assert len(table.sample(5)[0]) == 2


@pytest.fixture
def told(table):
    """Two files with captions, tags, thumbnails, speech and durations."""

    def told(entry, caption, tags):
        return replace(entry, caption=caption, tags=tags, thumbnail=b"jpeg", speech=0.25)

    first, second = entries("a", 3), entries("b", 1)
    changed = (
        told(first.entries[0], "a dog barks", ("z", "loud")),
        told(first.entries[1], "a cat and a dog sleep in the sun", ()),
        first.entries[2],
    )
    version = replace(first.version, duration=3.5)
    table.put([FileEntries(version=version, entries=changed), second])
    return table


def test_captions_tags_thumbnails_speech_and_duration_are_read_back(told):
    first, second = told.read(["a", "b"])
    assert first.version.duration == 3.5
    assert second.version.duration is None
    kept = [(e.caption, e.tags, e.thumbnail, e.speech) for e in first.entries]
    assert kept[0] == ("a dog barks", ("z", "loud"), b"jpeg", 0.25)
    assert kept[2] == (None, (), None, None)
    assert told.files()["a"].version.duration == 3.5


def test_a_vector_that_is_no_number_counts_as_absent(table):
    table.put([entries("a.mp4", 2), entries("b.mp4", 2, value=2.0)])
    [file] = table.read(["a.mp4"])
    bad = np.full(table.vision_dim, np.nan, np.float32)
    bad[0] = np.inf
    table.put([replace(file, entries=(replace(file.entries[0], vision=bad), file.entries[1]))])
    gallery = table.gallery()
    assert gallery.has_vision.tolist() == [False, True, True, True]
    assert not gallery.vision[0].any()
    assert np.isfinite(gallery.vision).all()
    assert gallery.has_audio.all()


def test_the_gallery_knows_tags_speech_and_durations(told):
    told.put([entries("A", 1)])  # comes first, though it was written last
    gallery = told.gallery()
    assert gallery.files == ("A", "a", "b")
    assert {tag: rows.tolist() for tag, rows in gallery.tags.items()} == {"loud": [1], "z": [1]}
    assert gallery.duration.tolist() == [1, 3.5, 1]
    np.testing.assert_array_equal(gallery.speech, [np.nan, 0.25, 0.25, np.nan, np.nan])


def test_thumbnails_and_captions_are_found_by_file_and_start(told):
    assert told.thumbnail("a", 1.0) == b"jpeg"
    assert told.thumbnail("a", 2.0) is None
    assert told.thumbnail("it's no file", 0.0) is None
    moments = told.gallery().moments
    assert told.captions(moments[::-1]) == [
        None, None, "a cat and a dog sleep in the sun", "a dog barks"
    ]  # fmt: skip
    assert told.captioned() == 2


@pytest.mark.parametrize("indexed", [False, True])
def test_captions_are_found_by_their_words(told, indexed):
    if indexed:
        told.index_captions()
        told.index_captions()
    found = told.match_captions("DOG sleep" if indexed else "dog sleep", 5)
    assert [hit[:2] for hit in found] == [("a", 1.0), ("a", 0.0)]
    assert found[0][2] > found[1][2] > 0
    assert [hit[:2] for hit in told.match_captions("dog", 1)] == [("a", 0.0)]  # the shorter one
    assert told.match_captions("zebra", 5) == told.match_captions("?!", 5) == []
    told.annotate("b", [(0.0, 1.0, "a zebra", ())])
    assert [hit[:2] for hit in told.match_captions("zebra", 5)] == [("b", 0.0)]


def test_without_captions_nothing_is_found_by_words(table):
    table.put([entries("a", 1)])
    table.index_captions()
    assert table.match_captions("dog", 5) == []


def test_annotating_replaces_what_was_said_and_nothing_else(told):
    before = told.version
    told.annotate("a", [(0.0, 1.0, None, ("new", "new")), (2.0, 3.0, "three", ())])
    assert told.version > before
    kept = [(e.caption, e.tags, e.thumbnail) for e in told.read(["a"])[0].entries]
    assert kept == [
        (None, ("new",), b"jpeg"), ("a cat and a dog sleep in the sun", (), b"jpeg"),
        ("three", (), None),
    ]  # fmt: skip
    assert told.gallery().vision.tolist() == [[1, 1, 1]] * 4
    assert told.notes() == {
        "a": [
            (0.0, 1.0, None, ["new"]), (1.0, 2.0, "a cat and a dog sleep in the sun", ()),
            (2.0, 3.0, "three", ()),
        ]
    }  # fmt: skip


@pytest.mark.parametrize(("file", "start"), [("a", 0.5), ("unknown", 0.0)])
def test_a_moment_that_is_not_there_cannot_be_annotated(told, file, start):
    with pytest.raises(UserError, match=f"{file} has no moment from {start:g} s to 1 s"):
        told.annotate(file, [(start, 1.0, "x", ())])


def test_several_notes_of_one_moment_are_said_together(told):
    """As clips of a manifest that overlap a moment are: captions as lines, everything once."""
    notes = [
        (0.0, 1.0, "a dog", ("x", "y")),
        (1.0, 2.0, "by itself", ()),
        (0.0, 1.0, None, ("z",)),
        (0.0004, 1.0, "a bark", ("x",)),
        (0.0, 1.0, "a dog", ()),
    ]
    told.annotate("a", notes)
    assert told.notes() == {
        "a": [(0.0, 1.0, "a dog\na bark", ["x", "y", "z"]), (1.0, 2.0, "by itself", ())]
    }
    told.annotate("a", [(0.0, 1.0, None, ()), (0.0, 1.0, None, ())])
    assert told.notes() == {"a": [(1.0, 2.0, "by itself", ())]}


def test_what_is_said_elsewhere_of_the_same_moments_is_taken_along_at_once(told):
    version = told.version
    said = {
        "a": [(1.0, 2.0, "moved", ["x"]), (1.0, 2.5, "another moment", ())],
        "b": [(0.0, 1.0, None, ["y"])],
        "gone": [(0.0, 1.0, "gone", ())],
    }
    told.annotate_same(said)
    assert told.version == version + 2  # what is said, and its index of words
    assert told.notes() == {
        "a": [(0.0, 1.0, "a dog barks", ["z", "loud"]), (1.0, 2.0, "moved", ["x"])],
        "b": [(0.0, 1.0, None, ["y"])],
    }
    told.annotate_same({"gone": said["gone"]})
    assert told.version == version + 2


def test_an_empty_table_has_nothing_to_annotate_or_show(table):
    assert (table.captioned(), table.captions([]), table.notes()) == (0, [], {})
    assert table.thumbnail("a", 0.0) is None
    table.index_captions()
    with pytest.raises(UserError, match="has no moment"):
        table.annotate("a", [(0.0, 1.0, "x", ())])


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
    entry = table.read(["a"])[0].entries[0]
    assert (entry.caption, entry.tags, entry.thumbnail, entry.speech) == (None, (), None, None)
    assert table.captions(gallery.moments) == [None, None]
    assert table.thumbnail("a", 0.0) is None
    assert table.match_captions("dog", 3) == []


def test_a_table_of_the_first_format_gets_its_columns_at_the_first_change(table):
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


def test_vectors_of_another_model_are_refused(tmp_path):
    storage = Storage(tmp_path)
    MomentTable(storage, "t.lance", 3, 2, fingerprint="one").put([entries("a", 1)])
    with pytest.raises(UserError, match="vectors of other weights") as caught:
        MomentTable(storage, "t.lance", 3, 2, fingerprint="two").gallery()
    assert "\n" not in str(caught.value)


def test_a_table_in_a_bucket_does_what_one_in_a_folder_does(bucket):
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
def test_a_lost_lease_leaves_one_row_a_moment(bucket, monkeypatch, keyed):
    monkeypatch.setattr(Storage, "writing", nullcontext)
    first, second = (kind(Storage(bucket), "t.lance", 3, 2) for kind in (MomentTable, Behind))
    if not keyed:  # written before rows had a key
        schema = first.schema.set(0, first.schema.field("id").remove_metadata())
        rows = rows_of([entries("a", 1)], schema)
        lance.write_dataset(rows, first.uri, storage_options=first.storage.options)
    first.put([entries("a", 1)])
    second.seen = first.now
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


def test_a_large_table_finds_a_files_rows_by_an_index(table, monkeypatch):
    monkeypatch.setattr(module, "INDEXED_FROM", 2)
    table.put([entries("a", 1), entries("it's b", 1)])
    table.compact()
    table.put([entries("it's b", 2, value=3.0), entries("c", 1)])
    table.compact()
    assert [one.field_names for one in lance.dataset(table.uri).describe_indices()] == [["file"]]
    assert [len(one.entries) for one in table.read(["it's b", "c", "d"])] == [1, 2]
    assert table.gallery().vision[:, 0].tolist() == [1, 1, 3, 3]


def test_who_began_to_read_before_a_joining_reads_on(table):
    table.put([entries("a", 2), entries("b", 1)])
    before = table.now
    table.put([entries("a", 1, value=5.0)])
    table.compact()
    portions = list(table.scan(before, ["file", "vision"]))
    assert [len(portion) for portion in portions] == [0, 3]
    assert portions[1]["vision"].to_pylist() == [[1, 1, 1]] * 3
