"""Strangers and slow viewers do nothing to a pilot: its loop goes on and its memory is bounded."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from perception.reporting.web.address import BACKLOG
from perception.reporting.web.protocol import CONNECTIONS
from perception.reporting.web.routes import VIEWERS
from perception.reporting.web.server import WebPage
from tests.reporting.web.pilots import PATIENCE_S, WebPilot, ask, start, until

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


def test_five_hundred_slow_connections_keep_no_health_check_out(pilot: WebPilot) -> None:
    with untouched(pilot), ExitStack() as stack:
        statuses = []
        for number in range(500):
            held = stack.enter_context(connect(pilot))
            with suppress(OSError):
                held.sendall(b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            if number % 5 == 4:
                statuses.append(pilot.ask("/healthz").status)
        assert len(statuses) == 100 and statuses.count(200) >= 99


def test_a_storm_of_connections_that_come_again_at_once_keeps_no_health_check_out(page: WebPage) -> None:
    over = threading.Event()

    def come_again_and_again() -> None:
        while not over.is_set():
            with ExitStack() as stack:
                for _ in range(60):
                    if over.is_set():
                        return
                    with suppress(OSError):
                        connection = stack.enter_context(socket.create_connection(("127.0.0.1", page.port), 2))
                        connection.sendall(b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
                over.wait(0.05)

    storm = [threading.Thread(target=come_again_and_again) for _ in range(3)]
    for thread in storm:
        thread.start()
    try:
        answers = 0
        for _ in range(50):
            with suppress(OSError):
                answers += ask(page.port, "/healthz").status in (200, 503)
    finally:
        over.set()
        for thread in storm:
            thread.join()
    assert answers >= 49


def test_a_viewer_keeps_its_place_while_slow_connections_come_and_go(pilot: WebPilot) -> None:
    with untouched(pilot), ExitStack() as stack:
        viewer = stack.enter_context(connect(pilot))
        viewer.sendall(b"GET /picture.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert viewer.recv(12) == b"HTTP/1.1 200"
        first = [stack.enter_context(connect(pilot)) for _ in range(CONNECTIONS)]
        for _ in range(CONNECTIONS):
            stack.enter_context(connect(pilot))
        for connection in first[:10]:  # the oldest went first, long before their time was over
            connection.settimeout(2)
            assert ended(connection) == b""
        until(lambda: len(viewer.recv(65536)) > 0, "another picture")


@pytest.mark.parametrize("path", ["/picture.mjpeg", "/picture.jpg"])
def test_head_of_a_picture_holds_no_place_of_a_viewer(pilot: WebPilot, path: str) -> None:
    with untouched(pilot), ExitStack() as stack:
        for _ in range(2 * VIEWERS):
            viewer = stack.enter_context(connect(pilot))
            viewer.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert viewer.recv(12) == b"HTTP/1.1 200"
        until(lambda: pilot.ask("/picture.jpg").status == 200, "a picture")


@pytest.mark.parametrize("length", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_a_body_that_is_cut_off_is_no_fault_of_the_page(pilot: WebPilot, length: bytes) -> None:
    with untouched(pilot):
        for _ in range(3):
            with connect(pilot) as connection:
                connection.sendall(b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\n" + length + b"\r\n\r\n5\r\ntok")
        until(lambda: pilot.ask("/sign-in").status == 200, "an answer")
    assert "ERROR" not in pilot.log.read_text()
    assert "has a fault" not in pilot.log.read_text()


@pytest.mark.parametrize("order", [0, 1])
def test_a_request_of_two_lengths_ends_its_connection(pilot: WebPilot, order: int) -> None:
    lengths = [b"Content-Length: 6", b"Transfer-Encoding: chunked"]
    both = b"\r\n".join(lengths[:: 1 if order else -1])
    with untouched(pilot), connect(pilot) as connection:
        smuggled = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.sendall(b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\n" + both + b"\r\n\r\n0\r\n\r\n" + smuggled)
        answers = ended(connection)
    assert answers.startswith(b"HTTP/1.1 400")
    assert answers.count(b"HTTP/1.1") == 1


def test_a_taken_port_ends_the_start_with_its_sentence(pilot: WebPilot, tmp_path: Path) -> None:
    log = tmp_path / "stderr"
    second = start(tmp_path, log, f"bind: '127.0.0.1:{pilot.port}'")
    assert second.wait(PATIENCE_S) == 3
    assert f"The page cannot be served at 127.0.0.1:{pilot.port} (Address already in use)." in log.read_text()
    assert "Traceback" not in log.read_text()
