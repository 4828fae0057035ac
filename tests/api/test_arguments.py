"""Plausible mistakes in arguments: a TypeError of one line that says what to write."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import trichord
from trichord.api.collection import Collection
from trichord.search.query import Query
from trichord.types import Moment, UserError
from trichord.types.arguments import texts_of


def refused(call, *words):
    """Whether a call is refused in one line with these words, as a TypeError and as a UserError."""
    with pytest.raises(TypeError) as found:
        call()
    said = str(found.value)
    assert isinstance(found.value, UserError)
    assert "\n" not in said
    assert len(said) < 400
    assert [word for word in words if word not in said] == [], said


HIT = trichord.Hit(
    moment=Moment(file="a.mp4", start=1.0, end=2.0), score=1.0, visual=1.0, audio=None
)
MISTAKES = [
    ((b"a bell",), {}, ["b'a bell' is of type bytes", ".decode()"]),
    ((Path("dog.jpg"),), {}, ["dog.jpg", "image="]),
    ((5,), {}, ["5 is of type int", "a list of texts"]),
    (({"a bell"},), {}, ["of type set", "a list of texts"]),
    ((np.zeros((30, 30)),), {}, ["of type ndarray"]),
    ((["a bell", b"a dog"],), {}, ["b'a dog'"]),
    (("a",), {"like": "film.mp4@12"}, ["like='film.mp4@12'", "hit.moment", "Moment(file=..., start"]),
    (("a",), {"like": HIT}, ["like=hit.moment"]),
    (("a",), {"like": "x" * 500}, ["hit.moment"]),
    (("a",), {"where": {"kind": "video"}}, ["write where=Filter(kind='video')", "filters.Filter"]),
    (("a",), {"where": {}}, ["where=Filter()", "leave it out"]),
    (("a",), {"where": None}, ["leave it out"]),
    (("a",), {"where": "video"}, ["where='video'", "Filter("]),
    (("a",), {"k": "10"}, ["k='10' is of type str", "whole number"]),
    (("a",), {"k": 2.5}, ["k=2.5", "whole number"]),
    (("a",), {"rerank": None}, ["rerank=None", "whole number"]),
    (("a",), {"visual_weights": 1.0}, ["'visual_weights'", "did you mean 'visual_weight'?"]),
    (("a",), {"top_k": 5}, ["'top_k'", "it takes audio,", "k,"]),
    (("a",), {"visual_weight": "0.5"}, ["visual_weight='0.5'", "give a number"]),
    (("a",), {"min_score": "2"}, ["min_score='2'", "give a number"]),
    (("a",), {"audio_type": [0.5]}, ["audio_type=[0.5]", "give a number"]),
    ((), {"image": np.zeros((30, 30, 3))}, ["image=", "of type ndarray", "path of one file"]),
    ((), {"image": Image.new("RGB", (4, 4))}, ["image=", "of type Image", "path of one file"]),
    ((), {"audio": ["a.wav", "b.wav"]}, ["audio=", "of type list", "path of one file"]),
]  # fmt: skip


def test_mistakes_in_a_search_are_refused_with_the_remedy(archive):
    for arguments, options, words in MISTAKES:
        refused(lambda: archive.search(*arguments, **options), *words)  # noqa: B023
    assert archive._engine is None  # refused before anything is loaded


def test_numbers_of_numpy_and_paths_are_taken(archive, folder):
    given = {"k": np.int64(2), "visual_weight": np.float32(0.5), "min_score": np.float64(-99)}
    assert archive.search("a bell", **given) == archive.search(
        "a bell", k=2, visual_weight=0.5, min_score=-99
    )
    assert archive.search(image=folder / "still.png")


def test_a_query_refuses_unknown_options_and_a_wrong_by():
    refused(lambda: Query.of("a", k=5), "A query has no option 'k'", "fold")
    with pytest.raises(UserError, match="by='vision': give visual, audio, both"):
        Query.of(like=HIT.moment, by="vision")


CONDITIONS = [
    ("tags='dog'", ["tags='dog'", "give tags=('dog',)"]),
    ("path=Path('2024')", ["path=", "str(path)"]),
    ("since='2024-01-01'", ["since='2024-01-01'", "datetime("]),
    ("until=2024", ["until=2024", "datetime("]),
    ("min_duration='10'", ["min_duration='10'", "a number"]),
    ("has_audio='yes'", ["has_audio='yes'", "True or False"]),
    ("has_speech=1", ["has_speech=1", "True or False"]),
    ("kind='movie'", ["kind='movie': give video, audio, image."]),
    (
        "tags=('dog',), since=datetime(2024, 1, 1), has_audio=np.True_, max_duration=np.float32(3)",
        [],
    ),
]
UNCHECKED = """
import json, sys
from datetime import datetime
from pathlib import Path
import numpy as np
from trichord.search.filters import Filter
from trichord.types import UserError
said = []
for line in json.loads(sys.argv[1]):
    try:
        eval(f"Filter({line})")
        said.append("")
    except UserError as error:
        assert isinstance(error, TypeError) or "kind" in line
        said.append(str(error))
