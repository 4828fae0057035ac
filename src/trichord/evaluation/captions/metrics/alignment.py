"""Which words of a candidate METEOR lines up with which words of a reference.

Every pair of words or phrases that one of four matchers accepts is a link. An alignment takes links
that share no word; a beam search looks for the one that covers most words, then has the fewest chunks
(runs of words that lie next to each other on both sides), then the smallest distances (Denkowski &
Lavie 2011, 2014). Where the released program departs from that description this follows the program,
or values would not be comparable:

- Only an exact link covers all of its words; of any other link only every second word counts, rounded
  down, so a single stem or synonym counts nothing when alignments are ranked.
- A branch that takes a link is charged the distances of the links the search tried before it at the
  same word, not its own.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

BEAM = 40


@dataclass(frozen=True, slots=True)
class Link:
    """Words `at` to `at + length` of the reference, `start` to `start + span` of the candidate.

    Attributes:
        covered: What the link counts when alignments are ranked.
        distance: How far apart the two places are, in words.
        own: The candidate's words as bits.
        theirs: The reference's words as bits.
    """

    matcher: int
    at: int
    length: int
    start: int
    span: int
    covered: int = field(init=False)
    distance: int = field(init=False)
    own: int = field(init=False)
    theirs: int = field(init=False)

    def __post_init__(self) -> None:
        """Derive what the search asks of a link again and again."""
        whole = self.matcher == 0
        covered = self.length + self.span if whole else self.length // 2 + self.span // 2
        object.__setattr__(self, "covered", covered)
        object.__setattr__(self, "distance", abs(self.at - self.start))
        object.__setattr__(self, "own", (1 << self.span) - 1 << self.start)
        object.__setattr__(self, "theirs", (1 << self.length) - 1 << self.at)


class Path(NamedTuple):
    """An alignment of the reference's words so far; smaller is better by its first three fields."""

    uncovered: int
    chunks: int
    distance: int
    resume: int  # the first reference word not yet decided
    end: int  # where the open chunk ends in the candidate; -1: no chunk is open
    own: int  # the candidate's words in use, as bits
    theirs: int  # the reference's
    last: Link | None
    before: "Path | None"  # the path that took `last`

    def links(self) -> Iterator[Link]:
        """The links taken, the last one first."""
        path: Path | None = self
        while path is not None:
            if path.last is not None:
                yield path.last
            path = path.before

    def taking(self, link: Link, distance: int) -> "Path":
        """The link added, at a distance charged by the search."""
        return Path(
            self.uncovered - link.covered,
            self.chunks + (self.end not in (-1, link.start)),
            distance,
            link.at + link.length,
            link.start + link.span,
            self.own | link.own,
            self.theirs | link.theirs,
            link,
            self,
        )

    def skipping(self, distance: int) -> "Path":
        """The next word left unmatched, which closes a chunk."""
        chunks = self.chunks + (self.end != -1)
        kept = (self.resume + 1, -1, self.own, self.theirs, None, self)
        return Path(self.uncovered, chunks, distance, *kept)


_rank = itemgetter(0, 1, 2)


def align(links: Sequence[Link], reference_length: int) -> Path:
    """The best alignment that the beam finds; its `chunks` include the last one.

    Args:
        links: Every possible link, in the order the matchers found them.
        reference_length: Words of the reference.
    """
    starting: list[list[Link]] = [[] for _ in range(reference_length)]
    for link in links:
        starting[link.at].append(link)
    fixed = {link.at: link for link in _certain(links)}
    own = sum(link.own for link in fixed.values())
    theirs = sum(link.theirs for link in fixed.values())
    paths = [Path(0, 0, 0, 0, -1, own, theirs, None, None)]
    for at in range(reference_length):
        paths = [
            further
            for path in sorted(paths, key=_rank)[:BEAM]
            for further in _further(path, at, fixed.get(at), starting[at])
        ]
    best = sorted(paths, key=_rank)[:BEAM]
    closed = [path._replace(chunks=path.chunks + (path.end != -1)) for path in best]
    return min(closed, key=_rank)


def _certain(links: Sequence[Link]) -> Iterator[Link]:
    """The links that share no word with any other."""
    own = Counter(word for link in links for word in _words(link.start, link.span))
    theirs = Counter(word for link in links for word in _words(link.at, link.length))
    for link in links:
        alone = all(own[word] == 1 for word in _words(link.start, link.span))
        if alone and all(theirs[word] == 1 for word in _words(link.at, link.length)):
            yield link


def _words(first: int, count: int) -> range:
    return range(first, first + count)


def _further(path: Path, at: int, fixed: Link | None, links: Sequence[Link]) -> Iterator[Path]:
    if at < path.resume:
        yield path
        return
    if fixed is not None:
        yield path.taking(fixed, path.distance + fixed.distance)
        return
    distance = path.distance
    # Of branches that cover as much and break as many chunks a later one ranks behind an earlier one,
    # so beyond the beam's width none of them can survive.
    alike: dict[tuple[int, bool], int] = {}
    for link in links:
        if link.own & path.own or link.theirs & path.theirs:
            continue
        kind = link.covered, link.start == path.end
        alike[kind] = alike.get(kind, 0) + 1
        if alike[kind] <= BEAM:
            yield path.taking(link, distance)
        distance += link.distance
    yield path.skipping(distance)
