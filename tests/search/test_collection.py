import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from trichord.models.calibration import BestScores
from trichord.search.calibration import Calibration, CosineScale, QueryCalibration
from trichord.search.collection import Description, StoredCollection
from trichord.search.table import Entry, FileEntries, FileVersion, MomentTable
from trichord.storage import Storage
from trichord.types import Moment, UserError

DESCRIPTION = Description(
    run="/runs/one", fingerprint="abc", seconds=10.0, hop=10.0, vision_dim=3, audio_dim=2
)


BEST = (BestScores(2.0, 0.5, 40.0), BestScores(1.9, 0.6, 30.0), BestScores(1.8, 0.7, 20.0))


def test_a_collection_is_read_back_equal(tmp_path):
    made = StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    assert StoredCollection.open(tmp_path / "c").description == DESCRIPTION
    stick = QueryCalibration(CosineScale(0.1, 0.2), CosineScale(0.3, 0.4), 0.5, BEST)
    made.keep(Calibration(stick, stick, stick, stick), 0)
    assert StoredCollection.open(tmp_path / "c").description == made.description


def test_beginning_again_goes_on(tmp_path):
    StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    moved = replace(DESCRIPTION, run="/moved/one")
    assert StoredCollection.begin(tmp_path / "c", moved).description == moved
    assert StoredCollection.open(tmp_path / "c").run == "/moved/one"


def test_another_model_is_refused(tmp_path):
    StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    with pytest.raises(UserError, match="other weights"):
        StoredCollection.begin(tmp_path / "c", replace(DESCRIPTION, fingerprint="xyz"))


def test_moments_of_another_length_are_refused(tmp_path):
    StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    with pytest.raises(UserError, match=r"moments of 10 s every 10 s, not of 5 s"):
        StoredCollection.begin(tmp_path / "c", replace(DESCRIPTION, seconds=5.0, hop=5.0))


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        StoredCollection.begin(tmp_path, DESCRIPTION)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_beginning_that_was_killed_is_begun_again(tmp_path):
    (tmp_path / ".0123456789abcdef.part").write_bytes(b"{")
    assert StoredCollection.begin(tmp_path, DESCRIPTION).description == DESCRIPTION


@pytest.mark.parametrize("name", ["missing", "folder", "file.txt"])
def test_what_is_no_collection_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UserError, match="is not an archive"):
        StoredCollection.open(tmp_path / name)


@pytest.mark.parametrize(
    "change",
    [
        lambda there: there.pop("format"),
        lambda there: there.update(seconds="ten"),
        lambda there: there.update(vision_dim=-1),
        lambda there: there.update(calibration={"text": 3}),
        lambda there: there.update(surprise=1),
    ],
)
def test_a_damaged_description_is_refused_in_one_line(tmp_path, change):
    file = StoredCollection.begin(tmp_path / "c", DESCRIPTION).path / "collection.json"
    there = json.loads(file.read_text())
    change(there)
    file.write_text(json.dumps(there))
    with pytest.raises(UserError, match="damaged") as caught:
        StoredCollection.open(tmp_path / "c")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tokens", [[0.5], [0.0, 0.0, 1.0], [-1, 0, 1], ["a"], 3])
def test_impossible_sound_tokens_are_refused(tmp_path, tokens):
    file = StoredCollection.begin(tmp_path / "c", DESCRIPTION).path / "collection.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"audio_types": tokens}))
    with pytest.raises(UserError, match="damaged"):
        StoredCollection.open(tmp_path / "c")


def test_a_search_listens_as_asked_or_as_the_run_does(tmp_path):
    there = replace(DESCRIPTION, audio_types=(0.2, 0.0, 0.5, 1.0))
    StoredCollection.begin(tmp_path / "c", there)
    collection = StoredCollection.open(tmp_path / "c")
    assert collection.description == there
    assert collection.audio_type(None) == 0.2
    assert collection.audio_type(0.7) == 0.7


def test_a_collection_from_before_there_were_sound_tokens_has_none_to_choose(tmp_path):
    file = StoredCollection.begin(tmp_path / "c", DESCRIPTION).path / "collection.json"
    content = json.loads(file.read_text())
    del content["audio_types"]
    file.write_text(json.dumps(content))
    collection = StoredCollection.open(tmp_path / "c")
    assert collection.description == DESCRIPTION
    assert collection.audio_type(None) is None
    with pytest.raises(UserError, match=r"--audio-type: .* leave it out") as caught:
        collection.audio_type(0.5)
    assert "\n" not in str(caught.value)


