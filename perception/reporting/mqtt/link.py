"""The connection to a broker, in a thread of its own: nothing that the broker or the network does reaches the loop."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from loguru import logger

from perception.reporting.mqtt.access import Access
from perception.reporting.mqtt.packet_filter import PacketFilter, UnexpectedPacket, make_client

if TYPE_CHECKING:
    from paho.mqtt.client import Client

LOOK_S = 0.05
"""Seconds between two looks for messages to send."""
ANSWER_S = 10.0
"""The time that a broker may take to answer a connection."""
MAX_PAUSE_S = 30.0
STEADY_S = 2 * MAX_PAUSE_S
"""A connection that lasts this long has no rival: another device of the same name would be back by then."""
RIVALRY = 2
"""After this many connections in a row that did not last, a rival is named as the likely cause."""
MAX_UNANSWERED = 20
"""The most messages under way at a time; the broker's answers make room for others."""
ENDING_S = 1.0
JOIN_S = 2.0


class _Lost(Exception):
    """The connection is of no more use; the text says why."""


class Outbox:
    """Messages that wait, oldest first; where there are too many, the oldest are dropped."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: deque[Callable[[], bytes]] = deque()
        self._lock = threading.Lock()
        self.lost = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Callable[[], bytes]) -> None:
        """Add a message, as a function that makes it when it is sent."""
        with self._lock:
            if len(self._waiting) >= self._size:
                self._waiting.popleft()
                self.lost += 1
            self._waiting.append(message)

    def take(self) -> Callable[[], bytes] | None:
        """Return the oldest message, or None."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None


