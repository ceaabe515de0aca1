"""The broker of `benchmark.py broker` behaves until it is told to attack."""

from __future__ import annotations

import socket

from perception.lab.benchmark.neighbours.broker_cost import HostileBroker
from perception.lab.benchmark.neighbours.hostile_broker import WELCOME

CONNECT = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01x"


def test_it_attacks_a_connection_only_while_it_is_told_to() -> None:
    with HostileBroker(core=0) as broker, socket.create_connection(("127.0.0.1", broker.port), 10) as pilot:
        pilot.sendall(CONNECT)
        welcomed = pilot.recv(len(WELCOME))
        pilot.setblocking(False)
        silent = False
        try:
            pilot.recv(1)
        except BlockingIOError:
            silent = True
        pilot.settimeout(10)
        with broker.attacks(""):
            harm = pilot.recv(4096)
        while pilot.recv(65_536):  # what was on its way
            pass
    assert welcomed == WELCOME
    assert silent
    assert harm[0] == 0x34  # PUBLISH of QoS 2
    assert broker.attacked == 1
