"""uvicorn's HTTP/1.1, bounded: so many connections, so long to ask, so long to take what was sent."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 48
ASK_S = 5.0
TAKE_S = 5.0
HEADER_BYTES = 16 * 1024


class BoundedProtocol(H11Protocol):
    """One connection. Where it exceeds a bound it is dropped at once, with what lies in its buffers."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._ask_timer: asyncio.TimerHandle | None = None
        self._take_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuses one too many."""
        if len(self.connections) >= CONNECTIONS:
            self.transport = transport
            transport.abort()
            return
        super().connection_made(transport)
        self._expect_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the timers."""
        for timer in (self._ask_timer, self._take_timer):
            if timer:
                timer.cancel()
        if self.flow is not None:
            super().connection_lost(exc)

    def handle_events(self) -> None:
        """Waits for a whole request no longer than five seconds."""
        super().handle_events()
        if self._ask_timer and self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
            self._ask_timer.cancel()
            self._ask_timer = None

    def on_response_complete(self) -> None:
        """The next request of the connection has its time, too."""
        self._expect_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The viewer is slow: it has five seconds to take what lies in the buffer."""
        super().pause_writing()
        self._take_timer = self.loop.call_later(TAKE_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It did."""
        if self._take_timer:
            self._take_timer.cancel()
            self._take_timer = None
        super().resume_writing()

    def _expect_request(self) -> None:
        if self._ask_timer:
            self._ask_timer.cancel()
        self._ask_timer = self.loop.call_later(ASK_S, self.transport.abort)