class Link:
    """Sends to a broker: availability with a last will, the state every state_s seconds, the messages of the outbox.

    A broker that is away, or that ends each connection, is tried again with pauses of 1 to 30 s. What was sent and not
    answered is sent again.
    """

    def __init__(
        self, access: Access, keepalive_s: int, outbox: Outbox, state: Callable[[], bytes], state_s: float = 10.0
    ) -> None:
        """state: makes the message on the state. Raises SettingsError where paho-mqtt is missing."""
        self._access = access
        self._keepalive_s = keepalive_s
        self._outbox = outbox
        self._state = state
        self._state_s = state_s
        self._state_at = 0.0
        self._filter = PacketFilter(keepalive_s)
        self._client = self._make_client()
        self._stop = threading.Event()
        self._started = False
        self._connected_at: float | None = None
        self._short_lived = 0
        self._refusal = ""
        self._unanswered: set[int] = set()
        self._newest: dict[str, int] = {}
        self._reached_at: float | None = None
        self._told: set[str] = set()
        self._lost_before = 0
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def _make_client(self) -> Client:
        access = self._access
        client = make_client(access.client_id, self._filter)
        if access.username is not None:
            client.username_pw_set(access.username, access.password)
        if access.tls:
            client.tls_set_context(access.tls)
        client.max_inflight_messages_set(MAX_UNANSWERED + 2)
        client.will_set(f"{access.topic}/availability", b"offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        return client

    def start(self) -> None:
        """Begin to connect. Returns at once; a second call does nothing."""
        if not self._started:
            self._started = True
            self._thread.start()

    def stop(self) -> None:
        """Send the waiting messages, then offline, and end: within two seconds, whatever the broker does."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    # What follows runs in the thread.

    def _on_connect(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            self._connected_at = time.monotonic()

    def _on_publish(self, client: Client, userdata: Any, number: int, reason: Any, properties: Any) -> None:
        self._unanswered.discard(number)

    def _run(self) -> None:
        pause_s = 1.0
        try:
            while not self._stop.is_set():
                self._connected_at = None
                try:
                    self._converse()
                # A certificate that does not fit is a ValueError.
                except (_Lost, UnexpectedPacket, OSError, ValueError) as fault:
                    self._hang_up()
                    pause_s = self._pause_after(fault, pause_s)
                    self._tell(fault)
                    self._stop.wait(pause_s * random.uniform(0.8, 1.2))
                    pause_s = min(pause_s * 2, MAX_PAUSE_S)
        except Exception:
            logger.exception("A bug ended the messages to the broker; the run goes on")
        self._hang_up()

    def _pause_after(self, fault: Exception, pause_s: float) -> float:
        """Return seconds until the next attempt. pause_s: where no connection was made."""
        if self._connected_at is None:
            return pause_s
        lasted = time.monotonic() - self._connected_at >= STEADY_S
        self._short_lived = 0 if lasted else self._short_lived + 1
        if isinstance(fault, UnexpectedPacket):  # reaching such a broker again is no news
            self._short_lived = max(self._short_lived, RIVALRY)
        return min(2.0 ** max(self._short_lived - 1, 0), MAX_PAUSE_S)

    def _hang_up(self) -> None:
        """Close a connection that paho has left open, with all that the broker has sent over it."""
        if (left := self._client.socket()) is not None:
            left.close()

    def _tell(self, fault: Exception) -> None:
        """Log one warning a reason, until the broker was reached again."""
        said = f"is not reached ({' '.join(str(fault).split())}); tried again"
        if self._connected_at is not None and self._short_lived >= RIVALRY and not isinstance(fault, UnexpectedPacket):
            said = (
                "is lost soon after each connect: another device may have the same mqtt.client_id "
                f"({self._access.client_id!r}), for which mqtt.topic stands where it is not set, and the broker keeps "
                "one of them at a time. Give each device its own; tried again with longer pauses"
            )
        if said not in self._told and not self._stop.is_set():
            self._told.add(said)
            logger.warning(f"The broker {self._access.place} {said}, the run goes on")

    def _converse(self) -> None:
        """Connect and send until the end, or until the connection is lost, which raises _Lost."""
        self._refusal = ""
        self._filter.begin(len(self._unanswered))
        self._client.connect(self._access.host, self._access.port, self._keepalive_s)
        answer_by = time.monotonic() + ANSWER_S
        while self._connected_at is None:
            self._turn()
            if time.monotonic() > answer_by:
                raise _Lost(f"it does not answer within {ANSWER_S:g} s")
            if self._stop.is_set():
                return
        if not self._filter.packets:
            raise _Lost(
                "this version of paho-mqtt reads past the pilot's checks; see requirements.txt for one that fits"
            )
        self._publish("availability", b"online", retain=True)
        self._state_at = 0.0
        while not self._stop.is_set():
            self._say_reached()
            self._send_what_waits()
            self._turn()
        self._take_leave()

    def _turn(self) -> None:
        from paho.mqtt.client import error_string
        from paho.mqtt.enums import MQTTErrorCode

        code = self._client.loop(LOOK_S)
        if self._refusal:
            raise _Lost(f"it refuses: {self._refusal}; see mqtt.username and mqtt.password_path")
        if code == MQTTErrorCode.MQTT_ERR_PROTOCOL:
            raise UnexpectedPacket("it sends what is no MQTT")
        if code:
            raise _Lost(error_string(code).rstrip("."))

    def _say_reached(self) -> None:
        """Log that the broker is reached: once a connection; while connections do not last, only for one that does."""
        assert self._connected_at is not None
        if self._reached_at == self._connected_at:
            return
        if self._short_lived >= RIVALRY:
            if time.monotonic() - self._connected_at < STEADY_S:
                return
            self._short_lived = 0
        self._reached_at = self._connected_at
        again = " again" if self._told else ""
        waits = f"; {len(self._outbox)} messages waited" if len(self._outbox) else ""
        lost = self._outbox.lost - self._lost_before
        waits += f", {lost} were lost" if lost else ""
        logger.info(f"The broker {self._access.place} is reached{again}{waits}")
        self._lost_before = self._outbox.lost
        self._told.clear()

    def _send_what_waits(self) -> None:
        # One that was not answered yet is sent again by itself: a broker that answers nothing lets none pile up.
        if time.monotonic() >= self._state_at and self._newest.get("state") not in self._unanswered:
            self._state_at = time.monotonic() + self._state_s
            self._publish("state", self._state(), retain=True)
        while len(self._unanswered) < MAX_UNANSWERED and (message := self._outbox.take()) is not None:
            self._publish("vehicles", message(), retain=False)

    def _publish(self, name: str, payload: bytes, retain: bool) -> None:
        # Nobody else uses the client, so the answer to a message cannot come before its number is in the set.
        if payload == b"online" and self._newest.get(name) in self._unanswered:
            return  # it is sent again by itself
        number = self._client.publish(f"{self._access.topic}/{name}", payload, qos=1, retain=retain).mid
        self._filter.expect_answer()
        self._unanswered.add(number)
        self._newest[name] = number

    def _take_leave(self) -> None:
        ends = time.monotonic() + ENDING_S
        while len(self._outbox) and time.monotonic() < ends:
            self._send_what_waits()
            self._turn()
        self._publish("availability", b"offline", retain=True)
        while self._unanswered and time.monotonic() < ends + ENDING_S / 2:
            self._turn()
        self._client.disconnect()
