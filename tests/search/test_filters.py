from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from trichord.search.filters import Filter, FilterBelow
from trichord.search.gallery import Gallery
from trichord.types import UserError

FILES = ("/a/2024/dog.mp4", "/a/2024/sea/it's [1].wav", "/a/cat.mp4", "/b/2024.mp4")


def at(day, hour=12):
    return datetime(2024, 5, day, hour, tzinfo=UTC)


@pytest.fixture
def gallery():
    """Six moments of four files; two of the first and of the last."""
    ones = np.ones((6, 1), np.float32)
    return Gallery(
        files=FILES,
        mtime_ns=np.array([int(at(day).timestamp()) * 10**9 for day in (1, 2, 3, 4)]),
        duration=np.array([5.0, 10.0, 20.0, 0.0]),
        file=np.array([0, 0, 1, 2, 3, 3], np.int32),
        start=np.array([0.0, 5, 0, 0, 0, 5]),
        end=np.array([5.0, 10, 5, 5, 5, 10]),
        speech=np.array([0.0, 0.19, 0.2, 1.0, np.nan, np.nan], np.float32),
        vision=ones,
        has_vision=np.ones(6, bool),
        audio=ones,
        has_audio=np.array([True, True, True, True, True, False]),
        tags={"dark": np.array([0, 3]), "sea": np.array([0, 2, 3])},
    )


@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"path": "/a"}, [0, 1, 2, 3]),
        ({"path": "/a/"}, [0, 1, 2, 3]),
        ({"path": "/"}, [0, 1, 2, 3, 4, 5]),
        ({"path": "/a/2"}, []),
        ({"path": "/a/cat.mp4"}, [3]),
        ({"path": "2024"}, [0, 1, 2]),
        ({"path": "2024/sea"}, [2]),
        ({"path": "it's [1].wav"}, [2]),
        ({"path": "*.mp4"}, [0, 1, 3, 4, 5]),
        ({"path": "?at.mp4"}, [3]),
        ({"path": "/a/*.mp4"}, [0, 1, 3]),
        ({"path": "/a/[cd]*"}, [3]),
        ({"path": "nowhere"}, []),
        ({"since": at(2)}, [2, 3, 4, 5]),
        ({"until": at(2)}, [0, 1, 2]),
        ({"since": at(2), "until": at(3, 11)}, [2]),
        ({"since": at(2).astimezone(timezone(timedelta(hours=9)))}, [2, 3, 4, 5]),
        ({"min_duration": 10.0}, [2, 3]),
        ({"max_duration": 10.0}, [0, 1, 2, 4, 5]),
        ({"min_duration": 0.0, "max_duration": 0.0}, [4, 5]),
        ({"tags": ("sea",)}, [0, 2, 3]),
        ({"tags": ("sea", "dark")}, [0, 3]),
        ({"tags": ("unknown",)}, []),
        ({"has_audio": True}, [0, 1, 2, 3, 4]),
        ({"has_audio": False}, [5]),
        ({"has_speech": True}, [2, 3]),
        ({"has_speech": False}, [0, 1, 5]),
        ({"path": "/a", "has_speech": True, "tags": ("dark",)}, [3]),
    ],
)
def test_a_filter_lets_through_what_meets_all_conditions(gallery, conditions, rows):
    chosen = Filter(**conditions)
    assert np.flatnonzero(chosen.mask(gallery)).tolist() == rows
    assert chosen.open == (not conditions)


@pytest.mark.parametrize(
    ("path", "below", "rows"),
    [
        ("2024", ("/a",), [0, 1, 2]),
        ("a", ("/a", "/b"), []),
        ("a/2024", ("/a", "/b"), []),
        ("*a/2024*", ("/a", "/b"), []),
        ("[/]a/*", ("/a", "/b"), []),
        ("/2024", ("/a", "/b"), [0, 1, 2]),
        ("~", ("/a", "/b"), []),
        ("sea", ("/a/2024", "/a"), [2]),
        ("2024/*", ("/a/2024", "/a"), []),
        ("a", ("/",), [0, 1, 2, 3]),
        ("b", ("/a",), []),  # elsewhere: its bare name
        ("2024.mp4", ("/a",), [4, 5]),
        ("2024", ("/a/20",), []),
    ],
)
def test_paths_may_begin_at_folders_above_which_nothing_is_said(gallery, path, below, rows):
    chosen = FilterBelow(path=path, below=below)
    assert np.flatnonzero(chosen.mask(gallery)).tolist() == rows
    assert not chosen.open
    assert FilterBelow(below=below).open


def test_a_path_from_here_is_meant_from_here(gallery, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert not Filter(path="./2024").mask(gallery).any()
    assert Filter(path="../" * len(tmp_path.parts) + "a").mask(gallery).sum() == 4


def test_a_time_without_a_zone_is_local(gallery):
    local = at(2).astimezone().replace(tzinfo=None)
    assert Filter(since=local).mask(gallery).tolist() == Filter(since=at(2)).mask(gallery).tolist()


@pytest.mark.parametrize(
    ("conditions", "named"),
    [
        ({"min_duration": -1.0}, "--min-duration"),
        ({"max_duration": float("nan")}, "--max-duration"),
        ({"min_duration": float("inf")}, "--min-duration"),
        (
            {"min_duration": 5.0, "max_duration": 4.0},
            "--min-duration 5 is more than --max-duration 4",
        ),
        ({"since": at(2), "until": at(1)}, "--since"),
        ({"tags": ("a", " ")}, "--tags"),
        ({"path": "a\0b"}, "--path"),
    ],
)
def test_what_nothing_can_meet_is_refused_by_its_option(conditions, named):
    with pytest.raises(UserError, match=named) as caught:
        Filter(**conditions)
    assert "\n" not in str(caught.value)


def test_a_kind_is_that_of_the_whole_file(gallery):
    """A film whose moment has no picture is a film; a sound has no picture anywhere, a still no time."""
    seen = np.array([True, False, False, True, False, True])
    end = np.array([5.0, 10, 5, 0, 5, 10])
    kinds = replace(gallery, has_vision=seen, end=end)
    expected = {"video": [0, 1, 4, 5], "audio": [2], "image": [3], None: [0, 1, 2, 3, 4, 5]}
    for kind, rows in expected.items():
        assert np.flatnonzero(Filter(kind=kind).mask(kinds)).tolist() == rows
    assert not Filter(kind="audio").open
