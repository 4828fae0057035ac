import json
import os
from pathlib import Path

import pytest

from trichord.corpora.manifest import read_manifest, read_recipes, select, write_manifest
from trichord.types import Caption, Clip, UserError

FULL = Clip(
    id="a",
    path="/far/a.mp4",
    start=1.5,
    end=4.0,
    captions=(
        Caption(text="ein Hund bellt, größer", about="audio"),
        Caption(text="a dog", about="visual", source="llm"),
    ),
    labels=("dog", "bark"),
    audio_type="nonverbal",
    split="val",
)


def refusal(tmp_path, *lines):
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(path))


def line(**changes):
    return json.dumps({"id": "a", "path": "a.mp4"} | changes)


def test_what_is_written_is_read_back_equal(tmp_path):
    clips = [FULL, Clip(id="b", path=str(tmp_path / "media" / "b.wav"))]
    write_manifest(tmp_path / "m.jsonl", clips)
    assert read_manifest(tmp_path / "m.jsonl") == clips


def test_recipes_are_a_line_of_their_own_and_read_back(tmp_path):
    path, recipes = (
        tmp_path / "m.jsonl",
        {"ab": {"prompt": "Schreibe \u201e{audio}\u201c", "captions": 3}},
    )
    caption = Caption(text="x", about="audio_visual", source="template", recipe="ab")
    clip = Clip(id="recipes", path=str(tmp_path / "a.mp4"), captions=(caption,), fold="2")
    write_manifest(path, [clip], recipes)
    assert read_manifest(path) == [clip]
    assert read_recipes(path) == recipes
    path.write_text(path.read_text() + '{"recipes": {"cd": {}}}\n')  # as cat joins two manifests
    assert read_manifest(path) == [clip]
    assert list(read_recipes(path)) == ["ab", "cd"]
    write_manifest(path, [clip])
    assert read_recipes(path) == {}


def test_paths_below_the_manifest_are_stored_relative_and_move_with_it(tmp_path):
    write_manifest(
        tmp_path / "one" / "m.jsonl", [Clip(id="b", path=str(tmp_path / "one/media/b.wav"))]
    )
    assert json.loads((tmp_path / "one" / "m.jsonl").read_text()) == {
        "id": "b",
        "path": "media/b.wav",
    }
    (tmp_path / "one").rename(tmp_path / "two")
    assert read_manifest(tmp_path / "two" / "m.jsonl")[0].path == str(tmp_path / "two/media/b.wav")


def test_a_manifest_named_relative_to_the_working_folder_gives_absolute_paths(
    tmp_path, monkeypatch
):
    (tmp_path / "m.jsonl").write_text(line())
    monkeypatch.chdir(tmp_path)
    assert read_manifest(Path("m.jsonl"))[0].path == str(tmp_path / "a.mp4")


def test_letters_beyond_ascii_stay_readable(tmp_path):
    write_manifest(tmp_path / "m.jsonl", [FULL])
    assert "größer" in (tmp_path / "m.jsonl").read_text(encoding="utf-8")


def test_a_file_name_that_is_not_utf8_survives(tmp_path):
    name = os.fsdecode(b"/x/\xff.mp4")
    write_manifest(tmp_path / "m.jsonl", [Clip(id="a", path=name)])
    assert os.fsencode(read_manifest(tmp_path / "m.jsonl")[0].path) == b"/x/\xff.mp4"


