"""Tells systemd that the pilot is ready, that it lives, how it is doing: the protocol of sd_notify(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

from loguru import logger

BEAT_S = 1.0
EXTENSION_S = 60.0
"""The time that the start may still take, told again with every status."""
STATUS_S = 10.0
SEND_S = 0.1
"""The time that a message may wait for a service manager that does not take it; then it is lost."""


class Heartbeat:
    """Speaks to the service manager that started this process; silent where none did.

    The socket is the one that NOTIFY_SOCKET names, a path or, after an @, an abstract name. Heartbeats are sent where
    WATCHDOG_USEC asks for them and WATCHDOG_PID, if set, is this process.
    """

    def __init__(self, environment: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        """clock: monotonic seconds."""
        self._clock = clock
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if self._address else None
        if self._socket:
            self._socket.settimeout(SEND_S)
        self._watched = self._socket is not None and _is_watched(environment)
        self._beats_at = clock() if self._socket else float("inf")
        self._status: object = None
        self._status_at = 0.0
        self._extends = False
        self._unheard = False

    def __enter__(self) -> Heartbeat:
        self.status("starting")
        return self

    def __exit__(self, *_: object) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def beat(self) -> bool:
        """Send WATCHDOG=1, at most once a second, as the loop turns. True if it was time for one."""
        now = self._clock()
        if now < self._beats_at:
            return False
        self._beats_at = now + BEAT_S
        if self._watched:
            self._send("WATCHDOG=1")
        return True

    def status(self, text: str, kind: object = None) -> None:
        """Send STATUS=text, one line for people; sent where the kind (by default the text) changed, and every 10 s."""
        now = self._clock()
        kind = text if kind is None else kind
        if kind != self._status or now - self._status_at >= STATUS_S:
            self._status, self._status_at = kind, now
            self._send(f"STATUS={_one_line(text)}")

    def ready(self) -> None:
        """Send READY=1: the start, or the reading of new settings, is over."""
        self._send("READY=1")

    def extend(self, text: str) -> None:
        """Ask for more time to start: EXTEND_TIMEOUT_USEC with STATUS=text, at most every 10 s."""
        now = self._clock()
        if now - self._status_at >= STATUS_S or not self._extends:
            self._extends, self._status, self._status_at = True, text, now
            self._send(f"EXTEND_TIMEOUT_USEC={EXTENSION_S * 1e6:.0f}\nSTATUS={_one_line(text)}")

    def reloading(self) -> None:
        """Send RELOADING=1: new settings are read from here on until `ready`."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Send STOPPING=1: the pilot is about to end."""
        self._send("STOPPING=1\nSTATUS=stopping")

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode("utf-8", "replace"), self._address)
        except OSError as error:
            if not self._unheard:
                logger.warning(f"The service manager does not take the messages of the pilot ({error})")
            self._unheard = True
        else:
            self._unheard = False


def _address(name: str) -> str:
    """Return the address for the socket module; empty where no service manager listens."""
    if name.startswith("@"):
        return f"\0{name[1:]}"
    if name and not name.startswith("/"):
        logger.warning(f"NOTIFY_SOCKET is {name!r}, neither a path nor an abstract name: nothing is told to systemd")
        return ""
    return name


def _is_watched(environment: Mapping[str, str]) -> bool:
    wanted, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if pid and pid != str(os.getpid()):
        return False
    if wanted and not (wanted.isdecimal() and int(wanted) > 0):
        logger.warning(f"WATCHDOG_USEC is {wanted!r}, not a number of microseconds: no heartbeat is sent")
        return False
    return bool(wanted)


def _one_line(text: str) -> str:
    # A line break would begin another assignment of the protocol.
    return " ".join(text.split())
