"""Which words of a caption METEOR aligns with which words of a reference.

Every pair of words or phrases that one of four matchers accepts is a match. An alignment takes matches
that share no word; a beam search looks for the one that covers most words, then has the fewest chunks
(runs of words that are adjacent on both sides), then the smallest distances (Denkowski & Lavie 2011,
2014). Where the released program departs from that description this follows the program, or scores
would not be comparable:

- Only an exact match covers all of its words. Of any other match only every second word counts, rounded
  down, so that a single stem or synonym counts nothing when alignments are ranked.
- A branch that takes a match pays the distances of the matches that the search tried before it at the
  same word, not its own.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

BEAM_SIZE = 40


@dataclass(frozen=True, slots=True)
class Match:
    """Some words of the reference and some of the hypothesis that mean the same to a matcher.

    Attributes:
        matcher: 0 exact, 1 stem, 2 synonym, 3 paraphrase.
        start: The first word of the reference.
        length: How many words of the reference.
        hypothesis_start: The first word of the hypothesis.
        hypothesis_length: How many words of the hypothesis.
        coverage: What the match counts when alignments are ranked.
        distance: How far apart the two positions are, in words.
        reference_bits: Its words of the reference as bits.
        hypothesis_bits: Its words of the hypothesis as bits.
    """

    matcher: int
    start: int
    length: int
    hypothesis_start: int
    hypothesis_length: int
    coverage: int = field(init=False)
    distance: int = field(init=False)
    reference_bits: int = field(init=False)
    hypothesis_bits: int = field(init=False)

    def __post_init__(self) -> None:
        """Compute once what the search needs again and again."""
        if self.matcher == 0:
            coverage = self.length + self.hypothesis_length
        else:
            coverage = self.length // 2 + self.hypothesis_length // 2
        hypothesis_bits = (1 << self.hypothesis_length) - 1 << self.hypothesis_start
        object.__setattr__(self, "coverage", coverage)
        object.__setattr__(self, "distance", abs(self.start - self.hypothesis_start))
        object.__setattr__(self, "reference_bits", (1 << self.length) - 1 << self.start)
        object.__setattr__(self, "hypothesis_bits", hypothesis_bits)


class Path(NamedTuple):
    """An alignment of the first words of the reference; smaller is better by its first three fields."""

    cost: int  # minus what its matches cover
    chunks: int
    distance: int
    next_word: int  # the first word of the reference that is not decided yet
    chunk_end: int  # where the open chunk ends in the hypothesis; -1: no chunk is open
    reference_bits: int  # words of the reference that are taken
    hypothesis_bits: int  # words of the hypothesis that are taken
    match: Match | None
    previous: "Path | None"  # the path that `match` was added to

    def matches(self) -> Iterator[Match]:
        """The matches of the path, the last one first."""
        path: Path | None = self
        while path is not None:
            if path.match is not None:
                yield path.match
            path = path.previous

    def take(self, match: Match, distance: int) -> "Path":
        """Add a match, at a distance that the search charges."""
        return Path(
            self.cost - match.coverage,
            self.chunks + (self.chunk_end not in (-1, match.hypothesis_start)),
            distance,
            match.start + match.length,
            match.hypothesis_start + match.hypothesis_length,
            self.reference_bits | match.reference_bits,
            self.hypothesis_bits | match.hypothesis_bits,
            match,
            self,
        )

    def skip(self, distance: int) -> "Path":
        """Leave the next word unmatched, which closes a chunk."""
        chunks = self.chunks + (self.chunk_end != -1)
        taken = self.reference_bits, self.hypothesis_bits
        return Path(self.cost, chunks, distance, self.next_word + 1, -1, *taken, None, self)


_rank = itemgetter(0, 1, 2)


def align(matches: Sequence[Match], reference_length: int) -> Path:
    """The best alignment that the beam search finds; its `chunks` include the last one.

    Args:
        matches: Every possible match, in the order in which the matchers found them.
        reference_length: Words of the reference.
    """
    at: list[list[Match]] = [[] for _ in range(reference_length)]
    for match in matches:
        at[match.start].append(match)
    fixed = {match.start: match for match in _unambiguous(matches)}
    reference_bits = sum(match.reference_bits for match in fixed.values())
    hypothesis_bits = sum(match.hypothesis_bits for match in fixed.values())
    paths = [Path(0, 0, 0, 0, -1, reference_bits, hypothesis_bits, None, None)]
    for word in range(reference_length):
        paths = [
            extended
            for path in sorted(paths, key=_rank)[:BEAM_SIZE]
            for extended in _extend(path, word, fixed.get(word), at[word])
        ]
    best = sorted(paths, key=_rank)[:BEAM_SIZE]
    closed = [path._replace(chunks=path.chunks + (path.chunk_end != -1)) for path in best]
    return min(closed, key=_rank)


def _unambiguous(matches: Sequence[Match]) -> Iterator[Match]:
    """The matches that share no word with any other."""
    ours = Counter(word for match in matches for word in _hypothesis_words(match))
    theirs = Counter(word for match in matches for word in _reference_words(match))
    for match in matches:
        alone = all(ours[word] == 1 for word in _hypothesis_words(match))
        if alone and all(theirs[word] == 1 for word in _reference_words(match)):
            yield match


def _hypothesis_words(match: Match) -> range:
    return range(match.hypothesis_start, match.hypothesis_start + match.hypothesis_length)


def _reference_words(match: Match) -> range:
    return range(match.start, match.start + match.length)


def _extend(path: Path, word: int, fixed: Match | None, matches: Sequence[Match]) -> Iterator[Path]:
    if word < path.next_word:
        yield path
        return
    if fixed is not None:
        yield path.take(fixed, path.distance + fixed.distance)
        return
    distance = path.distance
    # Of branches with the same coverage and chunks a later one ranks behind an earlier one, so none beyond
    # the size of the beam can survive; they need not be made.
    alike: dict[tuple[int, bool], int] = {}
    for match in matches:
        taken = match.hypothesis_bits & path.hypothesis_bits
        if taken or match.reference_bits & path.reference_bits:
            continue
        kind = match.coverage, match.hypothesis_start == path.chunk_end
        alike[kind] = alike.get(kind, 0) + 1
        if alike[kind] <= BEAM_SIZE:
            yield path.take(match, distance)
        distance += match.distance
    yield path.skip(distance)
