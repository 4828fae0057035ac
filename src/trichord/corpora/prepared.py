"""The result of reading a corpus: its clips, and counts of everything irregular."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Concatenate

from trichord.types import Clip, Split

_EXAMPLES = 3
MISSING = ("nan", "n/a", "#n/a", "<na>", "null")
"""What programs write into a cell without a value, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Clips of a corpus, and what was dropped, fixed or missing.

    `counts` has the number of each event ("blank captions dropped"), `examples` the first few clips
    or files of each. `lacking` are the events that skipped annotations because of missing media.
    """

    clips: tuple[Clip, ...]
    counts: dict[str, int]
    examples: dict[str, tuple[str, ...]]
    lacking: tuple[str, ...] = ()

    @property
    def missing(self) -> int:
        """Number of annotated clips (for some corpora rows or videos) without media."""
        return sum(self.counts[what] for what in self.lacking)

    def lines(self) -> list[str]:
        """One line for each count, to be printed: `2 blank captions dropped: a, b`."""
        return [self.line(what) for what in self.counts]

    def line(self, what: str) -> str:
        """The line of one count."""
        count, named = self.counts[what], self.examples[what]
        more = ", ..." if count > len(named) else ""
        shown = (name if name.isprintable() else repr(name) for name in named)
        return f"{count} {what}: {', '.join(shown)}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """A corpus that `trichord prepare` can read.

    `clips` takes its folder, and those options of the command that `options` names as keywords.
    """

    group: ClassVar[str] = "datasets"
    description: str
    clips: Callable[Concatenate[Path, ...], Prepared]
    options: tuple[str, ...] = ()
    kind: str = ""
    """Its name if it is passed by `--plugin`; an entry point has a name already."""


@dataclass(slots=True)
class Tally:
    """Counts the events of a corpus reader, with the first few names of each."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    examples: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    lacking: set[str] = field(default_factory=set[str])

    def add(self, what: str, name: str) -> None:
        """Count an event `what` of the clip, file or line `name`."""
        self.counts[what] = self.counts.get(what, 0) + 1
        named = self.examples.setdefault(what, [])
        if len(named) < _EXAMPLES and name not in named:
            named.append(name)

    def lack(self, what: str, name: str) -> None:
        """Count an annotation that is skipped because its media are missing."""
        self.lacking.add(what)
        self.add(what, name)

    def first_of_each(self, clips: Iterable[Clip | None], what: str) -> list[Clip]:
        """The first clip of each id; the others are counted as `what`."""
        clips_by_id: dict[str, Clip] = {}
        for clip in clips:
            if clip and clip.id in clips_by_id:
                self.add(what, clip.id)
            elif clip:
                clips_by_id[clip.id] = clip
        return list(clips_by_id.values())

    def prepared(self, clips: list[Clip]) -> Prepared:
        """The clips with all counts."""
        examples = {what: tuple(names) for what, names in self.examples.items()}
        return Prepared(
            clips=tuple(clips),
            counts=dict(self.counts),
            examples=examples,
            lacking=tuple(what for what in self.counts if what in self.lacking),
        )


def train_or_val(name: str, *, val: float) -> Split:
    """The split of a training clip or video of a corpus without a validation split.

    A hash of the name holds out the share `val` (0 to 1) of all names, so that the split of a name
    does not depend on machine or on other clips.
    """
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return "val" if int.from_bytes(digest) < val * 2**64 else "train"


def is_missing(text: str) -> bool:
    """Whether a caption only says that there is none."""
    return text.strip().lower() in (*MISSING, "none")


def tidy(text: str, tally: Tally, name: str, *, drop_multiline: bool = False) -> str | None:
    """A caption on one line without outer spaces, or None if nothing is left of it.

    Crowd workers paste drafts and numbered lists into one caption. Its lines are joined by a space,
    or the caption is dropped with `drop_multiline`. Each change is counted under `name`.
    """
    sound = text.encode("utf-8", "ignore").decode()
    if sound != text:
        tally.add("captions with broken characters mended", name)
    if not sound.strip():
        tally.add("blank captions dropped", name)
        return None
    if is_missing(sound):
        tally.add("captions dropped, being nan, N/A, null or None", name)
        return None
    if len(sound.strip().splitlines()) > 1:
        tally.add(f"multi-line captions {'dropped' if drop_multiline else 'joined'}", name)
        if drop_multiline:
            return None
    return " ".join(sound.split())
