"""The gate: who may ask the server, under which name, how often; and the headers of every answer."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message

from perception.core.errors import SettingsError
from perception.reporting.web.address import Names
from perception.reporting.web.gate import HEALTH_BURST, REQUESTS_BURST, REQUESTS_PER_S, Gate
from perception.reporting.web.server import WebPage
from perception.reporting.web.tokens import Guard, Limiter
from perception.settings.model import WebSettings
from tests.doubles.fakes import FakeClock
from tests.reporting.web.pilots import ask

TOKEN = "correct-horse-battery-staple"


def test_every_answer_has_the_headers_that_protect_it(page: WebPage) -> None:
    for path in ("/", "/api/state", "/metrics", "/page/page.js", "/none", "/sign-in"):
        headers = ask(page.port, path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert not [name for name in headers if name.startswith("access-control") or name == "server"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "localhost:9"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
    ],
)
def test_another_site_gets_nothing(page: WebPage, headers: dict[str, str], status: int) -> None:
    assert ask(page.port, "/api/state", headers=headers).status == status


def test_a_burst_of_requests_is_slowed_down_for_its_address_alone() -> None:
    clock = FakeClock()
    gate = Gate(PlainTextResponse("through"), Names("127.0.0.1", ()), Guard(None), clock)

    async def status(address: str) -> int:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request"}

        headers = [(b"host", b"localhost")]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": (address, 1)}
        await gate(scope, receive, send)
        return int(sent[0]["status"])

    async def burst(count: int, address: str) -> list[int]:
        return [await status(address) for _ in range(count)]

    assert asyncio.run(burst(REQUESTS_BURST + 2, "192.0.2.1")) == [200] * REQUESTS_BURST + [429] * 2
    assert asyncio.run(burst(1, "192.0.2.2")) == [200]
    clock.now += 1
    assert asyncio.run(burst(REQUESTS_PER_S + 1, "192.0.2.1")) == [200] * REQUESTS_PER_S + [429]


def test_strangers_see_the_form_to_sign_in_alone(guarded: WebPage) -> None:
    for path in ("/api/state", "/metrics", "/picture.jpg", "/picture.mjpeg", "/page/page.js"):
        answer = ask(guarded.port, path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    answer = ask(guarded.port, "/")
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in")
    for path in ("/sign-in", "/healthz", "/page/page.css"):
        assert ask(guarded.port, path).status == 200


def test_the_token_gives_a_cookie_that_lets_in(guarded: WebPage, logged: list[str]) -> None:
    answer = ask(guarded.port, "/sign-in", "POST", f"token={TOKEN}".encode())
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    session = {"Cookie": cookie.partition(";")[0]}
    assert ask(guarded.port, "/", headers=session).status == 200
    assert json.loads(ask(guarded.port, "/api/state", headers=session).body)["token"] is True
    out = ask(guarded.port, "/sign-out", "POST", headers=session)
    assert (out.status, out.headers["location"]) == (303, "/sign-in")
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert TOKEN not in "".join(logged)


def test_guesses_are_refused_and_slowed_down(guarded: WebPage) -> None:
    bodies = [b"token=wrong", b"", b"token=" + b"x" * 10_000, b"\xff\xfe=1&&&&", b"token=%00"]
    for body in bodies:
        answer = ask(guarded.port, "/sign-in", "POST", body)
        assert answer.status == 401
        assert "That is not the token." in answer.text
    answer = ask(guarded.port, "/sign-in", "POST", b"token=wrong")
    assert (answer.status, answer.headers["retry-after"]) == (429, "60")
    assert ask(guarded.port, "/sign-in", "POST", f"token={TOKEN}".encode()).status == 303


def test_a_scraper_comes_in_by_bearer_and_is_never_slowed_down(guarded: WebPage) -> None:
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert [ask(guarded.port, "/metrics", headers=right).status for _ in range(20)] == [200] * 20
    wrong = {"Authorization": "Bearer wrong"}
    assert [ask(guarded.port, "/metrics", headers=wrong).status for _ in range(6)] == [401] * 5 + [429]
    assert [ask(guarded.port, "/metrics", headers=right).status for _ in range(20)] == [200] * 20


class Asker:
    """A gate with nothing behind it, asked without a network."""

    def __init__(self, clock: FakeClock) -> None:
        self.guard = Guard(TOKEN, clock=clock)
        self.gate = Gate(PlainTextResponse("through"), Names("127.0.0.1", ()), self.guard, clock)

    def ask(self, path: str, **headers: str) -> int:
        """The status of the answer to somebody at 127.0.0.1, where the head of the request is read at all; else 0."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in {"host": "localhost", **headers}.items())
        if not self.gate.admits("127.0.0.1", f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()):
            return 0
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request"}

        pairs = [(b"host", b"localhost"), *((name.lower().encode(), value.encode()) for name, value in headers.items())]
        scope = {"type": "http", "method": "GET", "path": path, "headers": pairs, "client": ("127.0.0.1", 1)}
        asyncio.run(self.gate(scope, receive, send))
        return int(sent[0]["status"])


