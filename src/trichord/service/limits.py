"""Limits of requests: how many at once, and bytes and seconds of each."""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trichord.service.allowance import Allowance
from trichord.service.errors import RefusedError, refusal

UPLOADS = "/api/uploads"
MEDIA = "/api/media/"
ALWAYS = ("/api/health", "/metrics")
"""Answered under any load, for monitoring."""


class RequestLimits:
    """Limits the number of requests, and the size and time of their bodies.

    A body is counted while it arrives; one whose Content-Length is too large is refused before it is read.
    """

    def __init__(self, app: ASGIApp, allowance: Allowance) -> None:
        self.app = app
        self.allowance = allowance
        self.running = {"requests": 0, "streams": 0}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(scope, receive, send, self.allowance)
        path = scope["path"]
        kind = "streams" if path.startswith(MEDIA) else "requests"
        try:
            body.check_head()
            if path not in ALWAYS and self.running[kind] >= getattr(self.allowance, kind):
                raise RefusedError(503, "The server is busy: try again in a moment.", retry=1)
        except RefusedError as error:
            await refusal(error)(scope, receive, body.send)
            return
        self.running[kind] += path not in ALWAYS
        try:
            await self.app(scope, body.receive, body.send)
        finally:
            self.running[kind] -= path not in ALWAYS


class _Body:
    """The body of one request, counted and timed while it arrives."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, allowance: Allowance) -> None:
        upload = scope["path"] == UPLOADS
        self.most = allowance.upload_bytes if upload else allowance.body_bytes
        self.idle = allowance.idle_seconds
        seconds = allowance.upload_seconds if upload else allowance.body_seconds
        self.deadline = asyncio.get_running_loop().time() + seconds
        self.headers = dict(scope["headers"])
        self.source, self.sink = receive, send
        self.received = 0
        self.complete = not (
            self.headers.get(b"content-length", b"0") != b"0"
            or b"transfer-encoding" in self.headers
        )

    def check_head(self) -> None:
        """Refuse a body by its head."""
        length = self.headers.get(b"content-length", b"0")
        if b"content-length" in self.headers and b"transfer-encoding" in self.headers:
            # A proxy that uses the other one would read the body as another request.
            raise RefusedError(400, "The body has two lengths: send one.", close=True)
        if not length.isdigit() or len(length) > 20:
            raise RefusedError(400, "Content-Length is no number.", close=True)
        if int(length) > self.most:
            raise self._too_large()

    async def receive(self) -> Message:
        """The next chunk of the body, or the end of the connection."""
        if self.complete:
            return await self.source()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(self.idle, self.deadline - loop.time())):
                message = await self.source()
        except TimeoutError:
            sentence = "The body took too long to arrive: send it faster."
            raise RefusedError(408, sentence, close=True) from None
        self.received += len(message.get("body", b""))
        if self.received > self.most:
            raise self._too_large()
        self.complete = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Answer; if the body was not read completely, close the connection."""
        if message["type"] == "http.response.start" and not self.complete:
            message.setdefault("headers", [])
            MutableHeaders(scope=message).setdefault("connection", "close")
        await self.sink(message)

    def _too_large(self) -> RefusedError:
        sentence = f"The body is larger than {_size(self.most)}: send less."
        return RefusedError(413, sentence, close=True)


def _size(count: int) -> str:
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if count >= size:
            return f"{count / size:g} {unit}"
    return f"{count} bytes"
