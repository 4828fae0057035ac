"""Indexing for clients, in the background."""

import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock, Thread

from trichord.media.probe import USABLE
from trichord.search.survey import media_at
from trichord.search.updating import Indexed
from trichord.service.errors import RefusedError
from trichord.service.schemas import JobResponse
from trichord.types import UserError

log = logging.getLogger("trichord.service")

KEPT = 100
"""Finished jobs that are kept."""


def inside(paths: Sequence[str], roots: Sequence[Path]) -> list[Path]:
    """Resolve the paths of a client, with links.

    Args:
        paths: Absolute, or relative to one of the roots.
        roots: Resolved folders, outside of which nothing is touched.

    Raises:
        RefusedError: 400: a path is outside of every root or does not exist; the message does not say
            which, so that nobody learns what is outside.
    """
    resolved: list[Path] = []
    for place in paths:
        real = next((real for root in roots if (real := _below(root, place)) is not None), None)
        if real is None:
            raise RefusedError(
                400, "A path is not in the folders that may be added from, or is not there."
            )
        resolved.append(real)
    return resolved


def _below(root: Path, place: str) -> Path | None:
    try:
        real = (root / place).resolve(strict=True)
    except (OSError, RuntimeError, ValueError):  # links in a circle; a zero byte
        return None
    return real if real.is_relative_to(root) else None


class Jobs:
    """At most one job at a time, because a collection has one writer."""

    def __init__(
        self,
        index: Callable[[Sequence[Path]], Iterator[Indexed]],
        after: Callable[[], object],
        redact: Callable[[str], str],
        roots: Sequence[Path] = (),
        show: Callable[[str], str] = lambda file: Path(file).name,
    ) -> None:
        """Define a job.

        Args:
            index: Brings the collection up to date with places, file by file.
            after: Called when it has finished.
            redact: Removes paths from a sentence for clients.
            roots: Resolved folders that no link may leave; empty: links are not checked.
            show: The path of a file as clients see it.
        """
        self._show = show
        self._index = index
        self._after = after
        self._redact = redact
        self._roots = roots
        self._jobs: OrderedDict[str, JobResponse] = OrderedDict()
        self._starting = Lock()

    def start(self, places: Sequence[Path]) -> JobResponse:
        """Begin a job.

        Raises:
            RefusedError: 409: another one is running; 400: a file is a link to elsewhere.
            UserError: A place has no media.
        """
        # Locked while the folders are listed, which takes a while.
        if not self._starting.acquire(blocking=False):
            raise _another()
        try:
            return self._start(places)
        finally:
            self._starting.release()

    def _start(self, places: Sequence[Path]) -> JobResponse:
        if any(job.state == "running" for job in self._jobs.values()):
            raise _another()
        files = media_at(places)
        roots = self._roots
        outside = [f for f in files if roots and not any(_below(root, str(f)) for root in roots)]
        if outside:
            raise RefusedError(
                400, f"{len(outside)} of the files are links that lead elsewhere: remove them."
            )
        name, count = secrets.token_hex(8), len(files)
        job = self._jobs[name] = JobResponse(job=name, state="running", files=count)
        while len(self._jobs) > KEPT:
            self._jobs.popitem(last=False)
        # A daemon: the service may end at any time, and the next job does the rest.
        Thread(target=self._run, args=(job, places), daemon=True, name="trichord-add").start()
        return job

    def find(self, name: str) -> JobResponse:
        """A job.

        Raises:
            RefusedError: 404: there is none with this id.
        """
        if (job := self._jobs.get(name)) is None:
            raise RefusedError(404, "There is no such job.")
        return job

    @property
    def latest(self) -> JobResponse | None:
        """The job that was started last, if there was one."""
        return next(reversed(self._jobs.values()), None)

    def _run(self, job: JobResponse, places: Sequence[Path]) -> None:
        began = time.monotonic()
        try:
            for file in self._index(places):
                present = file.change not in ("missing", "removed")
                job.done += present
                job.failed += present and file.status not in USABLE
                job.latest = self._show(file.file) if present else job.latest
                job.seconds = round(time.monotonic() - began, 1)
                # Replaced, not changed: a response may be reading them.
                job.changes = _counted(job.changes, file.change)
                job.statuses = _counted(job.statuses, file.status)
            self._after()
            job.state = "done"
        except UserError as error:
            job.error, job.state = self._redact(str(error)), "failed"
        except Exception:
            log.exception("A job failed.")
            job.error, job.state = "The job failed: the server's log says why.", "failed"


def _counted(counts: dict[str, int], name: str) -> dict[str, int]:
    return counts | {name: counts.get(name, 0) + 1}


def _another() -> RefusedError:
    return RefusedError(409, "Another job is running: wait until it has finished.", retry=10)
