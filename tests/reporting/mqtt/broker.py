"""A real mosquitto, and somebody who listens to it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.journeys.service.manager import wait_until
from tests.needs import path_of

USER, PASSWORD = "gate", "Zug-um-Zug-9"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Broker:
    """A mosquitto on a port of 127.0.0.1, which can be stopped and started again."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true\n") -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        # As root it would become a user who may not read the folder of a test.
        # It remembers over a restart who listens: a pilot that is back first would speak to nobody.
        kept = f"max_queued_messages 0\npersistence true\npersistence_location {folder}/\n"
        self._config.write_text(f"user root\n{kept}listener {self.port} 127.0.0.1\n{settings}")
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it listens."""
        command = [path_of("mosquitto"), "-c", str(self._config)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._listens, "mosquitto listens")

    def _listens(self) -> bool:
        assert self.process and self.process.poll() is None, "mosquitto ended"
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Stops it; what it remembers is written then."""
        if self.process:
            self.process.send_signal(signal.SIGCONT)  # a test may have stopped it otherwise
            self.process.terminate()
            self.process.wait()
            self.process = None


@contextmanager
def broker(folder: Path, settings: str = "allow_anonymous true\n") -> Iterator[Broker]:
    """A broker until the end of the block."""
    running = Broker(folder, settings)
    try:
        yield running
    finally:
        running.stop()


def secured(folder: Path) -> str:
    """Settings for TLS with a certificate of an authority made here (ca.pem), and for one user with a password.

    The test needs("openssl", "mosquitto_passwd").
    """
    key = f"{path_of('openssl')} req -newkey rsa:2048 -nodes"
    names = "-addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    signed = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy"
    for command in (
        f"{key} -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
        f"{key} -subj /CN=localhost {names} -keyout key.pem -out broker.csr",
        f"{path_of('openssl')} x509 -req -in broker.csr {signed} -out cert.pem",
        f"{path_of('mosquitto_passwd')} -b -c users {USER} {PASSWORD}",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=60)
    return (
        f"certfile {folder}/cert.pem\nkeyfile {folder}/key.pem\npassword_file {folder}/users\nallow_anonymous false\n"
    )


class Listener:
    """Keeps every message in order, as (topic, payload, whether it was retained)."""

    def __init__(self, port: int, folder: Path | None = None) -> None:
        """folder: of `secured`, or None for a broker that takes everybody."""
        self.heard: list[tuple[str, bytes, bool]] = []
        self._client = Client(CallbackAPIVersion.VERSION2, "listener", clean_session=False)
        self._client.on_message = self._hear
        self._client.reconnect_delay_set(1, 1)
        if folder:
            self._client.username_pw_set(USER, PASSWORD)
            self._client.tls_set(str(folder / "ca.pem"))
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.connect("localhost", port)
        self._client.loop_start()

    def _hear(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        self.heard.append((message.topic, bytes(message.payload), message.retain))

    def of(self, name: str) -> list[bytes]:
        """Return the messages under the last part of a topic."""
        return [payload for topic, payload, _ in self.heard if topic.rpartition("/")[2] == name]

    def ids(self) -> list[int]:
        """The frame ids of the messages on vehicles."""
        return [json.loads(payload)["frame_id"] for payload in self.of("vehicles")]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def listener(port: int, folder: Path | None = None) -> Iterator[Listener]:
    """Somebody who listens to everything until the end of the block."""
    listening = Listener(port, folder)
    try:
        yield listening
    finally:
        listening.close()
