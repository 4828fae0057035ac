from dataclasses import replace

import pytest

from trichord.bulk import shard_worker
from trichord.bulk.shard_worker import ShardWorker, run_shard
from trichord.bulk.shards import WorkerModel, extraction_of, shards_of_clips, shards_of_texts
from trichord.checkpoint import fresh_model
from trichord.features.store import FeatureFolder
from trichord.types import UserError


def shards(model, footage, texts, folder, towers=None, count=3):
    whole = extraction_of(model, folder, ("text", "audio", "vision"), towers)
    return [*shards_of_texts(whole, texts, count), *shards_of_clips(whole, footage, count)]


def test_shards_make_bit_for_bit_what_one_piece_makes_also_when_they_are_done_twice(
    model, footage, texts, decoder, place, expected, rows_of
):
    folder = FeatureFolder(place)
    work = shards(model, footage, texts, folder)
    first = [part for shard in work for part in run_shard(shard, model, decoder)]
    done = [key for part in first for key in part.keys]
    assert sorted(done) == sorted([*texts, *(clip.id for clip in footage)])
    assert rows_of(folder, model) == expected
    again = [part for shard in work for part in run_shard(shard, model, decoder)]
    assert {status for part in again for status in part.statuses} == {"done"}
    assert rows_of(folder, model) == expected


def test_the_model_of_a_shard_is_loaded_once_and_is_the_one_it_was_planned_with(
    model, footage, texts, towers, tmp_path, expected, rows_of, monkeypatch
):
    loaded = []
    monkeypatch.setattr(
        shard_worker, "fresh_model", lambda known: loaded.append(known) or fresh_model(known)
    )
    folder = FeatureFolder(tmp_path)
    with ShardWorker() as hand:
        for shard in shards(model, footage, texts, folder, towers):
            list(hand.run_shard(shard))
    assert loaded == [towers.model]
    assert rows_of(folder, model) == expected


def test_other_towers_than_the_work_was_planned_with_are_refused(model, footage, decoder, tmp_path):
    whole = extraction_of(model, FeatureFolder(tmp_path), ("vision",), WorkerModel(model=tmp_path))
    [shard] = shards_of_clips(replace(whole, tower_fingerprints={"vision": "others"}), footage, 1)
    with pytest.raises(UserError, match="differ from those of the machine that planned the work"):
        list(run_shard(shard, model, decoder))
    assert FeatureFolder(tmp_path).storage.names() == []


def test_a_shard_without_a_model_is_for_whoever_has_one(model, footage, tmp_path):
    whole = extraction_of(model, FeatureFolder(tmp_path), ("vision",))
    with ShardWorker() as hand, pytest.raises(ValueError, match="names no model"):
        list(hand.run_shard(shards_of_clips(whole, footage, 1)[0]))
