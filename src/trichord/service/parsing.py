"""From what a client asks to what an engine understands."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from trichord.search.filters import Filter, FilterBelow
from trichord.search.query import AWAY, PartKind, Query, QueryPart
from trichord.search.wording import split_negatives
from trichord.service.catalogue import Catalogue
from trichord.service.schemas import PartRequest, QueryRequest, Where
from trichord.service.uploads import Uploads

NAMES: Mapping[str, str] = {"image": "picture", "audio": "sound", "video": "clip"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedQuery:
    """A query, what its parts are called, and whether a file must be decoded for it."""

    query: Query
    titles: list[str]
    decodes: bool
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    """What stands for the server's paths in a sentence about it."""


def parse_query(asked: QueryRequest, catalogue: Catalogue, uploads: Uploads) -> ParsedQuery:
    """The query that a client asks.

    Raises:
        RefusedError: 404: an upload or a moment is not there.
        UserError: What is asked makes no query.
    """
    parts: list[QueryPart] = []
    titles: list[str] = []
    secrets: dict[str, str] = {}
    for one in asked.parts:
        found = _texts(one) if one.text is not None else [_other(one, catalogue, uploads)]
        parts += found
        for part in found:
            if one.upload is not None:
                name = f"the uploaded {NAMES[part.kind]}"
                secrets[part.value] = name.capitalize()
                titles.append(f"−{name}" if part.weight < 0 else name)
            else:
                if part.kind == "moment":
                    secrets[part.value] = catalogue.display_path(part.value)
                titles.append(part.title)
    query = Query(
        parts=tuple(parts),
        visual_weight=asked.visual_weight,
        audio_weight=asked.audio_weight,
        # Each other audio type is another set of vectors in memory: the page's own steps are enough.
        audio_type=None if asked.audio_type is None else round(asked.audio_type * 20) / 20,
        caption_weight=asked.caption_weight,
        where=_filter(asked.where, catalogue.folders),
    )
    return ParsedQuery(
        query=query, titles=titles, decodes=any(one.upload for one in asked.parts), secrets=secrets
    )


def _texts(one: PartRequest) -> list[QueryPart]:
    """`dog -leash` is two parts."""
    wanted, avoided = split_negatives(one.text or "")
    found = (
        [QueryPart(kind="text", value=wanted, weight=one.weight)] if wanted or not avoided else []
    )
    away = AWAY * one.weight
    return found + [QueryPart(kind="text", value=text, weight=away) for text in avoided]


def _other(one: PartRequest, catalogue: Catalogue, uploads: Uploads) -> QueryPart:
    if one.upload is not None:
        upload = uploads.find(one.upload)
        kind: PartKind = one.as_ or upload.kind
        return QueryPart(kind=kind, value=str(upload.path), weight=one.weight)
    moment = catalogue.moment(one.moment or "")
    return QueryPart(
        kind="moment", value=moment.file, start=moment.start, by=one.by, weight=one.weight
    )


def _filter(where: Where, folders: tuple[str, ...]) -> Filter:
    return FilterBelow(
        below=folders,  # what lies above them must not be found out by asking
        path=where.path,
        since=where.since,
        until=where.until,
        min_duration=where.min_duration,
        max_duration=where.max_duration,
        tags=tuple(where.tags),
        has_audio=where.has_audio,
        has_speech=where.has_speech,
    )