def test_a_newer_format_is_refused(tmp_path):
    file = StoredCollection.begin(tmp_path / "c", DESCRIPTION).path / "collection.json"
    file.write_text(file.read_text().replace('"format": 4', '"format": 5'))
    with pytest.raises(UserError, match="has format 5, this version of Trichord reads 4"):
        StoredCollection.open(tmp_path / "c")


def test_the_first_format_is_read_and_becomes_the_fourth_when_written(tmp_path):
    file = StoredCollection.begin(tmp_path / "c", DESCRIPTION).path / "collection.json"
    content = json.loads(file.read_text())
    del content["table"], content["weighting"]
    tokens, frames = content.pop("audio_types"), content.pop("frames")
    content |= {"sound_tokens": tokens, "nearest": frames}  # as formats 1 and 2 called them
    file.write_text(json.dumps(content | {"format": 1}))
    collection = StoredCollection.open(tmp_path / "c")
    assert collection.description == DESCRIPTION
    collection.weigh(0.7, 1.5)
    assert StoredCollection.open(tmp_path / "c").description.weighting == (0.7, 1.5)
    assert json.loads(file.read_text())["format"] == 4


def test_collections_of_the_published_pair_find_it_by_its_new_name(tmp_path):
    file = StoredCollection.begin(tmp_path / "c", DESCRIPTION).path / "collection.json"
    content = json.loads(file.read_text()) | {"format": 2, "run": "untrained"}
    file.write_text(json.dumps(content))
    assert StoredCollection.open(tmp_path / "c").description.run == "clip-clap"


@pytest.mark.parametrize(
    "change",
    [
        {"table": "../elsewhere.lance"},
        {"table": "videos"},
        {"weighting": [1]},
        {"weighting": [-1, 1]},
    ],
)
def test_a_table_or_weighting_that_cannot_be_is_refused(tmp_path, change):
    file = StoredCollection.begin(tmp_path / "c", DESCRIPTION).path / "collection.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match="damaged"):
        StoredCollection.open(tmp_path / "c")


def test_a_collection_may_lie_anywhere(place):
    made = StoredCollection.begin(place, DESCRIPTION)
    assert made.name == place
    assert StoredCollection.begin(made.path, DESCRIPTION).description == DESCRIPTION
    with pytest.raises(UserError, match="is not an archive"):
        StoredCollection.open(f"{place}/below")
    with pytest.raises(UserError, match="not empty"):
        StoredCollection.begin(place.removesuffix("/archive").removesuffix("/place"), DESCRIPTION)


def test_what_others_stored_meanwhile_is_not_undone(tmp_path):
    first, second = (StoredCollection.begin(tmp_path / "c", DESCRIPTION) for _ in range(2))
    first.weigh(1.0, 2.0)
    stick = QueryCalibration(CosineScale(0.1, 0.2), CosineScale(0.3, 0.4), 0.5, BEST)
    second.keep(Calibration(stick, stick, stick, stick), 0)
    there = StoredCollection.open(tmp_path / "c").description
    assert there.weighting == (1, 2)
    assert there.calibration is not None


def test_scales_of_a_newer_version_are_not_undone(tmp_path):
    """One who measured an older version is done later."""
    first, second = (StoredCollection.begin(tmp_path / "c", DESCRIPTION) for _ in range(2))
    old, new = (
        Calibration(stick, stick, stick, stick)
        for stick in (
            QueryCalibration(CosineScale(at, 0.2), CosineScale(0.3, 0.4), 0.5, BEST)
            for at in (0.1, 0.9)
        )
    )
    first.table.put([file_of("a", 1.0, 3)])
    _, before = first.table.sample(10)
    second.table.put([file_of("b", 1.0, 3)])
    _, now = second.table.sample(10)
    assert before < now == second.table.version
    second.keep(new, now)
    first.keep(old, before)
    assert first.description == StoredCollection.open(tmp_path / "c").description
    assert (first.description.calibration, first.description.calibrated) == (new, now)
    assert first.calibrated


