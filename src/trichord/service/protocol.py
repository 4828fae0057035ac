"""HTTP over a socket, from clients that may be slow, endless or hasty on purpose."""

from collections import deque
from typing import Any, Protocol, runtime_checkable

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trichord.service.allowance import Allowance
from trichord.service.errors import RefusedError, refusal


@runtime_checkable
class Timer(Protocol):
    """Something that will happen; each event loop has its own kind."""

    def cancel(self) -> None:
        """Let it not happen."""
        ...


class Impatient(HttpToolsProtocol):
    """The protocol of uvicorn with an end to its patience.

    That waits without end for a request's head, and for a client to take what it was sent. Here a
    connection is cut when either takes longer than allowed. Its own limit of connections refuses
    requests without saying when to come again, so it is counted here. And it keeps whatever comes
    before, between and after the bytes of bodies: heads, trailers, requests that do not wait for
    answers. Here there is an end to these too.
    """

    allowance = Allowance()
    _head: Timer | None = None
    _stall: Timer | None = None
    _unread = 0
    """Bytes since a head or a portion of a body was last complete: the parser may hold them all."""
    _trails = False
    """Whether lines come that belong to no head."""

    def connection_made(self, transport: Any) -> None:
        """A client has come."""
        self._unanswered = deque[Any]()
        super().connection_made(transport)
        if len(self.connections) > self.allowance.connections:
            self.app = crowded  # who came earlier is not sent away
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """A client has gone."""
        _cancel(self._head)
        _cancel(self._stall)
        for cycle in self._unanswered:  # uvicorn tells the last one only
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A client has sent something."""
        while data and not self.transport.is_closing():
            # No more than a head may have is read before it is known whether one was complete.
            portion = data[: self.allowance.head_bytes - self._unread]
            data = data[len(portion) :]
            self._unread += len(portion)
            super().data_received(portion)
            if self._unread >= self.allowance.head_bytes:
                self._refuse()
        self._await_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._trails = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of a head is there; those behind a body are passed over."""
        if not self._trails:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head is there.

        Raises:
            ValueError: It names no host, or more than one.
        """
        self._unread, self._trails = 0, True
        parser: Any = self.parser
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (not hosts and parser.get_http_version() == "1.1"):
            raise ValueError("a request names its host once")
        super().on_headers_complete()
        self._unanswered.append(self.cycle)
        if len(self._unanswered) > 1 + self.allowance.ahead:
            self.transport.abort()

    def on_body(self, body: bytes) -> None:
        """A portion of a body is there."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is there."""
        self._unread = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request is answered."""
        self._unanswered.popleft()
        super().on_response_complete()
        self._await_head()

    def pause_writing(self) -> None:
        """A client does not take what it is sent."""
        super().pause_writing()
        _cancel(self._stall)
        self._stall = self.loop.call_later(self.allowance.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        _cancel(self._stall)
        self._stall = None
        super().resume_writing()

    def _refuse(self) -> None:
        """End the connection of a client whose head, or what follows a body, has no end."""
        if self._unanswered:
            self.transport.abort()  # words of ours would be taken for a part of the answer
        else:
            self.send_400_response("The head of the request is too long.")

    def _await_head(self) -> None:
        """Let the clock run while a head is awaited, from its beginning."""
        if self._unanswered:
            _cancel(self._head)
            self._head = None
        elif self._head is None:
            seconds = self.allowance.head_seconds
            self._head = self.loop.call_later(seconds, self.transport.abort)


async def crowded(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request of a connection too many."""
    sentence = "Too many clients are connected: try again in a moment."
    await refusal(RefusedError(503, sentence, retry=1, close=True))(scope, receive, send)


def protocol_of(allowance: Allowance) -> type[Impatient]:
    """The protocol with other limits; uvicorn makes an object of it a connection."""
    return type("Impatient", (Impatient,), {"allowance": allowance})


def _cancel(timer: Timer | None) -> None:
    if timer is not None:
        timer.cancel()
