"""Ray Data in local mode: half a minute for its own start, hence one slow test."""

import sys

import pytest

from trichord.bulk.ray_runner import RayRunner
from trichord.bulk.runner import run_extraction
from trichord.bulk.shards import extraction_of, shards_of_clips, shards_of_texts
from trichord.features.store import FeatureFolder
from trichord.types import UserError


@pytest.mark.slow
# Of Ray itself, in Python 3.11 and later.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ray_makes_bit_for_bit_what_one_process_makes(
    model, footage, texts, towers, tmp_path, expected, rows_of
):
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    folder = FeatureFolder(tmp_path / "features")
    whole = extraction_of(model, folder, ("text", "audio", "vision"), towers)
    shards = [*shards_of_texts(whole, texts, 1), *shards_of_clips(whole, footage, 3)]
    with RayRunner(2) as cluster:
        told = [key for part in run_extraction(cluster, shards) for key in part.keys]
        again = [status for part in run_extraction(cluster, shards[:1]) for status in part.statuses]
    assert sorted(told) == sorted([*texts, *(clip.id for clip in footage)])
    assert again == []
    assert rows_of(folder, model) == expected


def test_without_ray_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="trichord\\[ray\\]"):
        RayRunner(2)
