"""Full-text search in what is said and shown: BM25, phrases, forgiven typing errors, and times."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from threading import Lock
from typing import Any

import numpy as np
from lance.query import BooleanQuery, FullTextOperator, MatchQuery, Occur, PhraseQuery

from trichord.search.calibration import evenly
from trichord.search.collection import StoredCollection
from trichord.search.gallery import Gallery
from trichord.search.meanings import Meanings
from trichord.search.query import Query
from trichord.search.query_vectors import TextVectors
from trichord.search.terms import placed_words, stems_of, words_of
from trichord.search.text_table import MARKER, TextTable
from trichord.speech.transcript import SpokenSegment
from trichord.storage.lance_table import sql_in
from trichord.types import FoundText, Moment, TextKind
from trichord.types.arrays import Bool

MOST = 1000
"""Lines that are read for a query."""
SAMPLE = 2000
"""Lines from which the frequent words are counted."""
FREQUENT = 0.1
"""Words in more than this share of the sampled lines (with the words around each) need not be said: such as
articles, in whatever language."""
SAMPLED_FROM = 50
"""With fewer lines, no word counts as frequent."""
SHORTEST = 4
"""Letters of a word that may have a typing error."""
LONGEST = 32
"""The same, at most: Lance refuses to look for longer words with two errors, from about 50 letters."""
ALIKE = 0.6
"""Share of letters, as difflib counts it, that a word has in common with what was typed."""
_COLUMNS = [
    "signature", "start", "end", "text", "terms", "plain", "times", "own", "owned", "_score",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The words of a query: phrases as they are typed, and words.

    `loose`: any of the words counts; otherwise all must be said together, but for frequent ones.
    """

    phrases: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    loose: bool

    @classmethod
    def of(cls, query: Query, *, loose: bool) -> "Wanted":
        """The words of a query."""
        split = (tuple(words_of(phrase)) for phrase in query.phrases)
        phrases = tuple(filter(None, split))
        # Beside a phrase, the other words say what is seen or heard.
        words = () if phrases else tuple(words_of(query.words))
        return cls(phrases=phrases, words=words, loose=loose)

    def __bool__(self) -> bool:
        return bool(self.phrases or self.words)


@dataclass(frozen=True, slots=True)
class LineMatch:
    """A line that has words of a query: the signature of its file, and its BM25 score."""

    signature: str
    score: float
    found: FoundText


