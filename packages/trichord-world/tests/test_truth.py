import json

import pytest

from trichord.types import UserError
from trichord_world.grammar import KINDS, Grammar
from trichord_world.law import scenes, stream
from trichord_world.truth import Truth, read_truth, write_truth


def truths(count):
    for index, scene in enumerate(scenes("test", count, 0)):
        said = Grammar().captions(scene, stream(0, "test", index, "captions"))
        facts = {kind: tuple(one.facts for one in said[kind]) for kind in KINDS}
        yield Truth(scene=scene, split="test", facts=facts)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "truth.jsonl"
    write_truth(path, truths(20))
    return path


def test_truth_is_read_back_equal(path):
    assert read_truth(path) == list(truths(20))


def test_there_is_one_line_a_clip_and_nothing_unfinished_beside_it(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["scene"]["id"] for row in rows] == [f"test_{i:05d}" for i in range(20)]
    assert [entry.name for entry in path.parent.iterdir()] == ["truth.jsonl"]


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda row: row["scene"].update(colour="mauve"), "scene.colour"),
        (lambda row: row["scene"].pop("heard"), "scene.heard"),
        (lambda row: row["scene"].update(silent="yes"), "scene.silent"),
        (lambda row: row["facts"].update(audio=[{"smell": "rose"}]), "facts.audio.0.smell"),
        (lambda row: row.update(split="dev"), "split"),
    ],
)
def test_a_wrong_line_is_named_with_its_number_and_its_field(path, spoil, named):
    lines = path.read_text().splitlines()
    row = json.loads(lines[2])
    spoil(row)
    lines[2] = json.dumps(row)
    path.write_text("\n".join(lines))
    with pytest.raises(UserError) as error:
        read_truth(path)
    assert str(error.value).startswith(f"{path}:3: {named}")
    assert "\n" not in str(error.value)


def test_a_torn_line_is_named(path):
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UserError, match=r"truth\.jsonl:20: the line"):
        read_truth(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        read_truth(tmp_path / "nowhere.jsonl")
