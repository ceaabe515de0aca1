"""A stand-in for systemd: a datagram socket that receives messages, and a process that is watched."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from perception.system.home import ROOT

PILOT = ROOT / "pilot.py"
PATIENCE_S = 60.0
"""How long a test waits for what must come; no measure of how fast it comes."""
TOLD = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM", "DISPLAY", "WAYLAND_DISPLAY")


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Fails, naming `what`, where it does not become true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Manager:
    """Listens on a notify socket. `said`: every assignment it got, in order."""

    def __init__(self, address: str) -> None:
        """address: a path, or an abstract name after an @."""
        self.address = address
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while message := self._socket.recv(65536):
            self.said += message.decode("utf-8").split("\n")

    def close(self) -> None:
        """An empty datagram ends the thread."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def tell(self, assignment: str) -> None:
        """Says something to itself: once it is heard, so is all that was said before."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(assignment.encode(), self._socket.getsockname())

    def wait_for(self, start: str, since: int = 0) -> str:
        """The first assignment from `since` on that begins so."""
        wait_until(lambda: any(line.startswith(start) for line in self.said[since:]), f"{start} after {self.said}")
        return next(line for line in self.said[since:] if line.startswith(start))


@contextmanager
def manager(address: str) -> Iterator[Manager]:
    """A manager that listens until the end of the block."""
    listening = Manager(address)
    try:
        yield listening
    finally:
        listening.close()


@dataclass
class Running:
    """A pilot that runs, and what it has written."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        """All of stderr so far."""
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, said: str, times: int = 1) -> None:
        """Until the text was said so often."""
        wait_until(
            lambda: self.text.count(said) >= times or self.process.poll() is not None, f"{said!r} in {self.text}"
        )
        assert self.text.count(said) >= times, self.text

    def end(self, number: int) -> int:
        """The exit code after that signal."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@contextmanager
def process(folder: Path, command: list[str], told: dict[str, str] | None = None) -> Iterator[Running]:
    """The command in `folder`, in a session of its own, killed at the end of the block if it still runs.

    told: what the manager puts into the environment.
    """
    environment = {name: value for name, value in os.environ.items() if name not in TOLD}
    log = folder / "stderr.txt"
    with log.open("wb") as output:
        started = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, "PYTHONPATH": str(ROOT), **(told or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Running(started, log)
    finally:
        started.kill()
        started.wait()


def running(
    folder: Path, *arguments: str, told: dict[str, str] | None = None, script: Path = PILOT
) -> AbstractContextManager[Running]:
    """A pilot in `folder` on its x.yaml, without a terminal, as services are."""
    return process(folder, [sys.executable, str(script), "--config", "x.yaml", *arguments], told)
