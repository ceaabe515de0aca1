"""What strangers and slow viewers may do to a pilot: nothing. Its loop goes on and its memory is bounded."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from perception.reporting.web.address import BACKLOG
from perception.reporting.web.answers import VIEWERS
from perception.reporting.web.protocol import CONNECTIONS
from tests.reporting.web.pilots import PATIENCE_S, WebPilot, start, until

GROWTH_MIB = 48.0
"""More than buffers, threads and caches of a busy server take, less than what the abuse below would."""
HUGE = 10 * 2**20


@contextmanager
def untouched(pilot: WebPilot) -> Iterator[None]:
    """The loop detects before, during and after the block, and the memory of the pilot stays what it was."""
    pilot.wait_for_frames()
    before_mib, began = pilot.resident_mib(), pilot.frames()
    yield
    grown_mib = pilot.resident_mib() - before_mib
    until(lambda: pilot.ask("/healthz").status == 200, "an answer")
    until(lambda: pilot.frames() > began, "frames in the meantime")
    assert grown_mib < GROWTH_MIB
    pilot.wait_for_frames()
    assert pilot.process.poll() is None


def connect(pilot: WebPilot, receive_bytes: int = 0) -> socket.socket:
    connection = socket.socket()
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", pilot.port))
    return connection


def ended(connection: socket.socket) -> bytes:
    """All that the server sends until it ends the connection."""
    text = b""
    try:
        while part := connection.recv(65536):
            text += part
    except ConnectionResetError:
        pass
    return text


def test_viewers_that_stop_reading_are_cut_off_and_make_room(pilot: WebPilot) -> None:
    with untouched(pilot), ExitStack() as stack:
        for _ in range(VIEWERS):
            viewer = stack.enter_context(connect(pilot, 4096))
            viewer.sendall(b"GET /picture.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: pilot.ask("/picture.mjpeg").status == 503, "all places taken", 20)
        until(lambda: pilot.ask("/picture.jpg").status == 200, "a place that is free again")


def test_two_hundred_connections_at_once(pilot: WebPilot) -> None:
    with untouched(pilot), ExitStack() as stack:
        held = []
        for _ in range(200):
            try:
                held.append(stack.enter_context(connect(pilot)))
                held[-1].sendall(b"GET /api/state HTTP/1.1\r\nHost: localhost\r\n")  # and never the end of it
            except OSError:
                continue
        assert len(held) > CONNECTIONS + BACKLOG
        for connection in held:  # refused at once, or told to go after five seconds
            assert ended(connection) == b""


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * HUGE,
        b"GET /" + b"a" * HUGE + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-Many: 1\r\n" * (HUGE // 11),
        b"\x16\x03\x01" + b"\0" * HUGE,
    ],
    ids=["a header of 10 MB", "a path of 10 MB", "a million headers", "no HTTP"],
)
def test_a_huge_request_is_refused(pilot: WebPilot, text: bytes) -> None:
    with untouched(pilot), connect(pilot) as connection:
        try:
            connection.sendall(text)
        except ConnectionError:
            return
        assert ended(connection)[:12] in (b"", b"HTTP/1.1 400")


def test_a_huge_body_is_not_kept(pilot: WebPilot) -> None:
    with untouched(pilot), connect(pilot) as connection:
        connection.sendall(b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % HUGE)
        try:
            connection.sendall(b"x" * HUGE)
        except ConnectionError:
            return
        assert b" 200 " not in ended(connection)[:16]


def test_a_taken_port_ends_the_start_with_its_sentence(pilot: WebPilot, tmp_path: Path) -> None:
    log = tmp_path / "stderr"
    second = start(tmp_path, log, f"bind: '127.0.0.1:{pilot.port}'")
    assert second.wait(PATIENCE_S) == 3
    assert f"The page cannot be served at 127.0.0.1:{pilot.port} (Address already in use)." in log.read_text()
    assert "Traceback" not in log.read_text()
