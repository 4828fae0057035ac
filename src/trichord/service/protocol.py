"""HTTP over a socket, from clients that may be slow on purpose."""

import asyncio
from typing import Any

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from trichord.service.allowance import Allowance
from trichord.service.errors import RefusedError, refusal


class Impatient(H11Protocol):
    """The protocol of uvicorn with an end to its patience.

    That waits without end for a request's head, and for a client to take what it was sent. Here a
    connection is cut when either takes longer than allowed. Its own limit of connections refuses
    requests without saying when to come again, so it is counted here.
    """

    allowance = Allowance()
    _head: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """A client has come."""
        super().connection_made(transport)
        if len(self.connections) > self.allowance.connections:
            self.app = crowded  # who came earlier is not sent away
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """A client has gone."""
        _cancel(self._head)
        _cancel(self._stall)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A client has sent something."""
        super().data_received(data)
        self._await_head()

    def on_response_complete(self) -> None:
        """A request is answered."""
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

    def _await_head(self) -> None:
        """Let the clock run while a head is awaited, from its beginning."""
        if self.conn.their_state is not h11.IDLE:
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


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
