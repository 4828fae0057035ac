from dataclasses import replace

import numpy as np
import pytest

from trichord.search import table as module
from trichord.search.table import Entry, FileEntries, FileVersion, MomentTable
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
    return MomentTable(tmp_path / "moments.lance", 3, 2)


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
    table = MomentTable(tmp_path / "moments.lance", 3, 2, (0.5, 0.0, 1.0))
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
    table.compact()
    assert len(list(table.path.glob("data/*"))) == 1
    assert len(list(table.path.glob("_versions/*.manifest"))) == 1
    assert table.gallery().vision[:, 0].tolist() == list(range(12))


def test_a_first_transaction_that_was_cut_off_does_not_count(table):
    (table.path / "data").mkdir(parents=True)
    (table.path / "data" / "half.lance").write_bytes(b"half a file")
    assert table.files() == {}
    table.put([entries("a", 1)])
    assert list(table.files()) == ["a"]


def test_a_damaged_table_is_said_in_one_line(table):
    table.put([entries("a", 1)])
    [manifest] = table.path.glob("_versions/*.manifest")
    manifest.write_bytes(b"no manifest")
    with pytest.raises(UserError, match="cannot be read or written") as caught:
        table.gallery()
    assert "\n" not in str(caught.value)


def test_putting_nothing_makes_no_transaction(table):
    table.put([])
    assert table.version == 0
