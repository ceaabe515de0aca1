"""The server of the page: uvicorn in a thread with a loop of its own, from the start of a run to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn
from loguru import logger

from perception.reporting.lines import PAGE
from perception.reporting.web.address import BACKLOG, Names, is_loopback, listen, parse
from perception.reporting.web.gate import Gate
from perception.reporting.web.overview import Overview, RunStatus
from perception.reporting.web.picture import PictureStream
from perception.reporting.web.protocol import HEADER_BYTES, BoundedProtocol
from perception.reporting.web.routes import Routes
from perception.reporting.web.sink import LogRing, WebSink
from perception.reporting.web.tokens import Guard, need_token, read_token
from perception.settings.model import WebSettings

SETTLE_S = 1.0
WAITING = 512
"""Connections that the kernel has made and the server has not accepted yet."""
CLOSING_S = 3.0
COMPLAINT_S = 60.0


class WebPage(WebSink):
    """A sink that shows the run in a browser. The server runs from here to `close`."""

    def __init__(self, settings: WebSettings, bind: str, environment: Mapping[str, str] = os.environ) -> None:
        """bind: as web.bind. environment: may hold the token.

        Raises SettingsError for an address that is taken or wrong, and where a token is wrong or missing.
        """
        address = parse(bind)
        token = read_token(settings.token_path, environment)
        listener = listen(address)
        if token is None and not is_loopback(listener):
            listener.close()
            raise need_token(address.host)
        super().__init__()
        self._ring = LogRing()
        self._overview = Overview(self, self._ring.lines)
        self.port: int = listener.getsockname()[1]
        pictures, guard = PictureStream(self, settings), Guard(token)
        routes = Routes(self._overview, pictures, guard)
        gate = Gate(routes.app(), Names(address.host, settings.hosts), guard)
        self._server = _Server(self._overview, pictures, gate, listener)
        self._thread = threading.Thread(target=self._server.serve_until_told, name="web", daemon=True)
        self._thread.start()
        logger.info(f"{PAGE}http://{_shown(listener)}/" + (" (with the token)" if token else ""))

    def follow(self, read_status: Callable[[], RunStatus]) -> None:
        """Tell of the open run from here on. read_status: for any thread."""
        self.turn(self.board)
        self._overview.read_status = read_status

    def close(self) -> None:
        """End the server; viewers are cut off."""
        self._server.should_exit = True
        self._thread.join(CLOSING_S)
        self._ring.close()


class _Server(uvicorn.Server):
    """uvicorn with the housekeeping of the page in its loop."""

    def __init__(self, overview: Overview, pictures: PictureStream, gate: Gate, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                gate,
                http=BoundedProtocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=HEADER_BYTES,
                backlog=BACKLOG,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=1,
            )
        )
        self._overview = overview
        self._pictures = pictures
        self._listener = listener

    def serve_until_told(self) -> None:
        """Serve until should_exit is set. Whatever goes wrong here must not end the run."""
        handler = _ToLog()
        log = logging.getLogger("uvicorn.error")
        log.addHandler(handler)
        log.propagate = False
        try:
            asyncio.run(self._run(handler.complain))
        except Exception as fault:
            logger.opt(exception=fault).error("The live page ended with a fault; detection goes on")
        finally:
            log.removeHandler(handler)
            log.propagate = True
            self._pictures.close()

    async def _run(self, complain: Callable[[str, BaseException | None], None]) -> None:
        def on_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            complain(str(context.get("message", "")), context.get("exception"))

        asyncio.get_running_loop().set_exception_handler(on_fault)
        settling = asyncio.ensure_future(self._settle())
        await self.serve(sockets=[self._listener])
        settling.cancel()

    async def _settle(self) -> None:
        while True:
            self._overview.settle()
            if not self._pictures.viewers:
                self._overview.sink.forget()  # the loop may have left a picture just after the last viewer went
            await asyncio.sleep(SETTLE_S)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept: asyncio takes BACKLOG connections at a time, and reads from them before it takes others.

        So in a storm a health check is read before connections after it push it out. The kernel keeps more waiting,
        which would otherwise come again a second later.
        """
        await super().startup(sockets)
        self._listener.listen(WAITING)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cut every connection, since a viewer of the picture would never leave by itself."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)


class _ToLog(logging.Handler):
    """Logs what uvicorn calls an error, a bug of the page, once a minute; what strangers send is not logged."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.ERROR)
        self._clock = clock
        self._next = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record of uvicorn's."""
        self.complain(record.getMessage(), record.exc_info[1] if record.exc_info else None)

    def complain(self, what: str, fault: BaseException | None) -> None:
        """Log a bug of the page, with its traceback."""
        if self._clock() >= self._next:
            self._next = self._clock() + COMPLAINT_S
            logger.opt(exception=fault).error(f"The live page has a fault, detection goes on: {what.strip()}")


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - a comparison
        host = socket.gethostname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