def test_guesses_of_one_lock_out_nobody_who_knows_the_token() -> None:
    clock = FakeClock()
    asker = Asker(clock)
    session = f"pilot_session={asker.guard.new_session()}"
    wrong, right = [], []
    for _ in range(600):
        clock.now += 1
        wrong.append(asker.ask("/metrics", authorization="Bearer wrong"))
        right += [asker.ask("/metrics", authorization=f"Bearer {TOKEN}"), asker.ask("/api/state", cookie=session)]
    assert right == [200] * 1200
    assert set(wrong) == {401, 429} and wrong.count(401) < 60


def test_a_flood_from_their_own_address_keeps_out_neither_health_checks_nor_who_knows_the_token() -> None:
    asker = Asker(FakeClock())
    flood = [asker.ask("/metrics") for _ in range(REQUESTS_BURST + 500)]
    assert flood == [401] * REQUESTS_BURST + [0] * 500  # the rest is not even read
    assert [asker.ask(path) for path in ("/healthz", "/readyz")] == [200] * 2
    assert asker.ask("/metrics", authorization=f"Bearer {TOKEN}") == 200
    assert asker.ask("/metrics", Authorization=f"bearer {TOKEN} ", accept="*/*") == 200
    assert asker.ask("/api/state", cookie=f"a=b; pilot_session={asker.guard.new_session()}") == 200
    for stranger in ({"authorization": "Bearer wrong"}, {"cookie": "pilot_session=1.x"}, {"x": f"Bearer {TOKEN}"}):
        assert asker.ask("/metrics", **stranger) == 0


def test_a_flood_of_health_checks_is_slowed_down_too() -> None:
    asker = Asker(FakeClock())
    assert [asker.ask("/healthz") for _ in range(HEALTH_BURST + 1)] == [200] * HEALTH_BURST + [0]
    assert asker.ask("/page/page.css") == 200


def test_a_request_of_an_address_over_its_limit_is_refused_before_it_is_read(
    page: WebPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Limiter, "would_allow", lambda *_: False)
    with socket.create_connection(("127.0.0.1", page.port)) as connection:
        connection.settimeout(2)
        connection.sendall(b"GET /api/state HTTP/1.1\r\nHost: loc")  # and never the rest
        assert connection.recv(100).startswith(b"HTTP/1.1 429 ")


def test_an_address_that_others_reach_needs_a_token() -> None:
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0 can be reached by others, and there is no token\. Make one"):
        WebPage(WebSettings(), "0.0.0.0:0", {})
    page = WebPage(WebSettings(), "0.0.0.0:0", {"PILOT_WEB_TOKEN": TOKEN})
    assert ask(page.port, "/api/state").status == 401
    page.close()
