"""Hits of the engine as responses to clients: ids for paths, null for values that are not numbers."""

import math
from collections.abc import Iterable

from trichord.service.catalogue import Catalogue
from trichord.service.schemas import HitResponse, PartScore
from trichord.types import Hit


def number(value: float | None) -> float | None:
    """A number for JSON; None if it is missing or not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def numbers(values: Iterable[float | None]) -> list[float | None]:
    """Numbers for JSON."""
    return [number(value) for value in values]


def to_response(hits: Iterable[Hit], catalogue: Catalogue) -> list[HitResponse]:
    """Hits as clients see them; a hit without a score is left out."""
    return [_hit(hit, catalogue) for hit in hits if math.isfinite(hit.score)]


def _hit(hit: Hit, catalogue: Catalogue) -> HitResponse:
    moment, client_file = hit.moment, catalogue.client_file(hit.moment.file)
    name = client_file.moment(moment.start)
    return HitResponse(
        id=name,
        file=client_file.id,
        name=client_file.display_path,
        start=moment.start,
        end=moment.end,
        score=hit.score,
        visual=number(hit.visual),
        audio=number(hit.audio),
        reranked=number(hit.reranked),
        caption=hit.caption,
        tags=list(hit.tags),
        parts=[
            PartScore(visual=number(visual), audio=number(audio)) for visual, audio in hit.parts
        ],
        media=f"/api/media/{client_file.id}",
        thumbnail=None if client_file.kind == "audio" else f"/api/thumbnails/{name}",
        kind=client_file.kind,
    )
