"""The routes of the service."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi import Path as InPath
from starlette.responses import Response

from trichord.service.archive import Archive
from trichord.service.errors import RefusedError
from trichord.service.jobs import inside
from trichord.service.media import stream
from trichord.service.schemas import (
    AddRequest,
    Alive,
    CollectionResponse,
    EmbedRequest,
    JobResponse,
    JobStarted,
    SearchRequest,
    SearchResponse,
    TimelineRequest,
    TimelineResponse,
    UploadResponse,
    Vectors,
)
from trichord.service.security import MEDIA_POLICY

Id = Annotated[str, InPath(pattern="^[0-9a-f]{8,64}$")]
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}
BYTES = {"schema": {"type": "string", "format": "binary"}}

router = APIRouter()


async def _archive(request: Request) -> Archive:
    return request.app.state.archive


Served = Annotated[Archive, Depends(_archive)]


@router.get("/api/health")
async def health() -> Alive:
    """Whether the service answers."""
    return Alive()


@router.get("/metrics", response_class=Response)
async def metrics(archive: Served) -> Response:
    """Counters in Prometheus' text format."""
    archive.metrics.uploads.set(len(archive.uploads))
    return archive.metrics.exposition()


@router.get("/api/collection")
async def collection(archive: Served) -> CollectionResponse:
    """What the archive holds, and what can be asked of it."""
    return await archive.describe()


@router.post("/api/search")
async def search(body: SearchRequest, archive: Served) -> SearchResponse:
    """Find moments by texts, uploaded files and other moments, in any weighted combination."""
    return await archive.search(body)


@router.post("/api/timeline")
async def timeline(body: TimelineRequest, archive: Served) -> TimelineResponse:
    """How a query fits a file, moment by moment."""
    return await archive.timeline(body)


@router.post("/api/embed")
async def embed(body: EmbedRequest, archive: Served) -> Vectors:
    """Vectors of texts or of an uploaded file."""
    return await archive.embed(body)


@router.post("/api/uploads", openapi_extra=FORM)
async def uploads(request: Request, archive: Served) -> UploadResponse:
    """Send a file to search with; it is kept for some minutes."""
    upload = await archive.uploads.take(request)
    return UploadResponse(upload=upload.name, kind=upload.kind, seconds=upload.seconds)


@router.head("/api/media/{file}", include_in_schema=False)
@router.get(
    "/api/media/{file}",
    response_class=Response,
    responses={200: {"content": {"*/*": BYTES}}, 206: {"content": {"*/*": BYTES}}},
)
async def media(file: Id, request: Request, archive: Served) -> Response:
    """A media file, or the requested range of its bytes."""
    place = archive.catalogue.file(file)
    return await stream(place, archive.roots, request.headers, body=request.method != "HEAD")


@router.get(
    "/api/thumbnails/{moment}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": BYTES}}},
)
async def thumbnail(moment: Id, archive: Served) -> Response:
    """A small picture of a moment."""
    picture = await archive.thumbnail(archive.catalogue.moment(moment))
    headers = {"Cache-Control": "private, max-age=600", "Content-Security-Policy": MEDIA_POLICY}
    return Response(picture, headers=headers, media_type="image/jpeg")


@router.post("/api/add", status_code=202)
async def add(body: AddRequest, archive: Served) -> JobStarted:
    """Index files and folders of the server, in the background."""
    if not archive.roots:
        raise RefusedError(400, "Nothing can be added here: start the service with --root FOLDER.")
    places = inside(body.paths, archive.roots)
    job = await archive.asides.run(archive.jobs.start, places)
    return JobStarted(job=job.job)


@router.get("/api/jobs/{job}")
async def job(job: Id, archive: Served) -> JobResponse:
    """The state of a job."""
    return archive.jobs.find(job)
