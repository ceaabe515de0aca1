"""uvicorn's HTTP/1.1 with bounds: on connections, requests, the time to send a request and to take its answer."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from perception.reporting.web.gate import Gate

CONNECTIONS = 48
ASK_S = 5.0
TAKE_S = 5.0
HEADER_BYTES = 16 * 1024
TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 19\r\n"
    b"retry-after: 1\r\nconnection: close\r\n\r\nToo many requests.\n"
)


class BoundedProtocol(H11Protocol):
    """One connection. Where it exceeds a bound it is dropped at once, with what lies in its buffers.

    The application is a Gate, which is asked before a request is read.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._ask_timer: asyncio.TimerHandle | None = None
        self._take_timer: asyncio.TimerHandle | None = None
        self._gate = cast(Gate, self.config.app)
        self._waits_since = 0.0
        self._has_begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Drop, where there is one too many, the one that has kept the server waiting longest; else this one."""
        if len(self.connections) >= CONNECTIONS and not self._make_room():
            self.transport = transport
            transport.abort()
            return
        super().connection_made(transport)
        self._expect_request()

    def _make_room(self) -> bool:
        """Drop the connection that has been without a complete request for longest. False where there is none."""
        others = [one for one in self.connections if isinstance(one, BoundedProtocol) and one.is_awaited]
        oldest = min(others, key=lambda one: one._waits_since, default=None)
        if oldest is None:
            return False
        self.connections.discard(oldest)
        oldest.transport.abort()
        return True

    @property
    def is_awaited(self) -> bool:
        """True while it has no complete request that is being answered."""
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def data_received(self, data: bytes) -> None:
        """Read data, but no request of an address that asks too often."""
        if (
            not self._has_begun
            and self.is_awaited
            and not self._gate.admits(self.client[0] if self.client else "", data)
        ):
            self.transport.write(TOO_MANY)
            self.transport.close()
            return
        self._has_begun = True
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        for timer in (self._ask_timer, self._take_timer):
            if timer:
                timer.cancel()
        if self.flow is not None:
            super().connection_lost(exc)

    def handle_events(self) -> None:
        """Stop the timer of five seconds once a whole request has come."""
        super().handle_events()
        if self._ask_timer and self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self._ask_timer.cancel()
            self._ask_timer = None

    def on_response_complete(self) -> None:
        """Start the timer of the connection's next request."""
        self._expect_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Give a slow viewer five seconds to take what lies in the buffer."""
        super().pause_writing()
        self._take_timer = self.loop.call_later(TAKE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that timer: it did."""
        if self._take_timer:
            self._take_timer.cancel()
            self._take_timer = None
        super().resume_writing()

    def _expect_request(self) -> None:
        self._waits_since, self._has_begun = self.loop.time(), False
        if self._ask_timer:
            self._ask_timer.cancel()
        self._ask_timer = self.loop.call_later(ASK_S, self.transport.abort)
