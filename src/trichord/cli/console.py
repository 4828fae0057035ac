"""What a command shows while it works: progress with rate and remaining time, tables."""

import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass
class Bar:
    """A progress bar that is moved by hand."""

    progress: Progress
    task: TaskID

    def advance(self, by: int = 1, note: str | None = None) -> None:
        """Move on, and say what is at hand."""
        changes: dict[str, Any] = {} if note is None else {"note": note}
        self.progress.update(self.task, advance=by, **changes)


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
