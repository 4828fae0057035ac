"""The routes of the service."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi import Path as InPath
from starlette.responses import Response

from trichord.media.containers import HEAD
from trichord.service.archive import Archive
from trichord.service.errors import RefusedError
from trichord.service.jobs import inside
from trichord.service.media import media_type, stream
from trichord.service.schemas import (
    AddRequest,
    Alive,
    CollectionResponse,
    EmbedRequest,
    FileMomentsResponse,
    FilesRequest,
    FilesResponse,
    JobResponse,
    JobStarted,
    MomentsRequest,
    Problem,
    SearchRequest,
    SearchResponse,
    StatusResponse,
    TextsResponse,
    TimelineRequest,
    TimelineResponse,
    UploadResponse,
    Vectors,
)
from trichord.service.security import MEDIA_POLICY
from trichord.speech.transcript import srt_of, vtt_of

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

BODY = (400, 408, 413, 422)
"""Refusals of a request with a body."""
TAGS = [
    {"name": "search", "description": "Find moments, and see how a query fits a file."},
    {"name": "browse", "description": "Files and moments without a query, media and pictures."},
    {"name": "send", "description": "Send files to search with, or add files to the archive."},
    {"name": "service", "description": "State of the service."},
]


def refusals(*codes: int) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI document: the errors of a route, beside those that any route may have."""
    return {code: {"model": Problem} for code in sorted({403, 500, *codes})}


router = APIRouter()


async def _archive(request: Request) -> Archive:
    return request.app.state.archive


Served = Annotated[Archive, Depends(_archive)]


@router.get("/api/health", tags=["service"], responses=refusals())
async def health() -> Alive:
    """Whether the service answers."""
    return Alive()


@router.get(
    "/metrics",
    tags=["service"],
    response_class=Response,
    responses={**refusals(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(archive: Served) -> Response:
    """Counters in Prometheus' text format."""
    archive.metrics.uploads.set(len(archive.uploads))
    return archive.metrics.exposition()


@router.get("/api/status", tags=["service"], responses=refusals(503))
async def status(archive: Served) -> StatusResponse:
    """What changes while the archive is indexed, here or by another process."""
    return archive.status()


@router.get("/api/collection", tags=["browse"], responses=refusals(503))
async def collection(archive: Served) -> CollectionResponse:
    """What the archive holds, and what can be asked of it."""
    return await archive.describe()


@router.get("/api/files", tags=["browse"], responses=refusals(400, 422, 503))
async def files(asked: Annotated[FilesRequest, Query()], archive: Served) -> FilesResponse:
    """The files of the archive by folder, date and kind, a page at a time."""
    return await archive.files(asked)


@router.get("/api/files/{file}", tags=["browse"], responses=refusals(404, 422, 503))
async def file_moments(
    file: Id, asked: Annotated[MomentsRequest, Query()], archive: Served
) -> FileMomentsResponse:
    """A file and its moments."""
    return await archive.file_moments(file, asked)


@router.post(
    "/api/files/{file}/open",
    status_code=204,
    tags=["browse"],
    responses=refusals(404, 422, 501, 503),
)
async def open_folder(file: Id, archive: Served) -> None:
    """Show a file in the file manager of the server's machine, if it was started with --open-folders."""
    await archive.open_folder(file)


@router.get("/api/files/{file}/texts", tags=["browse"], responses=refusals(404, 422, 503))
async def texts(file: Id, archive: Served) -> TextsResponse:
    """What is said in a file, and what is shown on its screen."""
    return await archive.texts(file)


SUBTITLES = {"vtt": (vtt_of, "text/vtt"), "srt": (srt_of, "application/x-subrip")}


@router.get(
    "/api/files/{file}/subtitles.{format}",
    tags=["browse"],
    response_class=Response,
    responses={
        **refusals(404, 422, 503),
        200: {"content": {kind: {} for _, kind in SUBTITLES.values()}},
    },
)
async def subtitles(file: Id, format: Literal["vtt", "srt"], archive: Served) -> Response:
    """What is said in a file, as subtitles."""
    write, kind = SUBTITLES[format]
    return Response(await archive.subtitles(file, write), media_type=kind)


@router.post("/api/search", tags=["search"], responses=refusals(404, 503, *BODY))
async def search(body: SearchRequest, archive: Served) -> SearchResponse:
    """Find moments by texts, uploaded files and other moments, in any weighted combination."""
    return await archive.search(body)


@router.post("/api/timeline", tags=["search"], responses=refusals(404, 503, *BODY))
async def timeline(body: TimelineRequest, archive: Served) -> TimelineResponse:
    """How a query fits a file, moment by moment."""
    return await archive.timeline(body)


@router.post("/api/embed", tags=["search"], responses=refusals(404, 503, *BODY))
async def embed(body: EmbedRequest, archive: Served) -> Vectors:
    """Vectors of texts or of an uploaded file."""
    return await archive.embed(body)


@router.post(
    "/api/uploads",
    tags=["send"],
    openapi_extra=FORM,
    responses=refusals(400, 408, 413, 415, 429, 503, 507),
)
async def uploads(request: Request, archive: Served) -> UploadResponse:
    """Send a file to search with; it is kept for some minutes."""
    upload = await archive.uploads.take(request)
    return UploadResponse(upload=upload.name, kind=upload.kind, seconds=upload.seconds)


@router.head("/api/media/{file}", include_in_schema=False)
@router.get(
    "/api/media/{file}",
    tags=["browse"],
    response_class=Response,
    responses={
        **refusals(404, 415, 416, 422, 503),
        200: {"content": {"*/*": BYTES}},
        206: {"content": {"*/*": BYTES}},
        304: {"description": "The client has this version."},
    },
)
async def media(file: Id, request: Request, archive: Served) -> Response:
    """A media file, or the requested range of its bytes."""
    place = archive.catalogue.file(file)
    return await stream(place, archive.roots, request.headers, body=request.method != "HEAD")


@router.get(
    "/api/thumbnails/{moment}",
    tags=["browse"],
    response_class=Response,
    responses={
        **refusals(404, 422, 503),
        200: {"content": {"image/webp": BYTES, "image/jpeg": BYTES}},
    },
)
async def thumbnail(moment: Id, archive: Served) -> Response:
    """A small picture of a moment; of a sound, its waveform."""
    picture = await archive.thumbnail(archive.catalogue.moment(moment))
    headers = {"Cache-Control": "private, max-age=600", "Content-Security-Policy": MEDIA_POLICY}
    kind = media_type(picture[:HEAD]) or "image/jpeg"
    return Response(picture, headers=headers, media_type=kind)


@router.post("/api/add", status_code=202, tags=["send"], responses=refusals(409, 503, *BODY))
async def add(body: AddRequest, archive: Served) -> JobStarted:
    """Index files and folders of the server, in the background."""
    if not archive.roots:
        raise RefusedError(400, "Nothing can be added here: start the service with --root FOLDER.")
    places = inside(body.paths, archive.roots)
    job = await archive.asides.run(archive.jobs.start, places)
    return JobStarted(job=job.job)


@router.get("/api/jobs/{job}", tags=["send"], responses=refusals(404, 422, 503))
async def job(job: Id, archive: Served) -> JobResponse:
    """The state of a job."""
    return archive.jobs.find(job)
