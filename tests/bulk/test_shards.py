import json
from dataclasses import replace
from pathlib import Path

import pytest

from trichord.bulk import shards as module
from trichord.bulk.shards import (
    Extraction,
    Indexing,
    Part,
    Shard,
    WorkerModel,
    adapter,
    shards_of_clips,
    shards_of_files,
    shards_of_texts,
)
from trichord.features.extraction import Extracted
from trichord.search.table import FileVersion
from trichord.search.updating import Indexed
from trichord.types import Caption, Clip

WHOLE = Extraction(
    towers=WorkerModel(model=Path("/runs/one")), features="/features", tower_fingerprints={}
)


def clips_of(*counts):
    return [
        Clip(
            id=f"{n}-{i}",
            path=f"/{n}.mp4",
            start=float(i),
            captions=(Caption(text="a bell", about="audio"),),
            labels=("bell",),
            audio_type="verbal",
        )
        for n, count in enumerate(counts)
        for i in range(count)
    ]


def versions(count):
    return [FileVersion(file=f"/{n}.mp4", signature="s", size=n, mtime_ns=n) for n in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 100])
def test_every_clip_is_in_one_shard_with_the_others_of_its_file(count):
    clips = clips_of(1, 4, 2, 2, 1, 3)
    shards = shards_of_clips(WHOLE, clips, count)
    assert len(shards) <= count
    assert [clip.id for shard in shards for clip in shard.clips] == [clip.id for clip in clips]
    files = [{clip.path for clip in shard.clips} for shard in shards]
    assert sum(map(len, files)) == len(set.union(*files))


def test_a_shard_takes_along_what_its_clips_sound_like_and_no_captions():
    [shard] = shards_of_clips(WHOLE, clips_of(1), 1)
    assert shard.clips == (Clip(id="0-0", path="/0.mp4", audio_type="verbal"),)
    assert (shard.towers, shard.features, shard.texts) == (WHOLE.towers, "/features", ())


def test_shards_are_small_unless_their_number_is_chosen(monkeypatch):
    monkeypatch.setattr(module, "CLIPS_A_SHARD", 2)
    assert [len(one.clips) for one in shards_of_clips(WHOLE, clips_of(1, 1, 1), None)] == [2, 1]
    assert [len(one.clips) for one in shards_of_clips(WHOLE, clips_of(1, 1, 1), 1)] == [3]
    assert shards_of_clips(WHOLE, [], None) == []


def test_a_caption_is_in_one_shard_however_often_it_occurs():
    shards = shards_of_texts(WHOLE, ["a", "b", "a", "c", "b"], 2)
    assert [shard.texts for shard in shards] == [("a", "b"), ("c",)]


def test_files_take_along_what_is_told_of_them():
    whole = Indexing(towers=WorkerModel(), collection="/c", files=())
    metadata = clips_of(0, 1, 2)
    shards = shards_of_files(whole, versions(3), metadata, 3)
    assert [[one.file for one in shard.files] for shard in shards] == [
        ["/0.mp4"], ["/1.mp4"], ["/2.mp4"]
    ]  # fmt: skip
    assert [[clip.id for clip in shard.metadata] for shard in shards] == [
        [],
        ["1-0"],
        ["2-0", "2-1"],
    ]


def test_shards_are_plain_json_and_read_back_equal(towers):
    extraction = replace(
        WHOLE, towers=towers, tower_fingerprints={"text": "f"}, clips=tuple(clips_of(2))
    )
    indexing = Indexing(towers=WHOLE.towers, collection="s3://b/c", files=tuple(versions(2)))
    for shard in (extraction, indexing, replace(extraction, clips=(), texts=("über\n\u2028",))):
        line = adapter(Shard).dump_json(shard).decode()
        assert "\n" not in line
        assert isinstance(json.loads(line), dict)
        assert adapter(Shard).validate_json(line) == shard


@pytest.mark.parametrize(
    "part",
    [
        Extracted("media", ("ok", "corrupt"), ("a", "b")),
        Indexed(file="/a.mp4", change="new", status="no_audio", moments=2),
    ],
)
def test_parts_are_read_back_equal(part):
    assert adapter(Part).validate_python(adapter(Part).dump_python(part, mode="json")) == part
