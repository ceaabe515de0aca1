"""The paths of the server, each with its answer."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from perception.reporting.web.metrics import CONTENT_TYPE, Metrics
from perception.reporting.web.overview import Overview, Verdict
from perception.reporting.web.picture import PictureStream
from perception.reporting.web.tokens import COOKIE, SESSION_S, Guard

VIEWERS = 8
FORM_BYTES = 4096
BOUNDARY = b"picture"
MOTION = f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"
PAGE = Path(__file__).parent / "page"
FILES = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "charts.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_COUNT = 10**15


class MotionPicture(Response):
    """MJPEG as multipart/x-mixed-replace: each part replaces the one before. A slow viewer misses pictures."""

    def __init__(self, pictures: PictureStream) -> None:
        super().__init__(media_type=MOTION)
        del self.headers["content-length"]
        self._pictures = pictures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send pictures until the viewer is gone."""
        gone = asyncio.ensure_future(_gone(receive))
        try:
            with self._pictures.watching():
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._send(gone, send)
        finally:
            gone.cancel()

    async def _send(self, gone: asyncio.Future[None], send: Send) -> None:
        number, before = 0, b"--" + BOUNDARY + b"\r\n"
        while True:
            wanted = asyncio.ensure_future(self._pictures.after(number))
            await asyncio.wait((gone, wanted), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                wanted.cancel()
                return
            number, jpeg = wanted.result().number, wanted.result().jpeg
            head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
            # A browser shows a part when the next one begins, so the next one begins at once.
            body = b"".join((before, head, jpeg, b"\r\n--", BOUNDARY, b"\r\n"))
            before = b""
            await send({"type": "http.response.body", "body": body, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Routes:
    """Every path, and the function that answers it."""

    def __init__(self, overview: Overview, pictures: PictureStream, guard: Guard) -> None:
        self._overview = overview
        self._metrics = Metrics(overview)
        self._pictures = pictures
        self._guard = guard
        self._page = (PAGE / "page.html").read_bytes()
        self._sign_in = (PAGE / "sign_in.html").read_text(encoding="utf-8")
        self._files = {name: (PAGE / name).read_bytes() for name in FILES}

    def app(self) -> Starlette:
        """Return the application, without the gate before it."""
        routes = [
            Route("/", self.page),
            Route("/picture.mjpeg", self.motion),
            Route("/picture.jpg", self.still),
            Route("/api/state", self.state),
            Route("/metrics", self.metrics),
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/page/{name}", self.file),
            Route("/sign-in", self.sign_in, methods=["GET", "POST"]),
            Route("/sign-out", self.sign_out, methods=["POST"]),
        ]
        return Starlette(routes=routes)

    async def page(self, request: Request) -> Response:
        """Return the page."""
        return Response(self._page, media_type="text/html")

    async def file(self, request: Request) -> Response:
        """Return style, scripts and icon of the page, and no other file."""
        name = request.path_params["name"]
        if name not in self._files:
            return PlainTextResponse("There is no such file.\n", 404)
        return Response(self._files[name], media_type=FILES[name])

    async def motion(self, request: Request) -> Response:
        """Return the moving picture; its headers alone for HEAD, which needs no place among the viewers."""
        if request.method == "HEAD":
            return Response(media_type=MOTION)
        if self._pictures.viewers >= VIEWERS:
            return PlainTextResponse(f"{VIEWERS} viewers watch already.\n", 503)
        return MotionPicture(self._pictures)

    async def still(self, request: Request) -> Response:
        """Return one picture; its headers alone for HEAD, for which none is made."""
        if request.method == "HEAD":
            return Response(media_type="image/jpeg")
        if self._pictures.viewers >= VIEWERS:
            return PlainTextResponse(f"{VIEWERS} viewers watch already.\n", 503)
        jpeg = await self._pictures.still()
        if jpeg is None:
            return PlainTextResponse("No picture comes from the source.\n", 503)
        return Response(jpeg, media_type="image/jpeg")

    async def state(self, request: Request) -> Response:
        """Return all that the page tells: the history since second `after`, the log since line `log`."""
        try:
            after, log = (_count(request.query_params.get(name, "-1")) for name in ("after", "log"))
        except ValueError:
            return PlainTextResponse("after and log are whole numbers.\n", 400)
        return JSONResponse({**self._overview.state(after, log), "token": self._guard.needs_token})

    async def metrics(self, request: Request) -> Response:
        """Return the metrics for Prometheus."""
        return Response(self._metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def healthz(self, request: Request) -> Response:
        """Return 200 while the loop turns, else 503."""
        return _verdict(self._overview.live())

    async def readyz(self, request: Request) -> Response:
        """Return 200 while frames flow, else 503."""
        return _verdict(self._overview.ready())

    async def sign_in(self, request: Request) -> Response:
        """Return the form; a cookie for the token."""
        if request.method != "POST":
            return self._form("", 200)
        if not self._guard.is_token(await _posted_token(request)):
            if not self._guard.may_guess(request.client.host if request.client else ""):
                return self._form("Too many attempts. Wait a minute, then try again.", 429)
            return self._form("That is not the token.", 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, self._guard.new_session(), max_age=SESSION_S, httponly=True, samesite="strict")
        return answer

    async def sign_out(self, request: Request) -> Response:
        """Take the cookie back."""
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    def _form(self, message: str, status: int) -> Response:
        headers = {"retry-after": "60"} if status == 429 else None
        return Response(self._sign_in.replace("{message}", message), status, headers, "text/html")


async def _posted_token(request: Request) -> str:
    """Return the token of the form, empty where there is none or the form is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()


def _count(text: str) -> int:
    if len(text) > 16:
        raise ValueError(text)
    return max(min(int(text), _COUNT), -1)


def _verdict(verdict: Verdict) -> Response:
    good, words = verdict
    return PlainTextResponse(f"{words}\n", 200 if good else 503)
