"""Checks that a broker sends short answers alone, and none that was not asked for: a pilot subscribes to nothing.

paho-mqtt keeps whatever a broker sends, up to 256 MB a message. So every byte that it reads is seen here before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from perception.core.errors import SettingsError

if TYPE_CHECKING:
    from paho.mqtt.client import Client

MAX_BYTES = 1024
CONNACK, PUBACK, PINGRESP, DISCONNECT = 0x20, 0x40, 0xD0, 0xE0
"""First bytes of packets, without their flags: MQTT 3.1.1, table 2.1."""
KINDS = {
    0x10: "CONNECT", 0x30: "PUBLISH", 0x50: "PUBREC", 0x60: "PUBREL", 0x70: "PUBCOMP", 0x80: "SUBSCRIBE",
    0x90: "SUBACK", 0xA0: "UNSUBSCRIBE", 0xB0: "UNSUBACK", 0xC0: "PINGREQ",
    CONNACK: "CONNACK", PUBACK: "PUBACK", PINGRESP: "PINGRESP", DISCONNECT: "DISCONNECT",
}  # fmt: skip
SPARE_PINGS = 2


class UnexpectedPacket(Exception):
    """The broker sends what a pilot has not asked for; the text says what. The connection is to end."""


class PacketFilter:
    """Sees every byte that comes over a connection; keeps at most five of them.

    keepalive_s: how often the pilot may ask whether the broker is there. clock: monotonic seconds.
    """

    def __init__(self, keepalive_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._keepalive_s = keepalive_s
        self._clock = clock
        self.begin(0)

    def begin(self, unanswered: int) -> None:
        """Begin another connection. unanswered: messages that are sent over it again."""
        self._began_at = self._clock()
        self._left = {CONNACK: 1, PUBACK: unanswered, PINGRESP: SPARE_PINGS, DISCONNECT: 1}
        self._head = bytearray()
        self._body = 0
        self.packets = 0

    def expect_answer(self) -> None:
        """Allow one more answer: a message was sent that the broker is to answer."""
        self._left[PUBACK] += 1

    def see(self, data: bytes) -> None:
        """Take the bytes that came next. Raises UnexpectedPacket as soon as a packet is none of those awaited."""
        position = 0
        while position < len(data):
            if self._body:
                taken = min(self._body, len(data) - position)
                self._body -= taken
                position += taken
            else:
                self._see_head(data[position])
                position += 1

    def _see_head(self, byte: int) -> None:
        self._head.append(byte)
        if len(self._head) == 1:
            self._count(byte & 0xF0)
            return
        length = sum((part & 0x7F) << 7 * place for place, part in enumerate(self._head[1:]))
        is_last = not byte & 0x80
        if length > MAX_BYTES or not (is_last or len(self._head) < 3):
            raise UnexpectedPacket(f"it announces {_name(self._head[0])} of more than {MAX_BYTES} bytes")
        if is_last:
            self._body = length
            self._head.clear()

    def _count(self, kind: int) -> None:
        self.packets += 1
        if kind not in self._left:
            raise UnexpectedPacket(f"it sends {_name(kind)}, and the pilot has subscribed to nothing")
        self._left[kind] -= 1
        left = self._left[kind]
        if kind == PINGRESP:
            left += int((self._clock() - self._began_at) / self._keepalive_s)
        if left < 0:
            raise UnexpectedPacket(f"it sends more of {_name(kind)} than was asked for")


def _name(first: int) -> str:
    return KINDS.get(first & 0xF0, f"a packet of kind {first >> 4}")


def make_client(client_id: str, packets: PacketFilter) -> Client:
    """Return a client of paho-mqtt that shows the filter all it reads. SettingsError where paho-mqtt is missing."""
    try:
        from paho.mqtt.client import Client, MQTTv311
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise SettingsError("mqtt.host is set, but paho-mqtt is missing", "pip install 'paho-mqtt>=2.0'") from None

    class FilteredClient(Client):
        """Reads through this one method alone; PacketFilter.packets shows whether it still does."""

        def _sock_recv(self, bufsize: int) -> bytes:
            data: bytes = super()._sock_recv(min(bufsize, MAX_BYTES))
            packets.see(data)
            return data

    return FilteredClient(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTv311)
