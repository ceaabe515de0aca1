"""The check of every request before it is answered: who asks, under which name, how often; and headers for all."""

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
from perception.reporting.web.tokens import COOKIE, Guard, Limiter

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
"""Paths that need no token."""
HEALTH = ("/healthz", "/readyz")
"""Paths that are answered whatever flood of other requests comes."""
_HEALTH_CHECK = re.compile(rb"(?:GET|HEAD) /(?:healthz|readyz)[ ?]")
_AUTHORIZATION = re.compile(rb"(?im)^authorization:[ \t]*bearer[ \t]+([^\r\n]*)")
_COOKIE = re.compile(rb"(?im)^cookie:[^\r\n]*?\b%s=([^;\s]*)" % COOKIE.encode())
REQUESTS_BURST, REQUESTS_PER_S = 60, 30
HEALTH_BURST, HEALTH_PER_S = 300, 100


class Gate:
    """An ASGI application before another one."""

    def __init__(self, app: ASGIApp, names: Names, guard: Guard, clock: Callable[[], float] = time.monotonic) -> None:
        """app: gets what is let through. clock: monotonic seconds."""
        self._app = app
        self._names = names
        self._guard = guard
        self._requests = Limiter(REQUESTS_BURST, REQUESTS_PER_S, clock)
        self._health = Limiter(HEALTH_BURST, HEALTH_PER_S, clock)

    def admits(self, address: str, head: bytes) -> bool:
        """Return True if a request that begins with these bytes is read at all: as often as its address may ask.

        A request with the token or a session is always let in, as all that come through ssh have one address.
        """
        limiter = self._health if _HEALTH_CHECK.match(head) else self._requests
        return limiter.would_allow(address) or self._has_credentials(head)

    def _has_credentials(self, head: bytes) -> bool:
        token, session = _AUTHORIZATION.search(head), _COOKIE.search(head)
        return (token is not None and self._guard.is_token(token[1].decode("latin-1").strip())) or (
            session is not None and self._guard.is_session(session[1].decode("latin-1"))
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        refusal = self._refusal(scope, Headers(scope=scope))
        try:
            await (refusal or self._app)(scope, receive, _with_headers(send))
        except ClientDisconnect:  # in the middle of a body: there is nobody to answer, and nothing is wrong here
            return

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        guard = self._guard
        is_let_in = guard.is_session(_cookie(headers)) or guard.is_token(_bearer(headers) or "")
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
        if is_let_in or not guard.needs_token or scope["path"] in OPEN:
            return None
        return self._refuse_stranger(scope, headers)

    def _refuse_stranger(self, scope: Scope, headers: Headers) -> ASGIApp:
        """Return the answer to a request without a right token. A wrong one is counted, and only a wrong one."""
        if _bearer(headers) is not None and not self._guard.may_guess(_address(scope)):
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
    """Return the token of a request; None where it brings none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _cookie(headers: Headers) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""
