import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import ipc

from trichord.corpora.prepared import Tally
from trichord.corpora.tables import read_object, rows
from trichord.types import UserError


@pytest.fixture
def table(tmp_path):
    def written(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(rows(path, ("file", "path")))

    return written


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", 'File, Caption\na.mp4,"a dog, barking"\n'),
        ("t.csv", "file;caption\r\na.mp4;a dog, barking\r\n"),
        ("t.csv", "\ufefffile\tcaption\na.mp4\ta dog, barking"),
        ("t.tsv", "file\tcaption\na.mp4\ta dog, barking\n"),
        ("t.csv", "sep=;\r\nfile;caption\r\na.mp4;a dog, barking;;\r\n"),
        ("t.csv", "FILE|caption\ra.mp4|a dog, barking\r"),
        ("t.tsv", 'file\tcaption\n"a.mp4"\t"a dog, barking"\n'),
        ("t.txt", "\ufefffile\tcaption\r\na.mp4\ta dog, barking\r\n".encode("utf-16-be")),
        ("t.jsonl", '{"FILE": "a.mp4", "caption": "a dog, barking"}\n'),
        ("t.ndjson", '{"File": "a.mp4", "caption": "a dog, barking"}\n'),
        ("t.json", '[{"file": "a.mp4", "caption": "a dog, barking"}]'),
    ],
)
def test_every_kind_of_table_gives_the_same_row(table, name, content):
    assert [row for _, row in table(name, content)] == [
        {"file": "a.mp4", "caption": "a dog, barking"}
    ]


def test_rows_carry_the_line_they_begin_on_though_a_cell_spans_several(table):
    found = table("t.csv", 'file,caption\na,"one\ntwo"\n\nb,three\n')
    assert found == [
        (2, {"file": "a", "caption": "one\ntwo"}),
        (5, {"file": "b", "caption": "three"}),
    ]


def test_a_short_row_lacks_its_last_columns(table):
    assert table("t.csv", "file,caption\na\n") == [(2, {"file": "a"})]


def test_an_unquoted_tsv_may_hold_quotation_marks(table):
    rows_of = 'file\tcaption\na\t"hello" she says\nb\ta 12" disc\n\nc\t"two ""b"""\n'
    assert [(n, row["caption"]) for n, row in table("t.tsv", rows_of)] == [
        (2, '"hello" she says'),
        (3, 'a 12" disc'),
        (5, 'two "b"'),
    ]


def test_a_quoted_tsv_may_hold_tabs_and_lines(table):
    rows_of = 'file\tcaption\na\t"one\ttwo\nthree"\nb\tfour\n'
    assert [(n, row["caption"]) for n, row in table("t.tsv", rows_of)] == [
        (2, "one\ttwo\nthree"),
        (4, "four"),
    ]


@pytest.mark.parametrize("write", ["parquet", "file", "stream"])
def test_binary_tables_give_the_same_rows(tmp_path, write):
    given = pa.table({"File Name": ["a", None, "c"], "caption": ["x", "y", None], "n": [1, 2, 3]})
    path = tmp_path / ("t.parquet" if write == "parquet" else "t.arrow")
    if write == "parquet":
        pq.write_table(given, path)
    else:
        new = ipc.new_file if write == "file" else ipc.new_stream
        with pa.OSFile(str(path), "wb") as file, new(file, given.schema) as writer:
            writer.write_table(given, max_chunksize=2)
    tally = Tally()
    assert list(rows(path, ("file_name",), tally)) == [
        (1, {"file_name": "a", "caption": "x", "n": 1}),
        (3, {"file_name": "c", "caption": None, "n": 3}),
    ]
    assert tally.examples == {"broken rows left out": [f"{path.name}:2 (names no file_name)"]}


def test_no_column_names_those_that_there_are(tmp_path):
    pq.write_table(
        pa.table({"x": [1], **{f"c{n}": [1] for n in range(30)}}), tmp_path / "t.parquet"
    )
    with pytest.raises(UserError, match=r"names no column of file, but x, c0, .* and 11 more; map"):
        list(rows(tmp_path / "t.parquet", ("file",), Tally(), "; map"))


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow"])
def test_what_is_no_binary_table_is_one_line(table, name):
    with pytest.raises(UserError, match=f"{name}: cannot be read") as caught:
        table(name, b"PAR1 not really")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "file,caption\n", "holds no rows"),
        ("t.jsonl", "\n", "holds no rows"),
        ("t.csv", "name,caption\na,b\n", "its first line names no column of file, path"),
        ("t.csv", "file,caption,caption\na,b,c\n", ':1: names the column "caption" twice'),
        ("t.csv", "file,caption\na,one\nb,a dog, barking\n", ":3: has 3 values for 2 columns"),
        ("t.csv", 'file,caption\na,"one" two\n', ":2: not CSV"),
        ("t.csv", b"file,caption\na,\xff\n", ":2: not UTF-8"),
        ("t.jsonl", '{"file": "a"}\n{"file": \n', ":2: not JSON"),
        ("t.jsonl", '["a"]\n', ":1: must be a JSON object"),
        ("t.jsonl", '{"file": "a"}\n{"text": "b"}\n', ":2: names no file"),
        (
            "t.xlsx",
            "PK",
            "must be one of .csv, .tsv, .jsonl, .ndjson, .parquet, .arrow, .json, .txt",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_one_line_with_its_place(table, name, content, says):
    with pytest.raises(UserError) as caught:
        table(name, content)
    assert f"{name}{says}" in str(caught.value) or f"{name}: {says}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{\n"a": }', ":2: not JSON"),
        (b"[]", ": must hold a JSON object"),
        (b"\xff", ": not UTF-8"),
        (b'{"a":' + b"[" * 100_000, ": not annotations: nested too deeply"),
    ],
)
def test_json_that_is_no_object_is_one_line_with_its_place(tmp_path, content, says):
    (tmp_path / "c.json").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_object(tmp_path / "c.json")
    assert f"c.json{says}" in str(caught.value)


def test_a_folder_in_place_of_a_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_object(tmp_path)