def test_scales_of_an_older_version_are_not_taken_for_those_of_now(tmp_path):
    made = StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    made.table.put([file_of("a", 1.0, 3)])
    _, version = made.table.sample(10)
    made.table.put([file_of("b", 1.0, 3)])
    stick = QueryCalibration(CosineScale(0.1, 0.2), CosineScale(0.3, 0.4), 0.5, BEST)
    made.keep(Calibration(stick, stick, stick, stick), version)
    assert not made.calibrated


def test_a_collection_without_best_scores_is_read_and_measured_again(tmp_path):
    made = StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    stick = QueryCalibration(CosineScale(0.1, 0.2), CosineScale(0.3, 0.4), 0.5, BEST)
    made.keep(Calibration(stick, stick, stick, stick), 0)
    assert made.calibrated
    path = tmp_path / "c" / "collection.json"
    stored = json.loads(path.read_text())
    for scales in stored["calibration"].values():
        del scales["best"]
    path.write_text(json.dumps(stored))
    older = StoredCollection.open(tmp_path / "c")
    assert older.description.calibration.text == replace(stick, best=None)
    assert not older.calibrated
    stored["calibration"]["text"]["best"] = [[0.0, 1.0, 1.0]]
    path.write_text(json.dumps(stored))
    with pytest.raises(UserError, match="damaged"):
        StoredCollection.open(tmp_path / "c")


def test_files_and_folders_can_be_taken_out(collection, archive):
    assert collection.remove([archive / "more"]) == (str(archive / "more" / "it's a tone.wav"),)
    (archive / "red.mp4").unlink()
    assert collection.remove([archive / "red.mp4"]) == (str(archive / "red.mp4"),)
    assert {m.file for m in collection.table.gallery().moments} == {
        str(archive / name) for name in ("blue.mp4", "mute.mp4", "half.wav", "still.png")
    }


def test_moments_are_counted_by_status(collection):
    assert collection.counts() == {
        "ok": 4, "no_audio": 3, "no_video": 3, "silent": 1, "corrupt": 1
    }  # fmt: skip


def test_a_collection_that_cannot_be_written_is_said_so(tmp_path):
    made = StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    (tmp_path / "c" / ".lock").unlink()
    (tmp_path / "c" / ".lock").mkdir()
    with pytest.raises(UserError, match="cannot be written"), made.writing():
        pass