Matches = list[tuple[Moment, FoundText]]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What is known of the lines of one kind: their languages, and their frequent stems."""

    languages: tuple[str, ...]
    frequent: frozenset[str]


class TextIndex:
    """The words of a collection at one version, and where its files are. It never changes."""

    def __init__(
        self, table: TextTable, version: int, gallery: Gallery, files: dict[str, list[str]]
    ) -> None:
        self.table = table
        self.version = version
        # Opened once: opening takes longer than a query, and a search makes several.
        self._opened = table.latest if version else None
        self._gallery = gallery
        self._files = files
        self._signatures = {file: one for one, copies in files.items() for file in copies}
        self._kinds = _kinds(table)
        self._meanings: dict[TextKind, Meanings] = {}
        self._loading = Lock()

    @classmethod
    def of(cls, collection: StoredCollection, gallery: Gallery) -> "TextIndex":
        """The words of a collection as they are now.

        Args:
            collection: The collection.
            gallery: Its moments, which words are found in.
        """
        version = collection.texts.version if collection.texts.there else 0
        files: dict[str, list[str]] = {}
        if version:
            rows = collection.table.rows(["file", "signature"], filter="start = 0.0")
            for row in rows.to_pylist():
                files.setdefault(row["signature"], []).append(row["file"])
        return cls(collection.texts, version, gallery, files)

    @property
    def kinds(self) -> frozenset[TextKind]:
        """Kinds of words that there are."""
        return frozenset(self._kinds)

    def is_current(self, collection: StoredCollection) -> bool:
        """Whether the words are still these."""
        return self.version == (collection.texts.version if collection.texts.there else 0)

    def languages(self, kind: TextKind) -> tuple[str, ...]:
        """The languages of what is said, or shown."""
        known = self._kinds.get(kind)
        return known.languages if known else ()

    def match(self, wanted: Wanted, kind: TextKind) -> Matches:
        """The moments in which the words are said, or shown, best first, each once, with the line.

        Args:
            wanted: The words.
            kind: Where they are looked for.
        """
        return self._moments((one.signature, one.found) for one in self.lines_with(wanted, kind))

    def found_in(self, file: str, wanted: Wanted, kind: TextKind) -> list[FoundText]:
        """The lines of a file in which the words are said, or shown, by time."""
        signature = self._signatures.get(file)
        if signature is None:
            return []
        lines = self.lines_with(wanted, kind, signature)
        return sorted((one.found for one in lines), key=lambda found: found.at)

    def similar(
        self, words: str, texts: TextVectors, kind: TextKind, *, loose: bool = False
    ) -> Matches:
        """The moments in which something of a similar meaning is said, or shown, best first, each once.

        A line counts if its score is so high that the best of as many unrelated lines hardly reaches it.

        Args:
            words: What is looked for.
            texts: Vectors of the collection's model.
            kind: Where it is looked for.
            loose: Less similar lines count too.
        """
        if kind not in self._kinds:
            return []
        with self._loading:
            if kind not in self._meanings:
                self._meanings[kind] = Meanings.of(self.table, kind, texts)
        meanings = self._meanings[kind]
        return self._moments(meanings.similar(texts.of([words], "vision")[0], loose=loose))

    def _moments(self, lines: Iterable[tuple[str, FoundText]]) -> Matches:
        """The moments of lines, in their order, each with its first line."""
        best: dict[int, FoundText] = {}
        for signature, found in lines:
            for file in self._files.get(signature, ()):
                row = self._row(file, found)
                if row is not None:
                    best.setdefault(row, found)
        moments = self._gallery.moments_of(np.array([*best], np.int64))
        return list(zip(moments, best.values(), strict=True))

    def overlapping(self, **values: str) -> Bool[np.ndarray, " moment"]:
        """Which moments overlap a line that has these values, by column."""
        mask = np.zeros(len(self._gallery), bool)
        if not self._kinds:
            return mask
        conditions = [sql_in(column, [value]) for column, value in values.items()]
        rows = self.table.rows(
            ["signature", "start", "end"],
            filter=" AND ".join([f"number > {MARKER}", *conditions]),
        )
        for row in rows.to_pylist():
            for file in self._files.get(row["signature"], ()):
                own = self._gallery.rows_of(file)
                starts, ends = self._gallery.start[own], self._gallery.end[own]
                mask[own] |= (starts < row["end"]) & (ends > row["start"])
        return mask

    def lines_of(self, file: str, kind: TextKind = "speech") -> tuple[SpokenSegment, ...]:
        """What is said, or shown, in a file, in order of start."""
        signature = self._signatures.get(file)
        return self.table.lines(signature, kind) if signature else ()

    def lines_with(self, wanted: Wanted, kind: TextKind, signature: str = "") -> list[LineMatch]:
        """The lines that have the words, best first; all, or those of one file."""
        if kind not in self._kinds or not wanted:
            return []
        found = self._matches(wanted, kind, signature, frozenset())
        if not found and (misspelt := self._misspelt(wanted.words, kind)):
            found = self._matches(wanted, kind, signature, misspelt)
        return sorted(found, key=lambda one: (-one.score, one.signature, one.found.start))[:MOST]

    def _matches(
        self, wanted: Wanted, kind: TextKind, signature: str, misspelt: Collection[str]
    ) -> list[LineMatch]:
        """The lines that have the words; those that are misspelt may differ."""
        return [
            match
            for language in self._kinds[kind].languages
            for match in self._of_language(wanted, kind, language, signature, misspelt)
        ]

    def _of_language(
        self,
        wanted: Wanted,
        kind: TextKind,
        language: str,
        signature: str,
        misspelt: Collection[str],
    ) -> Iterator[LineMatch]:
        words = stems_of(wanted.words, language)
        frequent = self._kinds[kind].frequent
        needed = [one for one in words if one not in frequent] or words
        phrases = [stems_of(phrase, language) for phrase in wanted.phrases]
        where = _where(kind, language)
        where += f" AND {sql_in('signature', [signature])}" if signature else ""
        letters = {
            stem: len(word)
            for stem, word in zip(words, wanted.words, strict=True)
            if word in misspelt and stem in needed
        }
        for row in self._search(_query(phrases, needed, letters, wanted.loose), where):
            if found := _found(row, wanted.phrases, needed, kind, letters.keys()):
                yield LineMatch(row["signature"], row["_score"], found)

    def _misspelt(self, words: Iterable[str], kind: TextKind) -> frozenset[str]:
        """The words that occur nowhere, in no language."""
        return frozenset(
            word
            for word in words
            if SHORTEST <= len(word) <= LONGEST
            and not any(self._occurs(word, kind, one) for one in self._kinds[kind].languages)
        )

    def _occurs(self, word: str, kind: TextKind, language: str) -> bool:
        [stem] = stems_of([word], language)
        return bool(self._search(MatchQuery(stem, "terms"), _where(kind, language), 1))

    def _search(self, query: Any, where: str, most: int = MOST) -> list[dict[str, Any]]:
        batches = self.table.scan(
            self._opened,
            _COLUMNS,
            full_text_query=query,
            filter=where,
            prefilter=True,
            limit=most,
            disable_scoring_autoprojection=True,
        )
        return [row for batch in batches for row in batch.to_pylist()]

    def _row(self, file: str, found: FoundText) -> int | None:
        """The moment of a file that the words are nearest to the middle of; None if it has no moments."""
        rows = self._gallery.rows_of(file)
        if rows.start == rows.stop:
            return None
        at = found.at
        starts, ends = self._gallery.start[rows], self._gallery.end[rows]
        outside = np.maximum(starts - at, 0) + np.maximum(at - ends, 0)
        distance = np.abs((starts + ends) / 2 - at)
        return rows.start + int(np.lexsort((distance, outside))[0])


def _where(kind: TextKind, language: str) -> str:
    return f"kind = '{kind}' AND {sql_in('language', [language])}"


def _kinds(table: TextTable) -> dict[TextKind, _Kind]:
    """What is known of the lines of each kind that there is."""
    markers = [one for one in table.markers() if one["lines"]]
    if not markers:
        return {}
    latest = table.latest
    places: list[int] = evenly(latest.count_rows(), SAMPLE).tolist()
    sample = [
        row
        for part in table.take_rows(latest, ["kind", "language", "terms"], places)
        for row in part.to_pylist()
        if row["terms"] is not None
    ]
    return {
        kind: _Kind(
            tuple(
                sorted(
                    {one["language"] or "" for one in (*markers, *sample) if one["kind"] == kind}
                )
            ),
            _frequent([row["terms"] for row in sample if row["kind"] == kind]),
        )
        for kind in sorted({one["kind"] for one in markers})
    }


def _frequent(sample: Sequence[str]) -> frozenset[str]:
    if len(sample) < SAMPLED_FROM:
        return frozenset()
    counts = Counter(term for terms in sample for term in set(terms.split()))
    return frozenset(term for term, count in counts.items() if count > FREQUENT * len(sample))


def _query(
    phrases: Sequence[Sequence[str]],
    words: Sequence[str],
    misspelt: Mapping[str, int],
    loose: bool,
) -> Any:
    """The query of Lance: phrases must be there, and so must the words, unless any of them counts.

    Args:
        phrases: As stems.
        words: As stems.
        misspelt: Those that may differ, and how many letters the word has that was typed.
        loose: Whether any of the words counts.
    """
    parts = [(Occur.MUST, _phrase(phrase)) for phrase in phrases]
    right = [word for word in words if word not in misspelt]
    kind = Occur.SHOULD if loose else Occur.MUST
    if right:
        operator = FullTextOperator.OR if loose else FullTextOperator.AND
        parts.append((kind, MatchQuery(" ".join(right), "terms", operator=operator)))
    for word, letters in misspelt.items():
        # Two letters may differ: exchanged ones are two differences.
        fuzziness = 1 if letters == SHORTEST else 2
        parts.append((kind, MatchQuery(word, "terms", fuzziness=fuzziness, prefix_length=1)))
    return parts[0][1] if len(parts) == 1 else BooleanQuery(parts)


def _phrase(stems: Sequence[str]) -> Any:
    text = " ".join(stems)
    return PhraseQuery(text, "terms") if len(stems) > 1 else MatchQuery(text, "terms")


def _found(
    row: dict[str, Any],
    phrases: Sequence[Sequence[str]],
    words: Sequence[str],
    kind: TextKind,
    misspelt: Collection[str],
) -> FoundText | None:
    """Where the words are in a line; None if they are in the lines around it, or a phrase is not exact."""
    terms, plain = row["terms"].split(), row["plain"].split()
    own = range(row["own"], row["own"] + row["owned"])
    places: set[int] = set()
    for phrase in phrases:
        spans = [range(i, i + len(phrase)) for i in range(len(plain))]
        spans = [one for one in spans if plain[one.start : one.stop] == list(phrase)]
        if not spans:
            return None
        places |= {place for one in spans if one.start in own for place in one}
    wanted = {*words}
    for word in misspelt:
        wanted.update(get_close_matches(word, terms, 3, ALIKE))
    places |= {i for i in own if terms[i] in wanted}
    if not places:
        return None
    # A phrase may go on in the next line.
    letters = {own.start + n: span for n, (_, *span) in enumerate(placed_words(row["text"]))}
    names = (row["text"][slice(*letters[i])] if i in letters else plain[i] for i in sorted(places))
    times = (round(row["times"][i], 3) for i in sorted(places))
    return FoundText(
        kind=kind,
        start=row["start"],
        end=row["end"],
        text=row["text"],
        words=tuple(zip(names, times, strict=True)),
    )