def test_blank_lines_a_byte_order_mark_and_windows_ends_are_no_matter(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(b"\xef\xbb\xbf" + line().encode() + b"\r\n\r\n  \n")
    assert [clip.id for clip in read_manifest(tmp_path / "m.jsonl")] == ["a"]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be read: No such file"):
        read_manifest(tmp_path / "none.jsonl")


def test_an_earlier_manifest_calls_the_audio_type_sound(tmp_path):
    (tmp_path / "clips.jsonl").write_text('{"id": "a", "path": "a.wav", "sound": "verbal"}\n')
    (clip,) = read_manifest(tmp_path / "clips.jsonl")
    assert clip.audio_type == "verbal"


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_manifest_is_refused(tmp_path, content):
    assert refusal(tmp_path, content).startswith(": holds no clips")


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("{", ":3: not JSON: "),
        ("[1]", ":3: a clip must be an object, not a list"),
        ("[" * 100_000, ":3: not a clip: nested too deeply"),
        (line(split="dev"), ':3: "split" must be one of train, val, test, not "dev"'),
        (line(path=7), ':3: "path" must be a text, not a number'),
        (line(id=""), ':3: "id" is a text of zero length'),
        (line(id=None), ':3: "id" must be a text, not null'),
        ('{"id": "x"}', ':3: a clip lacks "path"'),
        (line(caption="x"), ':3: a clip has no field "caption"; it may have id, path, start'),
        (line(start="1"), ':3: "start" must be a number of seconds, not a text'),
        (line(start=True), ':3: "start" must be a number of seconds, not true'),
        (line(start=-1), ':3: "start" must be a number of seconds from 0 on, not -1'),
        (line(end=float("nan")), ':3: "end" must be a number of seconds from 0 on, not nan'),
        (line(end=10**400), ':3: "end" must be a number of seconds from 0 on, not 1'),
        (line(start=2, end=2), ':3: "end" (2) must be after "start" (2)'),
        (
            line(audio_type="loud"),
            ':3: "audio_type" must be one of verbal, nonverbal, both, not "loud"',
        ),
        (line(labels="dog"), ':3: "labels" must be a list, not a text'),
        (line(labels=["dog", {}]), ':3: "labels"[1] must be a text, not an object'),
        (line(captions=["x"]), ':3: "captions"[0] must be an object, not a text'),
        (
            line(captions=[{"text": "x", "about": "sound"}]),
            ':3: "captions"[0]: "about" must be one of audio, visual, audio_visual, not "sound"',
        ),
        (line(captions=[{"text": "x"}]), ':3: "captions"[0] lacks "about"'),
        (
            line(captions=[{"text": " ", "about": "audio"}]),
            ':3: "captions"[0]: "text" is a text of zero length',
        ),
        (
            line(captions=[{"text": "\ud800", "about": "audio"}]),
            ':3: "captions"[0]: "text" holds half a character',
        ),
        (line(id="first"), ":3: \"id\" 'first' is taken by line 1"),
    ],
)
def test_a_wrong_line_is_named_with_its_number_and_field(tmp_path, bad, says):
    assert refusal(tmp_path, line(id="first"), "", bad).startswith(says)


def test_bytes_that_are_not_utf8_are_named_by_line(tmp_path):
    (tmp_path / "m.jsonl").write_bytes(line().encode() + b"\n\xff\n")
    with pytest.raises(UserError, match=r"m\.jsonl:2: not UTF-8"):
        read_manifest(tmp_path / "m.jsonl")


def test_no_clips_and_ids_that_repeat_are_not_written(tmp_path):
    with pytest.raises(UserError, match="no clips to write"):
        write_manifest(tmp_path / "m.jsonl", [])
    with pytest.raises(ValueError, match="'a' is not"):
        write_manifest(tmp_path / "m.jsonl", [FULL, FULL])
    assert list(tmp_path.iterdir()) == []


def test_select_gives_a_split_in_order_or_everything():
    clips = [Clip(id=i, path=i, split=s) for i, s in (("a", "train"), ("b", "val"), ("c", "train"))]
    assert [c.id for c in select(clips, "train")] == ["a", "c"]
    assert select(clips, None) == clips


def test_select_names_the_splits_there_are_when_it_finds_none():
    clips = [Clip(id="a", path="a", split="train"), Clip(id="b", path="b")]
    with pytest.raises(UserError, match=r"'test': .* \(it has train 1, no split 1\)"):
        select(clips, "test")
