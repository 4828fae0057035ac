"""What a command shows while it works: progress with rate and remaining time, tables."""

import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

WIDTH = 150
"""Columns assumed where no terminal says otherwise: eight systems side by side need them."""

out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
aside = Console(stderr=True, highlight=False)
"""Progress and notes go to standard error, so that results can be piped."""


LOG_SECONDS = 60.0
"""Where no terminal shows a bar, a line says so often how far the work is."""


@dataclass
class Bar:
    """A progress bar that is moved by hand; lines where there is no terminal."""

    progress: Progress
    task: TaskID
    told: float = field(default_factory=lambda: monotonic())

    def advance(self, by: int = 1, note: str | None = None) -> None:
        """Move on, and say what is at hand."""
        changes: dict[str, Any] = {} if note is None else {"note": note}
        self.progress.update(self.task, advance=by, **changes)
        if not aside.is_terminal and monotonic() - self.told >= LOG_SECONDS:
            self.told = monotonic()
            aside.print(self._line(), markup=False, soft_wrap=True)

    def _line(self) -> str:
        """`files: 412 of 9000, 2.3/s, 1:02:03 left, clip.mp4`."""
        task = next(one for one in self.progress.tasks if one.id == self.task)
        whole = "" if task.total is None else f" of {task.total:g}"
        left = task.time_remaining
        parts = [
            f"{task.description}: {task.completed:g}{whole}",
            f"{task.speed:.1f}/s" if task.speed else "",
            f"{timedelta(seconds=round(left))} left" if left else "",
            task.fields["note"],
        ]
        return ", ".join(filter(None, parts))


@contextmanager
def bar(what: str, total: int | None) -> Generator[Bar]:
    """Show a progress bar: what, how many of how many, rate, elapsed and remaining time."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with _Rated(*columns, console=aside, transient=not aside.is_terminal) as progress:
        yield Bar(progress, progress.add_task(what, total=total, rate="", note=""))


class _Rated(Progress):
    def get_renderables(self) -> Iterable[Any]:
        for task in self.tasks:
            task.fields["rate"] = f"{task.speed:.1f}/s" if task.speed else ""
        yield from super().get_renderables()


def counted(statuses: Sequence[str]) -> str:
    """`412 ok, 9 silent`: how often each occurs, most frequent first."""
    from collections import Counter

    return ", ".join(f"{count} {status}" for status, count in Counter(statuses).most_common())
