import json
import random

import pytest

from trichord.corpora import entries as module
from trichord.corpora.entries import entries
from trichord.types import UserError


@pytest.fixture
def read(tmp_path):
    def entries_of(content):
        path = tmp_path / "c.json"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(entries(path))

    return entries_of


def drawn(random_, depth=0):
    """A JSON value whose tokens have every kind of place to be cut at."""
    kind = random_.randrange(7 if depth < 3 else 5)
    if kind == 5:
        return [drawn(random_, depth + 1) for _ in range(random_.randrange(4))]
    if kind == 6:
        return {str(n): drawn(random_, depth + 1) for n in range(random_.randrange(4))}
    texts = ['a "quoted" \\ text', "\u00e9\U0001f600\n\x01", "", "ordinary"]
    numbers = [0, -12345678901234, 3.25e-12, float("inf"), float("-inf")]
    return [random_.choice(texts), random_.choice(numbers), True, False, None][kind]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("seed", range(6))
def test_entries_are_those_of_the_whole_file_wherever_it_is_cut(read, monkeypatch, chunk, seed):
    monkeypatch.setattr(module, "_CHUNK", chunk)
    random_ = random.Random(seed)
    listed = [drawn(random_) for _ in range(12)]
    indent = random_.choice([None, 2])
    ascii_ = random_.choice([True, False])
    text = json.dumps(listed, indent=indent, ensure_ascii=ascii_)
    assert read(text) == [(str(n), value) for n, value in enumerate(listed)]
    named = {f"k{n}": value for n, value in enumerate(listed)}
    text = json.dumps(named, indent=indent, ensure_ascii=ascii_)
    assert read(text) == list(named.items())


def test_no_more_is_held_than_a_value_and_a_chunk(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 100)
    path = tmp_path / "large.json"
    path.write_text(json.dumps({str(n): "x" * 50 for n in range(1000)}))
    with path.open() as file:
        reading = module._JsonReader(path, file)
        held = [len(reading.text) for _ in reading.entries()]
    assert len(held) == 1000
    assert max(held) <= 300


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("\ufeff [1,\r\n 2] ", [("0", 1), ("1", 2)]),
        ("{}", []),
        ("[ ]\n", []),
        ('{"a": 1, "a": 2}', [("a", 1), ("a", 2)]),
    ],
)
def test_marks_blanks_and_repeated_names(read, content, expected):
    assert read(content) == expected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", ": must hold a JSON object or list"),
        ('"a"', ": must hold a JSON object or list"),
        ('{"a": 1\n', ":2: not JSON: Expecting ',' or '}'"),
        ('{"a": 1\n "b": 2}', ":2: not JSON: Expecting ',' or '}'"),
        ("[1, 2}", ":1: not JSON: Expecting ',' or ']'"),
        ('{"a": }', ":1: not JSON: Expecting value"),
        ("{a: 1}", ":1: not JSON: Expecting a name in double quotes"),
        ('{"a" 1}', ":1: not JSON: Expecting ':'"),
        ('{\n"a": "b', ":2: not JSON: Unterminated string"),
        ('{\n"a": "\n"}', ":2: not JSON: Invalid control character"),
        ("[1] [2]", ":1: not JSON: Extra data"),
        ("[" + "9" * 5000 + "]", ":1: not JSON: Exceeds the limit"),
        (b'{"a": "\xff"}', ": not UTF-8"),
        ("[" * 100_000, ": not annotations: nested too deeply"),
    ],
)
def test_a_broken_file_is_one_line_with_its_place(read, content, says):
    with pytest.raises(UserError) as caught:
        read(content)
    assert f"c.json{says}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_the_middle_does_not_read_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 100)
    path = tmp_path / "broken.json"
    path.write_text('{"a": 1, "b": [1 2], "c": "' + "x" * 10_000 + '"}')
    with path.open() as file:
        reading = module._JsonReader(path, file)
        with pytest.raises(UserError, match="not JSON: Expecting ',' delimiter"):
            list(reading.entries())
        assert file.tell() < 5000 or len(reading.text) <= 100


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"gone\.json: cannot be read: No such file"):
        list(entries(tmp_path / "gone.json"))
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        list(entries(tmp_path))
