"""A broker that means harm, and another device that has the same name."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from perception.core.source_state import SourceState
from perception.reporting.mqtt import link
from perception.reporting.mqtt.packet_filter import MAX_BYTES, PUBACK, SPARE_PINGS, PacketFilter, UnexpectedPacket
from perception.reporting.mqtt.sink import MqttSink
from perception.settings.model import MqttSettings
from tests.doubles.fakes import FakeClock, make_report
from tests.journeys.service.manager import wait_until
from tests.reporting.mqtt.broker import broker, listener

CONNACK_YES = b"\x20\x02\x00\x00"
FLOOD_S = 1.0
GROWTH_MIB = 5.0


class HostileBroker:
    """Takes connections on loopback, answers CONNECT, and then sends one thing over and over for a second."""

    def __init__(self, packet: bytes, more: bytes = b"", answer: bytes = CONNACK_YES) -> None:
        """more: what follows the packet, again and again."""
        self._packet, self._more, self._answer = packet, more, answer
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.connections = 0
        self.sent = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.connections += 1
                with connection, suppress(OSError):
                    connection.settimeout(FLOOD_S)
                    connection.recv(4096)
                    self._attack(connection)

    def _attack(self, connection: socket.socket) -> None:
        connection.sendall(self._answer + self._packet)
        ends_at = time.monotonic() + FLOOD_S
        while time.monotonic() < ends_at:
            if self._more:
                self.sent += connection.send(self._more)
            elif not connection.recv(4096):  # what the pilot says
                return

    def close(self) -> None:
        self._server.close()


@contextmanager
def hostile(packet: bytes, more: bytes = b"", answer: bytes = CONNACK_YES) -> Iterator[HostileBroker]:
    """A hostile broker until the end of the block."""
    found = HostileBroker(packet, more, answer)
    try:
        yield found
    finally:
        found.close()


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def warnings(logged: list[str]) -> list[str]:
    return [line for line in logged if line.startswith("WARNING")]


def publish(qos: int, number: int = 7, size: int = 20) -> bytes:
    body = b"\x00\x01t" + (number.to_bytes(2, "big") if qos else b"") + b"x" * size
    return bytes([0x30 | qos << 1, len(body)]) + body


MANY = 400
GIANT = b"\xff\xff\xff\x7f"  # 256 MB, the most that MQTT can announce
HARM = {
    "PUBLISH of QoS 0": (publish(0), publish(0) * MANY, "it sends PUBLISH"),
    "PUBLISH of QoS 1": (publish(1), b"".join(publish(1, n) for n in range(1, MANY)), "it sends PUBLISH"),
    "PUBLISH of QoS 2": (publish(2), b"".join(publish(2, n) for n in range(1, MANY)), "it sends PUBLISH"),
    "256 MB of PUBLISH": (b"\x30" + GIANT, b"x" * 65536, "it sends PUBLISH"),
    "256 MB of PUBACK": (b"\x40" + GIANT, b"x" * 65536, "it announces PUBACK of more than 1024 bytes"),
    "256 MB of PINGRESP": (b"\xd0" + GIANT, b"x" * 65536, "it announces PINGRESP of more than 1024 bytes"),
    "a length without end": (b"\x40" + b"\xff" * 9, b"\xff" * 65536, "it announces PUBACK of more than 1024 bytes"),
    "a length of many empty bytes": (b"\x40\x80\x80\x80\x01", b"", "it announces PUBACK of more than 1024 bytes"),
    "2 KiB of PUBACK": (b"\x40\x80\x10", b"x" * 65536, "it announces PUBACK of more than 1024 bytes"),
    "many PUBACK": (b"", b"\x40\x02\x00\x63" * MANY, "it sends more of PUBACK than was asked for"),
    "many PINGRESP": (b"", b"\xd0\x00" * MANY, "it sends more of PINGRESP than was asked for"),
    "many CONNACK": (b"", CONNACK_YES * MANY, "it sends more of CONNACK than was asked for"),
    "SUBACK": (b"\x90\x03\x00\x01\x00", b"", "it sends SUBACK"),
    "UNSUBACK": (b"\xb0\x02\x00\x01", b"", "it sends UNSUBACK"),
    "PUBREC": (b"\x50\x02\x00\x01", b"", "it sends PUBREC"),
    "PUBREL": (b"\x62\x02\x00\x01", b"", "it sends PUBREL"),
    "PUBCOMP": (b"\x70\x02\x00\x01", b"", "it sends PUBCOMP"),
    "CONNECT": (b"\x10\x02\x00\x01", b"", "it sends CONNECT"),
    "no kind at all": (b"\x00" * 64, b"", "it sends a packet of kind 0"),
    "no MQTT": (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 20, b"", "it sends"),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_was_not_asked_for_ends_the_connection_and_is_kept_nowhere(harm: str, logged: list[str]) -> None:
    packet, more, words = HARM[harm]
    with hostile(packet, more) as attacker:
        told = MqttSink(MqttSettings(host="127.0.0.1", port=attacker.port))
        before = resident_mib()
        told.follow(lambda: SourceState("live", 0.0))
        wait_until(lambda: bool(warnings(logged)), "the warning")
        threading.Event().wait(FLOOD_S)
        grown = resident_mib() - before
        connections = attacker.connections
        told.close()
    assert [words in line for line in warnings(logged)] == [True]
    assert grown < GROWTH_MIB
    assert connections <= 3
    assert attacker.sent < 32 * 2**20  # what the kernel takes before it is told that nobody reads
    assert told._link._client._in_messages == {}


def test_a_giant_before_the_connection_is_made_is_refused_too(logged: list[str]) -> None:
    with hostile(b"", b"x" * 65536, b"\x20" + GIANT) as attacker:
        told = MqttSink(MqttSettings(host="127.0.0.1", port=attacker.port))
        told.follow(lambda: SourceState("live", 0.0))
        wait_until(lambda: bool(warnings(logged)), "the warning")
        told.close()
    assert "it announces CONNACK of more than 1024 bytes" in warnings(logged)[0]


def test_a_broker_that_answers_no_message_lets_none_pile_up() -> None:
    with hostile(b"") as silent:
        told = MqttSink(MqttSettings(host="127.0.0.1", port=silent.port), state_s=0.02)
        told.follow(lambda: SourceState("live", 0.0))
        for number in range(100):
            told.write(make_report(frame_id=number))
            threading.Event().wait(0.01)
        kept = len(told._link._client._out_messages)
        told.close()
    assert kept <= link.MAX_UNANSWERED + 2


@pytest.mark.needs("mosquitto")
def test_paho_reads_through_the_screen_alone(tmp_path: Path) -> None:
    """The way into paho-mqtt, in the version that is installed: CI has the oldest that is allowed, and the newest."""
    with broker(tmp_path) as real, listener(real.port) as heard:
        told = MqttSink(MqttSettings(host="localhost", port=real.port, max_rate_hz=1000), state_s=0.05)
        told.follow(lambda: SourceState("live", 0.0))
        for number in range(20):
            told.write(make_report(frame_id=number))
            threading.Event().wait(0.005)
        wait_until(lambda: len(heard.of("state")) >= 3 and len(heard.of("vehicles")) == 20, "messages")
        wait_until(lambda: told._link._filter.packets >= 24, "every answer of the broker was seen")
        told.close()


def test_the_filter_lets_through_what_is_asked_for_in_any_pieces() -> None:
    clock = FakeClock()
    filter_ = PacketFilter(30.0, clock)
    filter_.begin(1)
    filter_.expect_answer()
    stream = CONNACK_YES + b"\x40\x02\x00\x01" * 2 + b"\xd0\x00" * SPARE_PINGS + b"\xe0\x00"
    for size in (1, 2, 3, len(stream)):
        filter_.begin(1)
        filter_.expect_answer()
        for start in range(0, len(stream), size):
            filter_.see(stream[start : start + size])
        assert filter_.packets == 3 + 2 + SPARE_PINGS - 1
    with pytest.raises(UnexpectedPacket):
        filter_.see(bytes([PUBACK]))
    filter_.begin(0)
    clock.now += 61
    filter_.see(b"\xd0\x00" * (SPARE_PINGS + 2))
    filter_.see(b"\xe0" + bytes([0x80 | MAX_BYTES & 0x7F, MAX_BYTES >> 7]) + b"x" * MAX_BYTES)
    with pytest.raises(UnexpectedPacket):
        filter_.see(b"\xd0")


@pytest.mark.needs("mosquitto")
def test_two_devices_of_one_name_are_told_the_cause_and_leave_the_log_readable(
    tmp_path: Path, logged: list[str]
) -> None:
    with broker(tmp_path) as real:
        rivals = [MqttSink(MqttSettings(host="localhost", port=real.port, topic="site/gate-3")) for _ in range(2)]
        for rival in rivals:
            rival.follow(lambda: SourceState("live", 0.0))
        cause = "another device may have the same mqtt.client_id ('site/gate-3'), for which mqtt.topic stands"
        wait_until(lambda: sum(cause in line for line in logged) == 2, "the cause, told by both")
        so_far = len(logged)
        threading.Event().wait(6)
        assert logged[so_far:] == []
        for rival in rivals:
            rival.close()
    assert len([line for line in logged if "is reached" in line or "is not reached" in line]) <= 8


@pytest.mark.needs("mosquitto")
def test_when_the_rival_is_gone_the_broker_is_reached_again(
    tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "MAX_PAUSE_S", 2.0)
    monkeypatch.setattr(link, "STEADY_S", 4.0)
    with broker(tmp_path) as real:
        mine, rival = (MqttSink(MqttSettings(host="localhost", port=real.port)) for _ in range(2))
        for one in (mine, rival):
            one.follow(lambda: SourceState("live", 0.0))
        # Of both: one that has not told it yet has nothing to take back.
        wait_until(lambda: sum("is lost soon after each connect" in line for line in logged) == 2, "the cause")
        rival.close()
        so_far = len(logged)
        wait_until(lambda: any("is reached again" in line for line in logged[so_far:]), "the good news")
        mine.close()
