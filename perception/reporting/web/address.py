"""The address on which the server listens, and the names under which it answers."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from perception.core.errors import BusyError, SettingsError
from perception.core.redact import redact_address

SEND_BUFFER_BYTES = 256 * 1024
"""A viewer that stops reading keeps no more than this in the kernel; by itself it would take some MB."""
BACKLOG = 16


@dataclass(frozen=True, slots=True)
class Address:
    """A host, as it was written, and a port; 0 for any free one."""

    host: str
    port: int


def parse(text: str) -> Address:
    """Parse `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`. Raises SettingsError for anything else."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+)):(\d{1,5})", text.strip(), re.ASCII)
    if not match or int(match[3]) > 65_535:
        raise SettingsError(
            f"web.bind is {redact_address(text)!r}, not an address and a port", "Write it as 127.0.0.1:8080."
        )
    return Address(match[1] or match[2], int(match[3]))


def listen(address: Address) -> socket.socket:
    """Return a listening socket.

    Raises BusyError where the address is taken or not one of this machine, which it may be yet; SettingsError for what
    can never be had.
    """
    shown = f"{address.host}:{address.port}"
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsError(f"web.bind: {shown} is no address ({error.strerror})", "Write 127.0.0.1:8080.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        listener.bind(place)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        kind_of_fault = BusyError if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL) else SettingsError
        raise kind_of_fault(
            f"The page cannot be served at {shown} ({error.strerror})",
            f"See who is there with: ss -ltnp 'sport = :{address.port}'; or set web.bind to another port.",
        ) from None
    return listener


def is_loopback(listener: socket.socket) -> bool:
    """Return True if this machine alone reaches the listener."""
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


class Names:
    """The names under which the server answers.

    A page of another site can make a name of its own lead here (DNS rebinding), and would then be read as one of ours.
    It cannot do so with an address in numbers, nor with a name that this machine itself has.
    """

    def __init__(self, host: str, more: Sequence[str]) -> None:
        """host: where it listens. more: further names, of a proxy or of the network."""
        machine = socket.gethostname().lower()
        self._names = {"localhost", host.lower(), machine, f"{machine}.local", *(name.lower() for name in more)}

    def know(self, header: str) -> bool:
        """Return True for a Host header, with or without a port, that is one of ours."""
        match = re.fullmatch(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::\d{1,5})?", header.strip())
        if not match:
            return False
        name = (match[1] or match[2] or "").lower().rstrip(".")
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
