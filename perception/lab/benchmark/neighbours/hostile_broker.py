"""An MQTT broker that attacks when it is told to, as a process of its own: hostile_broker.py.

Its first line on stdout is its port on loopback. "harm" on stdin makes it attack the connection that it has and those
to come, each with the next kind of ATTACKS, "peace" ends that; each line on stdout after that is the bytes of harm
sent so far and the connections that were attacked.
"""

from __future__ import annotations

import itertools
import socket
import sys
import threading
from contextlib import suppress

WELCOME = b"\x20\x02\x00\x00"  # CONNACK: accepted
GIANT = b"\xff\xff\xff\x7f"  # the longest packet that MQTT can announce, 256 MB
BLOCK = 65_536
PUBLISH_2 = b"".join(b"\x34\x19\x00\x01t" + number.to_bytes(2, "big") + b"x" * 20 for number in range(1, BLOCK // 27))
ATTACKS = ((b"", PUBLISH_2), (b"\x30" + GIANT, b"x" * BLOCK), (b"\x40" + GIANT, b"x" * BLOCK))
"""The beginning of each, and the bytes repeated after it: a QoS 2 flood, a giant PUBLISH, a giant PUBACK."""


class Broker:
    """Takes one connection after the other, and attacks while it is told to."""

    def __init__(self) -> None:
        self.harm = threading.Event()
        self.sent = self.attacked = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])

    def serve(self) -> None:
        """Serve until the process ends."""
        attacks = itertools.cycle(ATTACKS)
        while True:
            connection, _ = self._server.accept()
            with connection, suppress(OSError):
                connection.recv(BLOCK)
                connection.sendall(WELCOME)
                threading.Thread(target=_swallow, args=(connection,), daemon=True).start()
                self.harm.wait()
                self.attacked += 1
                self._attack(connection, *next(attacks))
                connection.shutdown(socket.SHUT_RDWR)  # else it stays open while the other thread reads it

    def _attack(self, connection: socket.socket, first: bytes, more: bytes) -> None:
        connection.sendall(first)
        while self.harm.is_set():
            self.sent += connection.send(more)


def _swallow(connection: socket.socket) -> None:
    """Read what the pilot says, and throw it away."""
    with suppress(OSError):
        while connection.recv(BLOCK):
            pass


def main() -> None:
    """Serve until stdin ends."""
    broker = Broker()
    print(broker.port, flush=True)
    threading.Thread(target=broker.serve, daemon=True).start()
    for line in sys.stdin:
        broker.harm.set() if line.strip() == "harm" else broker.harm.clear()
        print(broker.sent, broker.attacked, flush=True)


if __name__ == "__main__":
    main()
