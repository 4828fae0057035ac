import json
from dataclasses import replace

import pytest

from trichord.search.collection import Collection, Description
from trichord.search.yardstick import Calibration, Scale, Yardstick
from trichord.types import UserError

DESCRIPTION = Description(
    run="/runs/one", fingerprint="abc", seconds=10.0, hop=10.0, vision_dim=3, audio_dim=2
)


def test_a_collection_is_read_back_equal(tmp_path):
    made = Collection.begin(tmp_path / "c", DESCRIPTION)
    assert Collection.open(tmp_path / "c").description == DESCRIPTION
    stick = Yardstick(Scale(0.1, 0.2), Scale(0.3, 0.4), 0.5)
    made.keep(Calibration(stick, stick, stick, stick))
    assert Collection.open(tmp_path / "c").description == made.description


def test_beginning_again_goes_on(tmp_path):
    Collection.begin(tmp_path / "c", DESCRIPTION)
    again = Collection.begin(tmp_path / "c", replace(DESCRIPTION, run="/moved/one"))
    assert again.description == DESCRIPTION


def test_another_model_is_refused(tmp_path):
    Collection.begin(tmp_path / "c", DESCRIPTION)
    with pytest.raises(UserError, match="other weights"):
        Collection.begin(tmp_path / "c", replace(DESCRIPTION, fingerprint="xyz"))


def test_moments_of_another_length_are_refused(tmp_path):
    Collection.begin(tmp_path / "c", DESCRIPTION)
    with pytest.raises(UserError, match=r"moments of 10 s every 10 s, not of 5 s"):
        Collection.begin(tmp_path / "c", replace(DESCRIPTION, seconds=5.0, hop=5.0))


def test_a_folder_with_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        Collection.begin(tmp_path, DESCRIPTION)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_beginning_that_was_killed_is_begun_again(tmp_path):
    (tmp_path / ".0123456789abcdef.part").write_bytes(b"{")
    assert Collection.begin(tmp_path, DESCRIPTION).description == DESCRIPTION


@pytest.mark.parametrize("name", ["missing", "folder", "file.txt"])
def test_what_is_no_collection_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(UserError, match="is not a collection"):
        Collection.open(tmp_path / name)


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
    file = Collection.begin(tmp_path / "c", DESCRIPTION).path / "collection.json"
    there = json.loads(file.read_text())
    change(there)
    file.write_text(json.dumps(there))
    with pytest.raises(UserError, match="damaged") as caught:
        Collection.open(tmp_path / "c")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tokens", [[0.5], [0.0, 0.0, 1.0], [-1, 0, 1], ["a"], 3])
def test_impossible_sound_tokens_are_refused(tmp_path, tokens):
    file = Collection.begin(tmp_path / "c", DESCRIPTION).path / "collection.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sound_tokens": tokens}))
    with pytest.raises(UserError, match="damaged"):
        Collection.open(tmp_path / "c")


def test_a_search_listens_as_asked_or_as_the_run_does(tmp_path):
    there = replace(DESCRIPTION, sound_tokens=(0.2, 0.0, 0.5, 1.0))
    Collection.begin(tmp_path / "c", there)
    collection = Collection.open(tmp_path / "c")
    assert collection.description == there
    assert collection.sound_token(None) == 0.2
    assert collection.sound_token(0.7) == 0.7


def test_a_collection_from_before_there_were_sound_tokens_has_none_to_choose(tmp_path):
    file = Collection.begin(tmp_path / "c", DESCRIPTION).path / "collection.json"
    content = json.loads(file.read_text())
    del content["sound_tokens"]
    file.write_text(json.dumps(content))
    collection = Collection.open(tmp_path / "c")
    assert collection.description == DESCRIPTION
    assert collection.sound_token(None) is None
    with pytest.raises(UserError, match=r"--sound-token: .* leave it out") as caught:
        collection.sound_token(0.5)
    assert "\n" not in str(caught.value)


def test_a_newer_format_is_refused(tmp_path):
    file = Collection.begin(tmp_path / "c", DESCRIPTION).path / "collection.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(UserError, match="format 2"):
        Collection.open(tmp_path / "c")


def test_only_one_process_writes_at_a_time(tmp_path):
    Collection.begin(tmp_path / "c", DESCRIPTION)
    first, second = Collection.open(tmp_path / "c"), Collection.open(tmp_path / "c")
    with first.writing(), pytest.raises(UserError, match="another process"), second.writing():
        pass
    with second.writing():
        pass


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
    made = Collection.begin(tmp_path / "c", DESCRIPTION)
    (tmp_path / "c" / ".lock").mkdir()
    with pytest.raises(UserError, match="cannot be written"), made.writing():
        pass


def test_taking_out_what_is_not_there_is_refused(collection, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        collection.remove([tmp_path / "elsewhere"])
