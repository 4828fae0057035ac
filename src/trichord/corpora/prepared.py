"""What comes of reading a corpus: its clips, and a count of everything that did not fit."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trichord.types import Clip

_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Clips of a corpus, and what was dropped, mended or missing on the way.

    `counts` maps what happened ("blank captions dropped") to how often; `examples` names the first
    few clips or files of each.
    """

    clips: tuple[Clip, ...]
    counts: dict[str, int]
    examples: dict[str, tuple[str, ...]]

    def lines(self) -> list[str]:
        """One line for each count, to be printed: `2 blank captions dropped: a, b`."""
        return [self._line(what, count) for what, count in self.counts.items()]

    def _line(self, what: str, count: int) -> str:
        named = self.examples[what]
        more = ", ..." if count > len(named) else ""
        return f"{count} {what}: {', '.join(named)}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A corpus that `trichord prepare` can read; `clips` takes the folder that it lies in."""

    description: str
    clips: Callable[[Path], Prepared]


@dataclass(slots=True)
class Tally:
    """Counts what a corpus reader meets, and remembers the first few names of each kind."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    examples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])

    def add(self, what: str, name: str) -> None:
        """Count one more of `what`, which happened to the clip, file or line called `name`."""
        self.counts[what] = self.counts.get(what, 0) + 1
        named = self.examples.setdefault(what, [])
        if len(named) < _EXAMPLES and name not in named:
            named.append(name)

    def prepared(self, clips: list[Clip]) -> Prepared:
        """The clips together with all that was counted."""
        examples = {what: tuple(names) for what, names in self.examples.items()}
        return Prepared(clips=tuple(clips), counts=dict(self.counts), examples=examples)


def tidy(text: str, tally: Tally, name: str, *, drop_multiline: bool = False) -> str | None:
    """A caption on one line without outer blanks, or None if nothing is left of it.

    Crowd workers paste drafts and numbered lists into one caption; its lines are joined by a space,
    or the whole caption is dropped with `drop_multiline`. All of it is counted under `name`.
    """
    sound = text.encode("utf-8", "ignore").decode()
    if sound != text:
        tally.add("captions with broken characters mended", name)
    if not sound.strip():
        tally.add("blank captions dropped", name)
        return None
    if len(sound.strip().splitlines()) > 1:
        tally.add(f"multi-line captions {'dropped' if drop_multiline else 'joined'}", name)
        if drop_multiline:
            return None
    return " ".join(sound.split())
