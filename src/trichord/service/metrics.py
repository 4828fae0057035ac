"""Metrics of the service, for Prometheus."""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Metrics of one service, in its own registry, so that a process can have several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        options: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter(
            "trichord_requests", "Answered requests.", ["route", "method", "status"], **options
        )
        self.seconds = Histogram(
            "trichord_request_seconds",
            "Until the answer begins.",
            ["route"],
            buckets=SECONDS,
            **options,
        )
        self.running = Gauge("trichord_requests_running", "Requests under way.", **options)
        self.batch = Histogram(
            "trichord_search_batch", "Searches answered in one pass.", buckets=BATCHES, **options
        )
        self.moments = Gauge("trichord_moments", "Moments that can be found.", **options)
        self.files = Gauge("trichord_files", "Files with such moments.", **options)
        self.version = Gauge("trichord_table_version", "Version of the table in memory.", **options)
        self.uploads = Gauge("trichord_uploads", "Uploaded files that are kept.", **options)

    def exposition(self) -> Response:
        """All metrics in Prometheus' text format."""
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)


class RequestMetrics:
    """Counts and times the responses of an app."""

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

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self.metrics.seconds.labels(_route(scope)).observe(time.perf_counter() - began)
            await send(message)

        self.metrics.running.inc()
        try:
            await self.app(scope, receive, observe)
        finally:
            self.metrics.running.dec()
            # Without a status it failed: an outer handler answers 500.
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
            labels = _route(scope), method, str(status or 500)
            self.metrics.requests.labels(*labels).inc()


def _route(scope: Scope) -> str:
    """The route's pattern: paths of clients would make any number of labels."""
    return getattr(scope.get("route"), "path", "other")
