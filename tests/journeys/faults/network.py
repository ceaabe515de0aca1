"""Faults between the pilot and a camera on the network, with a real RTSP server."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from tests.journeys.faults.lab import RECOVERED, Lab, Needs, Outcome, Row

SECRET = "s3cret:p@ss"
FIRST_LIVE = "Source live: "


def server_stopped(lab: Lab) -> Outcome:
    """The server is killed, and started again after the loss was noticed."""
    with lab.server() as server, lab.pilot(server.url) as pilot:
        pilot.wait_for_frames(3)
        server.kill()
        pilot.wait_for("Source lost after ")
        server.restart()
        found = pilot.recovered("RTSP server killed, started again", "Source lost after ", time.monotonic())
        pilot.wait_for("Source live after ")
        assert lab.records() == sorted(set(lab.records()))
        return found


def server_frozen(lab: Lab) -> Outcome:
    """The server keeps its connection and says nothing."""
    with lab.server() as server, lab.pilot(server.url) as pilot:
        pilot.wait_for_frames(3)
        server.stall()
        pilot.wait_for("Source lost after ")
        server.proceed()
        return pilot.recovered("RTSP server frozen (SIGSTOP), then let go", "Source lost after ", time.monotonic())


def other_size(lab: Lab) -> Outcome:
    """The camera comes back with pictures of another size."""
    with lab.server() as server, lab.pilot(server.url) as pilot:
        pilot.wait_for_frames(3)
        server.kill()
        pilot.wait_for("Source lost after ")
        server.restart("--width", "640", "--height", "480")
        found = pilot.recovered("RTSP server back with another size", "another size", time.monotonic())
        assert pilot.text().count("have another size: 320x240 -> 640x480") == 1
        return found


@contextmanager
def garbage(port: int = 0) -> Iterator[int]:
    """A port on which everybody gets noise; its number."""
    noise = bytes(range(256)) * 64
    with closing(socket.create_server(("127.0.0.1", port))) as listening:
        listening.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                with connection:
                    try:
                        connection.sendall(noise)
                    except OSError:
                        continue  # the other side had enough

        server = threading.Thread(target=serve)
        server.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            server.join()


def garbage_at_the_start(lab: Lab) -> Outcome:
    """What answers is no camera."""
    with garbage() as port, lab.pilot(f"rtsp://127.0.0.1:{port}/road") as pilot:
        return pilot.ended("garbage on the port of the camera, at the start", "did not open: no answer")


def garbage_meanwhile(lab: Lab) -> Outcome:
    """The camera is away, and what answers in its place is none."""
    with lab.server() as server, lab.pilot(server.url) as pilot:
        pilot.wait_for_frames(3)
        server.kill()
        with garbage(server.port):
            pilot.wait_for("Source lost after ")
            pilot.wait_for("Next attempt", after=len(pilot.lines()))
        server.restart()
        return pilot.recovered("garbage on the port of the camera, meanwhile", "Source lost after ", time.monotonic())


def bad_credentials(lab: Lab) -> Outcome:
    """The password is wrong."""
    with lab.server("--user", "admin:right") as server, lab.pilot(server.with_user("admin:wrong")) as pilot:
        found = pilot.ended("wrong password for the camera", "wrong credentials")
        assert "admin" not in pilot.text()
        return found


def camera_boots_later(lab: Lab) -> Outcome:
    """With source.wait the camera may come after the pilot."""
    with lab.server() as server:
        server.kill()
        with lab.pilot(server.url, source={"wait": True}) as pilot:
            pilot.wait_for("waiting for camera")
            server.restart()
            return pilot.recovered("camera that boots after the pilot", "waiting for camera", time.monotonic())


def dns_silent(lab: Lab) -> Outcome:
    """The name server takes questions and answers none: the resolver of the C library hangs, and cannot be ended."""
    if os.geteuid():
        pytest.skip("no permission to mount another resolv.conf")
    address = f"127.53.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"  # the port is given, and others may run this, too
    conf = lab.folder / "resolv.conf"
    conf.write_text(f"nameserver {address}\n")
    # A mount namespace of its own: nobody else sees this resolv.conf.
    mount = f'mount --bind {conf} "$(realpath /etc/resolv.conf)" && exec "$@"'
    own = ("unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh")
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sink:
        sink.bind((address, 53))
        uri = "rtsp://camera.example/road"
        with lab.pilot(uri, before=own, source={"open_timeout_s": 1.0}) as pilot:
            found = pilot.ended("name server that does not answer", "did not open within 1 s")
            sink.settimeout(1)
            assert b"camera\x07example" in sink.recv(512), "it was asked"
            return found


def pilot_stopped(lab: Lab) -> Outcome:
    """The pilot itself is stopped for longer than a source may be silent."""
    with lab.server() as server, lab.pilot(server.url) as pilot:
        pilot.wait_for_frames(3)
        pilot.process.send_signal(signal.SIGSTOP)
        time.sleep(3)
        pilot.process.send_signal(signal.SIGCONT)
        found = pilot.recovered("pilot stopped for 3 s (SIGSTOP, SIGCONT)", FIRST_LIVE, time.monotonic())
        assert lab.records() == sorted(set(lab.records()))
        return found


def credentials(lab: Lab) -> Outcome:
    """Nothing that a run writes shows the password, whatever happens to the camera."""
    with lab.server("--user", f"admin:{SECRET}") as server:
        with lab.pilot(server.with_user(f"admin:{SECRET}"), "--record", "out.mp4") as pilot:
            pilot.wait_for_frames(3)
            server.kill()
            pilot.wait_for("Source lost after ")
            server.restart()
            found = pilot.recovered("password in the URI, camera lost and back", "Source lost", time.monotonic())
        for index, action in enumerate(("run", "check")):
            with lab.pilot(server.with_user("admin:s3cret:wr0ng"), action, name=f"refused{index}") as pilot:
                assert pilot.process.wait(60) == 3
    written = [path for path in lab.folder.rglob("*") if path.is_file() and path.name != "settings.yaml"]
    assert {"stderr.txt", "stdout.txt", "pilot.log", "frames.jsonl", "out.mp4"} <= {path.name for path in written}
    assert [str(path) for path in written if b"s3cret" in path.read_bytes()] == []
    return found


ROWS: dict[Row, str] = {
    server_stopped: RECOVERED,
    server_frozen: RECOVERED,
    other_size: RECOVERED,
    garbage_at_the_start: "exit 3",
    garbage_meanwhile: RECOVERED,
    bad_credentials: "exit 3",
    camera_boots_later: RECOVERED,
    dns_silent: "exit 3",
    pilot_stopped: RECOVERED,
    credentials: RECOVERED,
}
NEEDS: Needs = {row: ("rtsp-server",) for row in ROWS if row not in (garbage_at_the_start, dns_silent)}
