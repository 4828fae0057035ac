import os

import pytest

from trichord.types.cores import compute_threads, cores


@pytest.mark.parametrize(
    ("told", "threads"), [("3", 3), ("4,2", 4), ("0", 1), ("", None), ("many", None)]
)
def test_a_process_may_be_told_how_many_threads_it_has(told, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert compute_threads() == (threads or cores())


def test_otherwise_it_has_one_a_core_that_it_may_use(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 6}, raising=False)
    assert compute_threads() == cores() == 3
