"""What the service counts, for Prometheus."""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one service; each has a registry of its own, so that several fit in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        of: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "trichord_requests", "Answered requests.", ["route", "method", "status"], **of
        )
        self.seconds = Histogram(
            "trichord_request_seconds", "Until the answer begins.", ["route"], buckets=SECONDS, **of
        )
        self.running = Gauge("trichord_requests_running", "Requests under way.", **of)
        self.batch = Histogram(
            "trichord_search_batch", "Searches answered in one pass.", buckets=BATCHES, **of
        )
        self.moments = Gauge("trichord_moments", "Moments that can be found.", **of)
        self.files = Gauge("trichord_files", "Files with such moments.", **of)
        self.version = Gauge("trichord_table_version", "Version of the table in memory.", **of)
        self.uploads = Gauge("trichord_uploads", "Uploaded files that are kept.", **of)

    def exposition(self) -> Response:
        """All of them as Prometheus reads them."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


class RequestMetrics:
    """Counts and times what an app answers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self.metrics.seconds.labels(_route(scope)).observe(time.perf_counter() - began)
            await send(message)

        self.metrics.running.inc()
        try:
            await self.app(scope, receive, noted)
        finally:
            self.metrics.running.dec()
            # Without a status, it failed: whoever is outside of this answers 500.
            labels = _route(scope), _method(scope), str(status or 500)
            self.metrics.requests.labels(*labels).inc()


def _route(scope: Scope) -> str:
    """The route's pattern: paths as clients write them would make labels without end."""
    return getattr(scope.get("route"), "path", "other")


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
