"""What every request passes before it is answered: who asks, under which name, how often; what goes back with it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perception.reporting.web.address import Names
from perception.reporting.web.tokens import Guard, Limiter

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
OPEN = ("/sign-in", "/healthz", "/readyz", "/page/page.css", "/page/icon.svg")
"""What needs no token."""
HEALTH = ("/healthz", "/readyz")
"""What no flood of other requests may keep from being answered."""
_HEALTH_CHECK = re.compile(rb"(?:GET|HEAD) /(?:healthz|readyz)[ ?]")
_AUTHORIZATION = re.compile(rb"(?im)^authorization:[ \t]*bearer[ \t]+([^\r\n]*)")
_COOKIE = re.compile(rb"(?im)^cookie:[^\r\n]*?\bpilot_session=([^;\s]*)")
REQUESTS_BURST, REQUESTS_PER_S = 60, 30
HEALTH_BURST, HEALTH_PER_S = 300, 100
GUESSES_BURST, GUESSES_PER_S = 5, 5 / 60


class Gate:
    """An ASGI application before another one; `app` is set once that exists."""

    cookie = "pilot_session"

    def __init__(self, names: Names, guard: Guard | None, clock: Callable[[], float] = time.monotonic) -> None:
        """guard: None where nobody needs a token. clock: monotonic seconds."""
        self._names = names
        self._guard = guard
        self._requests = Limiter(REQUESTS_BURST, REQUESTS_PER_S, clock)
        self._health = Limiter(HEALTH_BURST, HEALTH_PER_S, clock)
        self._guesses = Limiter(GUESSES_BURST, GUESSES_PER_S, clock)
        self.app: ASGIApp | None = None

    @property
    def guarded(self) -> bool:
        """Whether a token is needed."""
        return self._guard is not None

    def admits(self, address: str, head: bytes) -> bool:
        """Whether a request is read at all, which begins with these bytes: as often as its address may ask.

        Whoever brings the token or a session is always let in, as all who come through ssh have one address.
        """
        limiter = self._health if _HEALTH_CHECK.match(head) else self._requests
        return limiter.would_allow(address) or self._brings_right(head)

    def _brings_right(self, head: bytes) -> bool:
        if self._guard is None:
            return False
        token = _AUTHORIZATION.search(head)
        if token and self._guard.is_token(token[1].decode("latin-1").strip()):
            return True
        session = _COOKIE.search(head)
        return session is not None and self._guard.is_session(session[1].decode("latin-1"))

    def may_fail(self, scope: Scope) -> bool:
        """Whether this address, which just gave a wrong token, may give another one."""
        return self._guesses.allows(_address(scope))

    def is_token(self, text: str) -> bool:
        """Whether this lets somebody in."""
        return self._guard is not None and self._guard.is_token(text)

    def new_session(self) -> str:
        """The value of the cookie."""
        assert self._guard is not None
        return self._guard.new_session()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers it."""
        assert self.app is not None
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        try:
            await (refusal or self.app)(scope, receive, _with_headers(send))
        except ClientDisconnect:  # in the middle of a body: there is nobody to answer, and nothing is wrong here
            return

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        is_let_in = self._guard is not None and self._is_let_in(self._guard, headers)
        limiter = self._health if scope["path"] in HEALTH else self._requests
        if not is_let_in and not limiter.allows(_address(scope)):
            return PlainTextResponse("Too many requests.\n", 429, {"retry-after": "1"})
        if "transfer-encoding" in headers and "content-length" in headers:
            # Two lengths: what comes after one of them may be a request of somebody else's (RFC 9112, 6.1).
            return PlainTextResponse("A request has one length.\n", 400, {"connection": "close"})
        if not self._names.know(headers.get("host", "")):
            return PlainTextResponse("This name is not one of the pilot's: web.hosts lists further ones.\n", 421)
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
            return PlainTextResponse("Another site may not use this one.\n", 403)
        if self._guard is None or is_let_in or scope["path"] in OPEN:
            return None
        return self._door(scope, headers)

    def _is_let_in(self, guard: Guard, headers: Headers) -> bool:
        return guard.is_session(_cookie(headers, self.cookie)) or guard.is_token(_bearer(headers) or "")

    def _door(self, scope: Scope, headers: Headers) -> ASGIApp:
        """What a stranger gets. A wrong token is counted, and only a wrong one."""
        if _bearer(headers) is not None and not self.may_fail(scope):
            return PlainTextResponse("Too many attempts.\n", 429, {"retry-after": "60"})
        if scope["path"] == "/":
            return RedirectResponse("/sign-in", 303)
        return PlainTextResponse("A token is needed.\n", 401, {"www-authenticate": "Bearer"})


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _bearer(headers: Headers) -> str | None:
    """The token of a request; None where it brings none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _cookie(headers: Headers, name: str) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return found.value if found else ""