def test_taking_out_what_is_not_there_is_refused(collection, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        collection.remove([tmp_path / "elsewhere"])


def moment_of(file, start, value, dim, caption=None):
    moment = Moment(file=file, start=start, end=start + 10.0)
    vision = np.full(dim, value, np.float32)
    return Entry(moment=moment, status="ok", vision=vision, caption=caption)


def file_of(file, value, dim, count=2):
    version = FileVersion(file=file, signature=file, size=1, mtime_ns=1)
    entries = tuple(moment_of(file, 10.0 * i, value, dim) for i in range(count))
    return FileEntries(version=version, entries=entries)


ANEW = replace(DESCRIPTION, run="/runs/two", fingerprint="two", vision_dim=4)


def test_a_collection_is_embedded_anew_beside_the_old_one(place):
    old = StoredCollection.begin(place, DESCRIPTION)
    old.table.put([file_of("a", 1.0, 3), file_of("b", 1.0, 3)])
    old.table.annotate("a", [(10.0, 20.0, "a dog", ("x",))])
    new = old.reembedding(ANEW)
    new.table.put([file_of("a", 2.0, 4), file_of("b", 2.0, 4, count=1)])
    old.table.annotate("b", [(0.0, 10.0, None, ("y",)), (10.0, 20.0, "gone", ())])
    assert StoredCollection.open(place).table.gallery().vision.shape == (4, 3)
    switched = new.switch()
    there = StoredCollection.open(place)
    assert there.description == switched.description
    assert (there.description.run, there.description.fingerprint) == ("/runs/two", "two")
    gallery = there.table.gallery()
    assert gallery.vision.tolist() == [[2.0] * 4] * 3
    assert {tag: rows.tolist() for tag, rows in gallery.tags.items()} == {"x": [1], "y": [2]}
    assert gallery.captions.to_pylist() == [None, "a dog", None]
    assert [name for name in there.storage.names() if name[0] != "."] == [
        "collection.json", there.description.table
    ]  # fmt: skip
    assert there.table.name != old.table.name
    with pytest.raises(UserError, match="embedded again"):
        old.table.put([file_of("c", 1.0, 3)])
    with pytest.raises(UserError, match="embedded again"):
        old.weigh(1.0, 1.0)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("survives", range(9))
def test_a_reembedding_can_be_cut_off_between_any_two_changes(tmp_path, monkeypatch, survives):
    """Whatever is searched in between is wholly old or wholly new, and the next call ends it."""
    old = StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    old.table.put([file_of("a", 1.0, 3)])
    old.table.annotate("a", [(0.0, 10.0, "a dog", ())])
    left = [survives]

    def countdown(method):
        def counted(*values, **named):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return method(*values, **named)

        return counted

    def embed_anew():
        new = StoredCollection.open(tmp_path / "c").reembedding(ANEW)
        if new.file != "collection.json":
            new.table.put([file_of("a", 2.0, 4)])
        return new.switch()

    with monkeypatch.context() as patch:
        for owner in (Storage, MomentTable):
            for name in {"write", "remove", "put", "annotate"} & vars(owner).keys():
                patch.setattr(owner, name, countdown(getattr(owner, name)))
        with suppress(Killed):
            embed_anew()
    seen = StoredCollection.open(tmp_path / "c")
    assert seen.table.gallery().vision.tolist() in ([[1.0] * 3] * 2, [[2.0] * 4] * 2)
    assert seen.table.match_captions("dog", 1)[0][:2] == ("a", 0.0)
    there = embed_anew()
    assert there.table.gallery().vision.tolist() == [[2.0] * 4] * 2
    assert there.table.match_captions("dog", 1)[0][:2] == ("a", 0.0)
    names = [name for name in there.storage.names() if name[0] != "."]
    assert names == ["collection.json", there.description.table]


def test_a_reembedding_that_was_cut_off_goes_on_and_one_for_a_third_model_begins(tmp_path):
    old = StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    old.reembedding(ANEW).table.put([file_of("a", 2.0, 4)])
    assert list(StoredCollection.open(tmp_path / "c").reembedding(ANEW).table.files()) == ["a"]
    third = old.reembedding(replace(ANEW, fingerprint="three"))
    assert third.table.files() == {}
    tables = {name for name in old.storage.names() if name.endswith(".lance")}
    assert tables == set()
    with pytest.raises(UserError, match="moments of 10 s every 10 s, not of 5 s"):
        old.reembedding(replace(ANEW, seconds=5.0, hop=5.0))


def test_who_opened_before_a_reembedding_cannot_throw_the_new_table_away(tmp_path):
    late = StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    late.table.put([file_of("a", 1.0, 3)])
    new = late.reembedding(ANEW)
    new.table.put([file_of("a", 2.0, 4)])
    new.switch()
    for description in (replace(ANEW, fingerprint="three"), DESCRIPTION):
        with pytest.raises(UserError, match="embedded again by another process"):
            late.reembedding(description)
    assert list(StoredCollection.open(tmp_path / "c").table.files()) == ["a"]


def test_a_reembedding_whose_place_another_took_is_not_switched_to(tmp_path):
    there = StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    there.table.put([file_of("a", 1.0, 3)])
    first = there.reembedding(ANEW)
    there.reembedding(replace(ANEW, fingerprint="three"))
    with pytest.raises(UserError, match="embedded again by another process"):
        first.switch()
    assert list(StoredCollection.open(tmp_path / "c").table.files()) == ["a"]


def test_a_collection_of_the_same_model_is_its_own_reembedding(tmp_path):
    there = StoredCollection.begin(tmp_path / "c", DESCRIPTION)
    assert there.reembedding(DESCRIPTION) is there
    assert there.switch() is there


def test_moments_are_annotated_by_file_and_time(collection, archive):
    file = archive / "more" / ".." / "red.mp4"
    collection.annotate(file, [(0.0, 2.0, "a red square", ("square",))])
    found = collection.table.match_captions("square", 5)
    assert [hit[:2] for hit in found] == [(str(archive / "red.mp4"), 0.0)]
    with pytest.raises(UserError, match="has no moment"):
        collection.annotate(archive / "red.mp4", [(0.3, 2.0, "x", ())])
