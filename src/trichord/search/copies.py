"""Hits in equal copies of the file that is searched by: they fit, whatever they score."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trichord.media.signature import file_signature
from trichord.search.query import Query, QueryPart
from trichord.search.table import MomentTable
from trichord.types import Hit, Moment


def with_copies(hits: Sequence[Hit], query: Query, table: MomentTable) -> list[Hit]:
    """The hits; those in an equal copy of the query's file are not weak.

    A query by several parts is left as it is: a copy of one part need not fit the others.

    Args:
        hits: Hits of the query.
        query: The query.
        table: Of the moments that were searched.
    """
    wanted = [part for part in query.parts if part.weight > 0]
    weak = sorted({one.moment.file for hit in hits for one in (hit, *hit.more) if one.weak})
    if not weak or len(wanted) != 1 or wanted[0].kind == "text":
        return list(hits)
    [part] = wanted
    content = _content(part, table)
    known = table.files(weak)
    copies = {file for file, one in known.items() if content and one.version.signature == content}

    def spare(hit: Hit) -> Hit:
        equal = hit.moment.file in copies and _is_meant(part, hit.moment)
        return replace(hit, weak=hit.weak and not equal, more=tuple(map(spare, hit.more)))

    return [spare(hit) for hit in hits]


def _content(part: QueryPart, table: MomentTable) -> str:
    """The signature of the part's file; "" if it is not known."""
    if part.kind == "moment":  # its file may be missing
        known = table.files([part.value])
        return known[part.value].version.signature if part.value in known else ""
    try:
        return file_signature(Path(part.value))
    except OSError:
        return ""


def _is_meant(part: QueryPart, moment: Moment) -> bool:
    """Whether a moment of a copy is what the part shows: any one, or that at the part's time."""
    after = moment.start <= part.start < moment.end or moment.start == part.start
    return part.kind != "moment" or after
