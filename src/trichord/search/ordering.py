"""The final order of hits: by vectors and by words, without what scores too little."""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from trichord.search.hits import hits_of, with_chances
from trichord.search.nearest.exact import Allowed
from trichord.search.prepared_query import PreparedQuery
from trichord.search.query import Query
from trichord.search.query_plan import ScoredRows
from trichord.search.rank_fusion import fuse_ranks
from trichord.search.snapshot import Snapshot
from trichord.types import Hit

DEPTH = 1000
"""Moments of either order that are fused if the words of captions count."""

Item = TypeVar("Item")


def scored_hits(query: PreparedQuery, scored: ScoredRows) -> list[Hit]:
    """Scored rows as hits with their chances."""
    hits, best = hits_of(scored, query.snapshot.gallery), query.best_scores
    return hits if best is None else with_chances(hits, best, query.moments)


def in_order(query: PreparedQuery, hits: list[Hit]) -> list[Hit]:
    """Hits in their final order, without those that score too little."""
    if query.uses_words:
        hits = _fuse_words(query, hits)
    if (least := query.query.min_score) is not None:
        hits = [hit for hit in hits if hit.score >= least]
    # Neither a fusion nor captions lift a moment that is to be avoided.
    return sorted(hits, key=lambda hit: hit.demoted)


def below_least(query: PreparedQuery, scored: ScoredRows) -> bool:
    """Whether all further moments score too little."""
    least, (visual, audio) = query.query.min_score, scored.totals
    return least is not None and bool(visual[-1] + audio[-1] < least)


def _fuse_words(query: PreparedQuery, hits: list[Hit]) -> list[Hit]:
    """Hits in the fused order of vectors and words, with moments that only words match."""
    lists = [([*matches.found], matches.weight) for matches in query.texts]
    if query.uses_captions:
        lists.append((_captioned(query), query.query.caption_weight))
    rows = np.array(list(dict.fromkeys(row for found, _ in lists for row in found)), np.int64)
    scored = scored_hits(query, query.plan.score(query.snapshot.gallery, rows))
    by_row = dict(zip(rows.tolist(), scored, strict=True))
    by_moment = {hit.moment: hit for hit in (*by_row.values(), *hits)}
    for matches in query.texts:
        for row, text in matches.found.items():
            hit = by_moment[by_row[row].moment]
            lines = {(one.kind, one.start) for one in hit.texts}
            texts = hit.texts if (text.kind, text.start) in lines else (*hit.texts, text)
            by_moment[hit.moment] = replace(hit, texts=texts, weak=False)
    orders = [([by_row[row].moment for row in found], weight) for found, weight in lists]
    if not query.only_texts:
        orders.insert(0, ([hit.moment for hit in hits], 1.0))
    return [by_moment[moment] for moment in fuse_ranks(orders)]


def _captioned(query: PreparedQuery) -> list[int]:
    """Rows of moments whose captions have words of a query, best first."""
    snapshot, asked = query.snapshot, query.query
    # A filter applies to the matches: all are read, because the best may be filtered out.
    depth = DEPTH if asked.where.open else max(DEPTH, len(snapshot.gallery))
    matches = snapshot.collection.table.match_captions(asked.words, depth)
    return [*rows_of(matches, asked, snapshot, query.allowed)]


def rows_of(
    places: Iterable[tuple[str, float, Item]],
    query: Query,
    snapshot: Snapshot,
    allowed: Allowed | None,
) -> dict[int, Item]:
    """The rows of moments, in their order, without those that a query may not find; at most `DEPTH`.

    Args:
        places: File and start of each, and what belongs to it.
        query: The query.
        snapshot: Has the moments.
        allowed: Which of them the query may find; None: all.
    """
    gallery = snapshot.gallery
    found: dict[int, Item] = {}
    for file, start, item in places:
        row = gallery.row_of(file, start)
        if row is not None and (allowed is None or allowed[row]):
            found.setdefault(row, item)
    rows = np.array([*found][:DEPTH], np.int64)
    if not query.where.missing:
        rows = rows[snapshot.presence.of(gallery.file[rows])]
    return {row: found[row] for row in rows.tolist()}
