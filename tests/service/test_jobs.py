import threading
import time

import pytest

from trichord.search.indexing import Indexed
from trichord.service.errors import RefusedError
from trichord.service.jobs import Jobs, inside
from trichord.types import UserError


def ended(jobs, job):
    """Wait for the end of a job."""
    for _ in range(600):
        if jobs.find(job.job).state != "running":
            return job
        time.sleep(0.02)
    raise AssertionError("the job does not end")


def indexed(file, change="new"):
    return Indexed(file=file, change=change, status="ok")


@pytest.fixture
def jobs_of():
    """Makes jobs that index in a given way."""

    def jobs_of(index, after=lambda: None):
        return Jobs(index, after, lambda sentence: sentence.replace("/secret", "…"))

    return jobs_of


def test_a_job_says_how_far_it_is(jobs_of, root):
    after = []
    jobs = jobs_of(
        lambda places: iter([indexed("a"), indexed("b"), indexed("c", "removed")]),
        lambda: after.append(True),
    )
    job = ended(jobs, jobs.start([root]))
    assert (job.state, job.files, job.done) == ("done", 3, 2)
    assert dict(job.changes) == {"new": 2, "removed": 1}
    assert dict(job.statuses) == {"ok": 3}
    assert after == [True]


def test_there_is_one_job_at_a_time(jobs_of, root):
    gate = threading.Event()

    def index(places):
        gate.wait(10)
        yield indexed("a")

    jobs = jobs_of(index)
    first = jobs.start([root])
    with pytest.raises(RefusedError) as refused:
        jobs.start([root])
    assert refused.value.status_code == 409
    assert "Retry-After" in refused.value.headers
    gate.set()
    ended(jobs, first)
    ended(jobs, jobs.start([root]))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("/secret is full: make room."), "… is full: make room."),
        (RuntimeError("/secret"), "The job failed: the server's log says why."),
    ],
)
def test_a_job_that_fails_says_so_in_a_sentence(jobs_of, root, error, said):
    def index(places):
        yield indexed("a")
        raise error

    jobs = jobs_of(index)
    job = ended(jobs, jobs.start([root]))
    assert (job.state, job.error, job.done) == ("failed", said, 1)


def test_an_unknown_job_is_not_found(jobs_of):
    with pytest.raises(RefusedError) as refused:
        jobs_of(lambda places: iter([])).find("0" * 16)
    assert refused.value.status_code == 404


def test_paths_inside_a_root_are_found(root):
    root = root.resolve()
    (root / "link").symlink_to(root / "more")
    assert inside([".", "more", str(root / "red.mp4"), "more/../red.mp4", "link"], [root]) == [
        root, root / "more", root / "red.mp4", root / "red.mp4", root / "more",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path",
    [
        "/", "/etc/passwd", "..", "../", "more/../..", "../root2", "~", "~root", "/proc/self/cwd",
        "\0", "more\0/x", "escape", "escape/passwd", "nothing", "loop", "x" * 5000, "file:///etc",
    ],
)  # fmt: skip
def test_paths_outside_of_every_root_are_refused_in_one_sentence(root, tmp_path, path):
    root = root.resolve()
    (root / "escape").symlink_to("/etc")
    (root / "loop").symlink_to(root / "loop")
    (tmp_path / "root2").mkdir()
    with pytest.raises(RefusedError) as refused:
        inside(["more", path], [root])
    assert refused.value.status_code == 400
    assert refused.value.detail == (
        "A path is not in the folders that may be added from, or is not there."
    )


def test_a_link_to_elsewhere_below_a_folder_is_refused(jobs_of, root, tmp_path, rendered):
    """The folder lies inside, but a file in it is a link that leads out."""
    (root / "more" / "out.mp4").symlink_to(rendered / "red.mp4")
    jobs = Jobs(
        lambda places: iter([]), lambda: None, lambda sentence: sentence, roots=[root.resolve()]
    )
    with pytest.raises(RefusedError) as refused:
        jobs.start([root / "more"])
    assert refused.value.status_code == 400
    assert "link" in refused.value.detail
