"""Starts and ends the RTSP server of perception/lab, which needs the system's Python."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from perception.system.home import ROOT
from tests.needs import path_of

SERVER = ROOT / "perception" / "lab" / "soak" / "rtsp_server.py"


class RtspServer:
    """One running server. url: without credentials."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._process = self._start()
        self.url = self._first_line()

    def _start(self, *more: str) -> subprocess.Popen[str]:
        command = [path_of("rtsp-server"), str(SERVER), *self._options, *more]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def _first_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line.startswith("rtsp://"), "the RTSP server did not start"
        return line

    def with_user(self, user: str) -> str:
        """The URL with USER:PASSWORD in it."""
        return self.url.replace("://", f"://{user}@")

    def stall(self) -> None:
        """It keeps its connections and says nothing more."""
        self._process.send_signal(signal.SIGSTOP)

    def proceed(self) -> None:
        """It goes on after a stall."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone at once; its address refuses."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(urlsplit(self.url).port or 0)

    def restart(self, *options: str) -> None:
        """It is there again, under the same address; options go before those of the first start."""
        self._process = self._start("--port", str(self.port), *options)
        assert self._first_line() == self.url


StartRtsp = Callable[..., RtspServer]


@pytest.fixture
def rtsp() -> Iterator[StartRtsp]:
    """Starts an RTSP server with the options of rtsp_server.py; it is ended after the test."""
    started: list[RtspServer] = []

    def start(*options: str) -> RtspServer:
        started.append(RtspServer(*options))
        return started[-1]

    yield start
    for server in started:
        server.kill()
