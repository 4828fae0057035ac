"""The service as an ASGI application."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from trichord.search.engine import SearchEngine
from trichord.service.allowance import Allowance
from trichord.service.archive import Archive
from trichord.service.errors import answer_errors, log
from trichord.service.limits import RequestLimits
from trichord.service.metrics import Metrics, RequestMetrics
from trichord.service.routes import TAGS, router
from trichord.service.security import Access, Guard

PAGE = Path(__file__).parent / "page"
REFRESH_SECONDS = 2.0
"""Seconds between checks for a changed collection and for old uploads."""
ABOUT = (
    "Find the moments of an archive by words, sounds, pictures and clips. Ids are opaque. Errors are "
    '`{"error": "one sentence"}`. Where the service was started with a token, every request but '
    "`/api/health` shows it as `Authorization: Bearer TOKEN`."
)


def create(
    engine: SearchEngine,
    *,
    access: Access | None = None,
    roots: Sequence[Path] = (),
    allowance: Allowance | None = None,
    show_paths: bool = False,
) -> FastAPI:
    """The application that serves a collection.

    Args:
        engine: The search engine; its decoder reads uploads.
        access: Who may use it; default: this machine, without a token.
        roots: Folders from which clients may add files; file names are relative to them.
        allowance: Limits of requests.
        show_paths: Tell clients the full paths of files.
    """
    allowance, access = allowance or Allowance(), access or Access()
    counters = Metrics()
    app = FastAPI(
        title="Trichord",
        version=version("trichord"),
        description=ABOUT,
        openapi_tags=TAGS,
        # FastAPI's own pages load scripts from elsewhere; `docs.html` does not.
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    app.state.archive = archive = Archive(
        engine,
        roots,
        allowance,
        counters,
        show_paths=show_paths,
        open_folders=access.open_folders,
    )
    app.state.redact = archive.redact
    answer_errors(app, router.routes)
    app.include_router(router)
    app.mount("/static", Page(directory=PAGE, check_dir=False), name="static")
    app.add_route("/", _index, include_in_schema=False)
    app.add_route("/docs", _docs, include_in_schema=False)
    _declare_token(app.openapi(), required=access.token is not None)
    # The last one is the outermost.
    app.add_middleware(RequestLimits, allowance=allowance)
    app.add_middleware(Guard, access=access)
    app.add_middleware(RequestMetrics, metrics=counters)
    return app


def _declare_token(document: dict[str, Any], required: bool) -> None:
    """Declare the token in the OpenAPI document, and that requests without it are refused."""
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    if not required:
        return
    document["security"] = [{"token": []}]
    missing = deepcopy(document["paths"]["/api/health"]["get"]["responses"]["403"])
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if path == "/api/health":
                operation["security"] = []
            else:
                operation["responses"]["401"] = missing | {"description": "Unauthorized"}


class Page(StaticFiles):
    """The files of the page: browsers cache them, but validate them each time."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The response with a file."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


async def _index(request: Any) -> Response:
    return await _send_page(request, "index.html")


async def _docs(request: Any) -> Response:
    return await _send_page(request, "docs.html")


async def _send_page(request: Any, name: str) -> Response:
    scope: Scope = {**request.scope, "path": "/", "root_path": ""}
    return await Page(directory=PAGE, check_dir=False).get_response(name, scope)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    archive: Archive = app.state.archive
    refreshing = asyncio.create_task(_refresh(archive))
    try:
        yield
    finally:
        refreshing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await refreshing
        archive.close()


async def _refresh(archive: Archive) -> None:
    """Follow changes of the collection; a failure is logged once and tried again."""
    failed = False
    while True:
        await asyncio.sleep(REFRESH_SECONDS)
        archive.uploads.sweep()
        try:
            await asyncio.to_thread(archive.refresh)
            failed = False
        except Exception:
            if not failed:
                log.exception("The archive could not be read again; the last state is served.")
            failed = True