print(json.dumps(said))
"""


def test_conditions_of_the_wrong_type_are_refused():
    # In a process of its own: in this one the type checker of tests comes first.
    lines = json.dumps([line for line, _ in CONDITIONS])
    done = subprocess.run(
        [sys.executable, "-c", UNCHECKED, lines], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for said, (_, words) in zip(json.loads(done.stdout), CONDITIONS, strict=True):
        assert bool(said) == bool(words), said
        assert [word for word in words if word not in said] == [], said


def test_mistakes_with_a_collection_are_refused(archive, folder, tmp_path):
    name = archive.stored.name
    refused(lambda: Collection.open(name, "runs/a"), "model='runs/a'", "trichord.load('runs/a')")
    refused(lambda: Collection.create(tmp_path / "new", "runs/a"), "trichord.load('runs/a')")
    assert not (tmp_path / "new").exists()
    refused(lambda: archive.add([folder]), "is of type list", "add(*paths)")
    refused(lambda: archive.remove([folder]), "is of type list", "remove(*paths)")
    refused(
        lambda: archive.add(folder, metadata="clips.jsonl"), "read_manifest(Path('clips.jsonl'))"
    )
    refused(
        lambda: archive.grouped("a dog"), "write Query.of('a dog')", "trichord.search.query.Query"
    )
    refused(lambda: archive.timeline("a dog", folder / "clip.mp4"), "write Query.of('a dog')")
    with pytest.raises(UserError, match="kind='said': give speech or screen"):
        archive.lines(folder / "clip.mp4", kind="said")


def test_mistakes_with_a_model_are_refused(model, folder):
    clip = str(folder / "clip.mp4")
    refused(lambda: model.embed_text("a bell"), "write ['a bell']")
    refused(lambda: texts_of([b"a bell"], "embed_text"), "Text 1 of 1, b'a bell'")
    refused(lambda: texts_of(["a", Path("a")], "embed_text"), "Text 2 of 2")
    refused(lambda: model.embed_vision(clip), "takes a list: write ['")
    refused(lambda: list(model.embed_files(clip)), "takes a list: write ['")
    refused(lambda: model.caption(clip), "takes a list: write ['")
    refused(lambda: model.encode(b"a bell"), "An input of type bytes")
    refused(
        lambda: model.encode_query("a", batchsize=3), "encode_query", "did you mean 'batch_size'?"
    )
    refused(
        lambda: model.encode_document("a", task="query"), "encode_document has no option 'task'"
    )
    vector = model.encode("a bell")
    refused(lambda: model.similarity("a dog", vector), "'a dog' is of type str", "encode it first")
    refused(lambda: model.similarity(vector, ["a dog"]), "['a dog']", "encode it first")


def test_an_experiment_as_a_path_is_refused(tmp_path):
    refused(lambda: trichord.fit(Path("a.json"), "clips.jsonl", tmp_path), "give str(path)")
