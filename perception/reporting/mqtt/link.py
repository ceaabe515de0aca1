"""The connection to a broker, in a thread of its own: nothing that the broker or the network does reaches the loop."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from loguru import logger

from perception.errors import SettingsError
from perception.reporting.mqtt.access import Access

if TYPE_CHECKING:
    from paho.mqtt.client import Client

LOOK_S = 0.05
"""How often the thread looks for what is to be sent."""
ANSWER_S = 10.0
"""As long a broker may take to answer a connection."""
MAX_PAUSE_S = 30.0
MAX_UNANSWERED = 20
"""So many messages are under way at a time; the broker's answers make room for others."""
ENDING_S = 1.0
JOIN_S = 2.0


class _Lost(Exception):
    """The connection is of no more use; says why."""


class Outbox:
    """Messages that wait, oldest first; where there are too many, the oldest go."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._waiting: deque[Callable[[], bytes]] = deque()
        self._lock = threading.Lock()
        self.lost = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Callable[[], bytes]) -> None:
        """Adds a message, as a function that makes it when it is sent."""
        with self._lock:
            if len(self._waiting) >= self._size:
                self._waiting.popleft()
                self.lost += 1
            self._waiting.append(message)

    def take(self) -> Callable[[], bytes] | None:
        """The oldest message, or None."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None


class Link:
    """Keeps a broker told: availability with a last will, the state every state_s seconds, what is in the outbox.

    A broker that is away is tried again with pauses of 1 to 30 s. What was sent and not answered is sent again.
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
        self._client = self._make_client()
        self._stop = threading.Event()
        self._started = False
        self._connected = False
        self._refusal = ""
        self._unanswered: set[int] = set()
        self._told: set[str] = set()
        self._lost_before = 0
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def _make_client(self) -> Client:
        try:
            from paho.mqtt.client import Client, MQTTv311
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise SettingsError("mqtt.host is set, but paho-mqtt is missing", "pip install 'paho-mqtt>=2.0'") from None
        access = self._access
        client = Client(CallbackAPIVersion.VERSION2, access.client_id, protocol=MQTTv311)
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
        """Begins to connect. Returns at once; a second call does nothing."""
        if not self._started:
            self._started = True
            self._thread.start()

    def stop(self) -> None:
        """Says what waits, then offline, and ends: within two seconds, whatever the broker does."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    # What follows runs in the thread.

    def _on_connect(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            self._connected = True

    def _on_publish(self, client: Client, userdata: Any, number: int, reason: Any, properties: Any) -> None:
        self._unanswered.discard(number)

    def _run(self) -> None:
        pause_s = 1.0
        try:
            while not self._stop.is_set():
                self._connected = False
                try:
                    self._converse()
                except (_Lost, OSError, ValueError) as fault:  # a certificate that does not fit is a ValueError
                    if self._connected:
                        pause_s = 1.0
                    self._tell(fault)
                    self._stop.wait(pause_s * random.uniform(0.8, 1.2))
                    pause_s = min(pause_s * 2, MAX_PAUSE_S)
        except Exception:
            logger.exception("A bug ended the messages to the broker; the run goes on")
        if (left := self._client.socket()) is not None:  # of a broker that never answered
            left.close()

    def _tell(self, fault: Exception) -> None:
        """One warning a reason, until the broker was reached again."""
        said = " ".join(str(fault).split())
        if said not in self._told and not self._stop.is_set():
            self._told.add(said)
            logger.warning(f"The broker {self._access.place} is not reached ({said}); tried again, the run goes on")

    def _converse(self) -> None:
        """From connecting to the loss of the connection, which it raises, or to the end."""
        self._refusal = ""
        self._client.connect(self._access.host, self._access.port, self._keepalive_s)
        answer_by = time.monotonic() + ANSWER_S
        while not self._connected:
            self._turn()
            if time.monotonic() > answer_by:
                raise _Lost(f"it does not answer within {ANSWER_S:g} s")
            if self._stop.is_set():
                return
        self._greet()
        while not self._stop.is_set():
            self._send_what_waits()
            self._turn()
        self._take_leave()

    def _turn(self) -> None:
        from paho.mqtt.client import error_string

        code = self._client.loop(LOOK_S)
        if self._refusal:
            raise _Lost(f"it refuses: {self._refusal}; see mqtt.username and mqtt.password_path")
        if code:
            raise _Lost(error_string(code).rstrip("."))

    def _greet(self) -> None:
        self._publish("availability", b"online", retain=True)
        self._state_at = 0.0
        again = " again" if self._told else ""
        waits = f"; {len(self._outbox)} messages waited" if len(self._outbox) else ""
        lost = self._outbox.lost - self._lost_before
        waits += f", {lost} were lost" if lost else ""
        logger.info(f"The broker {self._access.place} is reached{again}{waits}")
        self._lost_before = self._outbox.lost
        self._told.clear()

    def _send_what_waits(self) -> None:
        if time.monotonic() >= self._state_at:
            self._state_at = time.monotonic() + self._state_s
            self._publish("state", self._state(), retain=True)
        while len(self._unanswered) < MAX_UNANSWERED and (message := self._outbox.take()) is not None:
            self._publish("vehicles", message(), retain=False)

    def _publish(self, name: str, payload: bytes, retain: bool) -> None:
        # Nobody else uses the client, so the answer to a message cannot come before its number is in the set.
        self._unanswered.add(self._client.publish(f"{self._access.topic}/{name}", payload, qos=1, retain=retain).mid)

    def _take_leave(self) -> None:
        ends = time.monotonic() + ENDING_S
        while len(self._outbox) and time.monotonic() < ends:
            self._send_what_waits()
            self._turn()
        self._publish("availability", b"offline", retain=True)
        while self._unanswered and time.monotonic() < ends + ENDING_S / 2:
            self._turn()
        self._client.disconnect()
