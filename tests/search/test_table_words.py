"""What a table keeps of moments beside their vectors: captions, tags, thumbnails, speech."""

import numpy as np
import pytest

from trichord.types import UserError


def test_captions_tags_thumbnails_speech_and_duration_are_read_back(told):
    first, second = told.read_files(["a", "b"])
    assert first.version.duration == 3.5
    assert second.version.duration is None
    kept = [(e.caption, e.tags, e.thumbnail, e.speech) for e in first.entries]
    assert kept[0] == ("a dog barks", ("z", "loud"), b"jpeg", 0.25)
    assert kept[2] == (None, (), None, None)
    assert told.files()["a"].version.duration == 3.5


def test_the_gallery_knows_tags_speech_and_durations(told, entries):
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
    assert told.gallery().captions.to_pylist()[::-1] == [
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


def test_without_captions_nothing_is_found_by_words(table, entries):
    table.put([entries("a", 1)])
    table.index_captions()
    assert table.match_captions("dog", 5) == []


def test_annotating_replaces_what_was_said_and_nothing_else(told):
    before = told.version
    told.annotate("a", [(0.0, 1.0, None, ("new", "new")), (2.0, 3.0, "three", ())])
    assert told.version > before
    kept = [(e.caption, e.tags, e.thumbnail) for e in told.read_files(["a"])[0].entries]
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
    assert (table.captioned(), table.gallery().captions, table.notes()) == (0, None, {})
    assert table.thumbnail("a", 0.0) is None
    table.index_captions()
    with pytest.raises(UserError, match="has no moment"):
        table.annotate("a", [(0.0, 1.0, "x", ())])
