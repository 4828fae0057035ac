from trichord.bulk.runner import Here, extracted, runner_of
from trichord.bulk.shards import Extraction, Towers, extraction_of, shards_of_clips
from trichord.bulk.sharing import ALONE, Sharing
from trichord.features.extraction import Extracted
from trichord.features.store import FeatureFolder

SHARD = Extraction(towers=Towers(), features="", made_by={})


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
    parts = list(extracted(Stuttering(), [SHARD]))
    told = [(p.what, *pair) for p in parts for pair in zip(p.keys, p.statuses, strict=True)]
    assert told == [
        ("media", "a", "ok"),
        ("media", "b", "silent"),
        ("text", "a", "ok"),
        ("media", "c", "ok"),
    ]


def test_this_process_takes_shards_in_their_order(model, footage, decoder, tmp_path):
    runner = runner_of(ALONE, model, decoder)
    assert isinstance(runner, Here)
    whole = extraction_of(model, FeatureFolder(tmp_path), ("vision",))
    with runner:
        parts = list(extracted(runner, shards_of_clips(whole, footage, 5)))
    assert [key for part in parts for key in part.keys] == [clip.id for clip in footage]


def test_decoding_processes_are_shared_out_too():
    assert Sharing().decoders(3) == 3
    assert Sharing(runner="ray", jobs=2).decoders(4) == 2
    assert Sharing(runner="ray", jobs=4).decoders(2) == 1
    assert (ALONE.alone, Sharing(shards=1).alone, Sharing(runner="ray").alone) == (
        True, False, False
    )  # fmt: skip
