"""Requests of clients as queries of the engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trichord.search.filters import FilterBelow
from trichord.search.query import PartKind, Query, QueryPart, split_phrases, text_parts
from trichord.service.catalogue import Catalogue
from trichord.service.schemas import PartRequest, QueryRequest, Where
from trichord.service.uploads import Uploads

NAMES: Mapping[str, str] = {"image": "picture", "audio": "sound", "video": "clip"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedQuery:
    """A query, the titles of its parts, and whether it needs decoding."""

    query: Query
    titles: list[str]
    decodes: bool
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    """Replacements of the server's paths in sentences about it."""


def parse_query(request: QueryRequest, catalogue: Catalogue, uploads: Uploads) -> ParsedQuery:
    """The query of a request.

    Raises:
        RefusedError: 404: an upload or a moment does not exist.
        UserError: The query is not valid.
    """
    parts: list[QueryPart] = []
    titles: list[str] = []
    secrets: dict[str, str] = {}
    phrases: list[str] = []
    for item in request.parts:
        if item.text is None:
            own = [_other(item, catalogue, uploads)]
        else:
            # If neither counts, words in quotes are words like others.
            splits = item.weight > 0 and not request.speech_weight == request.screen_weight == 0
            text, quoted = split_phrases(item.text) if splits else (item.text, ())
            phrases += quoted
            own = text_parts(text, item.weight)
        parts += own
        for part in own:
            if item.upload is not None:
                name = f"the uploaded {NAMES[part.kind]}"
                secrets[part.value] = name.capitalize()
                titles.append(f"−{name}" if part.weight < 0 else name)
            else:
                if part.kind == "moment":
                    secrets[part.value] = catalogue.display_path(part.value)
                titles.append(part.title)
    words_only = request.visual_weight == request.audio_weight == 0
    query = Query(
        parts=tuple(parts),
        # Scores are shown all the same, by the collection's weights.
        visual_weight=None if words_only else request.visual_weight,
        audio_weight=None if words_only else request.audio_weight,
        words_only=words_only,
        # Each audio type token is a set of vectors in memory: the page's steps are enough.
        audio_type=None if request.audio_type is None else round(request.audio_type * 20) / 20,
        caption_weight=request.caption_weight,
        speech_weight=request.speech_weight,
        screen_weight=request.screen_weight,
        phrases=tuple(phrases),
        min_score=request.min_score,
        fold=request.fold,
        where=parse_filter(request.where, catalogue),
    )
    return ParsedQuery(
        query=query,
        titles=titles,
        decodes=any(item.upload for item in request.parts),
        secrets=secrets,
    )


def parse_filter(where: Where, catalogue: Catalogue) -> FilterBelow:
    """The filter of a request.

    Raises:
        UserError: No moment can pass it.
    """
    fields: dict[str, Any] = where.model_dump(include=set(Where.model_fields))
    # Relative to the folders: clients must not learn what is above them.
    fields["tags"] = tuple(where.tags)
    return FilterBelow(below=catalogue.folders, **fields)


def _other(item: PartRequest, catalogue: Catalogue, uploads: Uploads) -> QueryPart:
    if item.upload is not None:
        upload = uploads.find(item.upload)
        kind: PartKind = item.as_ or upload.kind
        return QueryPart(kind=kind, value=str(upload.path), weight=item.weight)
    moment = catalogue.moment(item.moment or "")
    return QueryPart(
        kind="moment", value=moment.file, start=moment.start, by=item.by, weight=item.weight
    )
