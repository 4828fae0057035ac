from trichord.bulk.options import ALONE, BulkOptions
from trichord.bulk.runner import LocalRunner, run_extraction, runner_of
from trichord.bulk.shards import Extraction, WorkerModel, extraction_of, shards_of_clips
from trichord.features.extraction import Extracted
from trichord.features.store import FeatureFolder

SHARD = Extraction(towers=WorkerModel(), features="", tower_fingerprints={})


class Stuttering:
    """Does a shard again after having told some of it."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, shards):
        yield Extracted("media", ("ok", "silent"), ("a", "b"))
        yield Extracted("text", ("ok",), ("a",))
        yield Extracted("media", ("done", "done"), ("a", "b"))
        yield Extracted("media", ("done", "ok"), ("b", "c"))


def test_what_is_done_twice_is_told_once_and_as_it_was_told_first():
    parts = list(run_extraction(Stuttering(), [SHARD]))
    told = [(p.what, *pair) for p in parts for pair in zip(p.keys, p.statuses, strict=True)]
    assert told == [
        ("media", "a", "ok"),
        ("media", "b", "silent"),
        ("text", "a", "ok"),
        ("media", "c", "ok"),
    ]


def test_this_process_takes_shards_in_their_order(model, footage, decoder, tmp_path):
    runner = runner_of(ALONE, model, decoder)
    assert isinstance(runner, LocalRunner)
    whole = extraction_of(model, FeatureFolder(tmp_path), ("vision",))
    with runner:
        parts = list(run_extraction(runner, shards_of_clips(whole, footage, 5)))
    assert [key for part in parts for key in part.keys] == [clip.id for clip in footage]


def test_decoding_processes_are_shared_out_too():
    assert BulkOptions().decoders(3) == 3
    assert BulkOptions(runner="ray", jobs=2).decoders(4) == 2
    assert BulkOptions(runner="ray", jobs=4).decoders(2) == 1
    assert (ALONE.alone, BulkOptions(shards=1).alone, BulkOptions(runner="ray").alone) == (
        True, False, False
    )  # fmt: skip
