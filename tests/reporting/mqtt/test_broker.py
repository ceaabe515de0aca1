"""The sink and a real broker."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perception.core.source_state import SourceState
from perception.reporting.mqtt import link
from perception.reporting.mqtt.sink import MqttSink
from perception.settings.model import MqttSettings
from tests.doubles.fakes import FakeClock, make_report
from tests.journeys.service.conftest import Folder
from tests.journeys.service.manager import running, wait_until
from tests.reporting.mqtt.broker import PASSWORD, USER, Broker, broker, free_port, listener, secured

OUTAGE_S = float(os.environ.get("PILOT_OUTAGE_S", "3"))
"""The time that the broker is away; PILOT_OUTAGE_S=60 for the whole minute."""


@pytest.fixture
def open_broker(tmp_path: Path) -> Iterator[Broker]:
    with broker(tmp_path) as running_broker:
        yield running_broker


def sink(port: int, state_s: float = 10.0, **keys: Any) -> MqttSink:
    return MqttSink(MqttSettings(host="localhost", port=port, **{"max_rate_hz": 1000.0, **keys}), state_s=state_s)


def write(told: MqttSink, first: int, count: int, vehicles: int = 1, pause_s: float = 0.0) -> None:
    for number in range(first, first + count):
        report = make_report(frame_id=number, vehicles=vehicles)
        told.write(replace(report, frame=replace(report.frame, frame_id=number)))
        threading.Event().wait(pause_s or 0.002)


def warnings(logged: list[str]) -> list[str]:
    return [line for line in logged if line.startswith("WARNING")]


@pytest.mark.needs("mosquitto", "mosquitto_passwd", "openssl")
def test_a_broker_with_tls_and_a_password_hears_everything(tmp_path: Path, logged: list[str]) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    keys: dict[str, Any] = {"tls": True, "ca_path": tmp_path / "ca.pem", "username": USER, "password_path": password}
    with broker(tmp_path, secured(tmp_path)) as running_broker, listener(running_broker.port, tmp_path) as heard:
        told = sink(running_broker.port, topic="site/gate-3", **keys)
        told.follow(lambda: SourceState("live", 0.0))
        wait_until(lambda: heard.of("availability") == [b"online"], "online")
        write(told, 0, 30)
        wait_until(lambda: heard.ids() == list(range(30)), "vehicles")
        told.close()
        wait_until(lambda: heard.of("availability") == [b"online", b"offline"], "offline")
        assert {topic.rpartition("/")[0] for topic, _, _ in heard.heard} == {"site/gate-3"}
        assert json.loads(heard.of("state")[0])["source_state"] == "live"
        with listener(running_broker.port, tmp_path) as late:
            wait_until(lambda: bool(late.of("availability") and late.of("state")), "what is retained")
            assert set(late.of("availability")) == {b"offline"}  # once or, as QoS 1 allows, again
            assert late.ids() == []
    assert warnings(logged) == []
    assert PASSWORD not in "".join(logged)


@pytest.mark.needs("mosquitto", "mosquitto_passwd", "openssl")
def test_a_wrong_password_is_told_once_and_tried_again(tmp_path: Path, logged: list[str]) -> None:
    password = tmp_path / "password"
    password.write_text("hunter2")
    password.chmod(0o600)
    keys: dict[str, Any] = {"tls": True, "ca_path": tmp_path / "ca.pem", "username": USER, "password_path": password}
    with broker(tmp_path, secured(tmp_path)) as running_broker:
        told = sink(running_broker.port, **keys)
        told.follow(lambda: SourceState("live", 0.0))
        wait_until(lambda: bool(warnings(logged)), "the warning")
        threading.Event().wait(1.5)  # another attempt is made
        told.close()
    assert warnings(logged) == [
        f"WARNING The broker localhost:{running_broker.port} is not reached (it refuses: Not authorized; "
        "see mqtt.username and mqtt.password_path); tried again, the run goes on"
    ]
    assert "hunter2" not in "".join(logged)


@pytest.mark.needs("mosquitto", "mosquitto_passwd", "openssl")
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # paho leaves that socket to be collected
def test_a_certificate_of_somebody_else_is_refused(tmp_path: Path, logged: list[str]) -> None:
    with broker(tmp_path, secured(tmp_path)) as running_broker:
        told = sink(running_broker.port, tls=True)
        told.follow(lambda: SourceState("live", 0.0))
        wait_until(lambda: bool(warnings(logged)), "the warning")
        told.close()
    assert "certificate verify failed" in warnings(logged)[0]


def test_a_password_in_clear_text_is_warned_of(tmp_path: Path, logged: list[str]) -> None:
    password = tmp_path / "password"
    password.write_text("hunter2")
    password.chmod(0o600)
    MqttSink(MqttSettings(host="broker.example", username="u", password_path=password)).close()
    assert warnings(logged) == [
        "WARNING The password goes to the broker broker.example:1883 in clear text: set mqtt.tls: true"
    ]


def test_the_state_comes_again_and_again(open_broker: Broker) -> None:
    with listener(open_broker.port) as heard:
        told = sink(open_broker.port, state_s=0.2)
        told.follow(lambda: SourceState("lost", 0.0, 1, "gone"))
        write(told, 0, 5, vehicles=0)
        wait_until(lambda: len(heard.of("state")) >= 3, "three states")
        told.close()
        states = [json.loads(payload) for payload in heard.of("state")]
    assert sum(state["frames"] for state in states) == 5
    assert states[-1]["source_fault"] == "gone"
    assert heard.ids() == []  # no vehicle was seen


def test_messages_on_vehicles_keep_to_their_rate() -> None:
    clock = FakeClock()
    told = MqttSink(MqttSettings(host="localhost", port=free_port(), max_rate_hz=5.0), clock=clock)
    sent = []
    for number in range(300):  # ten seconds at 30 frames a second
        clock.now += 1 / 30
        before = len(told._outbox)
        told.write(make_report(frame_id=number))
        sent.append(len(told._outbox) - before)
    told.close()
    assert sum(sent) == pytest.approx(50, abs=1)
    assert max(sum(sent[start : start + 30]) for start in range(270)) <= 6


def test_a_broker_that_is_away_gets_what_waited_in_order_and_drops_are_counted(
    open_broker: Broker, logged: list[str]
) -> None:
    with listener(open_broker.port) as heard:
        told = sink(open_broker.port, queue=100)
        write(told, 0, 50)
        wait_until(lambda: heard.ids() == list(range(50)), "the first messages")
        open_broker.stop()
        count = 300
        write(told, 50, count, pause_s=OUTAGE_S / count)  # the loop goes on
        assert len(told._outbox) <= 100
        open_broker.start()
        last = 50 + count
        write(told, last, 10)
        wait_until(lambda: bool(heard.ids()) and heard.ids()[-1] == last + 9, "the last message")
        told.close()
        ids = list(dict.fromkeys(heard.ids()))  # QoS 1: what was not confirmed at the outage may come once more
        lost = told._outbox.lost
    assert ids == sorted(ids)
    assert lost > 0
    assert len(ids) + lost == last + 10
    assert any("is reached again" in line and "were lost" in line for line in logged)
    assert warnings(logged)[-1] == f"WARNING {lost} messages on vehicles did not reach the broker"


def test_a_broker_that_stops_reading_holds_up_nothing(
    open_broker: Broker, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "ANSWER_S", 0.5)
    assert open_broker.process
    told = sink(open_broker.port, queue=50, keepalive_s=2)
    told.follow(lambda: SourceState("live", 0.0))
    wait_until(lambda: any("is reached" in line for line in logged), "the broker")
    open_broker.process.send_signal(signal.SIGSTOP)
    write(told, 0, 300)
    assert len(told._outbox) == 50
    wait_until(lambda: any("it does not answer within" in line for line in logged), "the silence")
    open_broker.process.send_signal(signal.SIGCONT)
    told.close()


def test_a_name_server_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        asked.set()
        answer.wait(60)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(link, "JOIN_S", 0.1)
    told = MqttSink(MqttSettings(host="broker.example"))
    told.follow(lambda: SourceState("live", 0.0))
    assert asked.wait(30)
    write(told, 0, 10)
    told.close()
    assert not answer.is_set()
    answer.set()


@pytest.mark.needs("localhost")
def test_nobody_who_listens_at_the_port_is_told_once(logged: list[str]) -> None:
    told = sink(free_port())
    write(told, 0, 3)
    wait_until(lambda: bool(warnings(logged)), "the warning")
    told.close()
    assert len(warnings(logged)) == 2
    assert "Connection refused" in warnings(logged)[0]
    assert warnings(logged)[1] == "WARNING 3 messages on vehicles did not reach the broker"


@pytest.mark.needs("mosquitto")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_pilot_that_ends_or_is_killed_is_offline(tmp_path: Path, number: signal.Signals) -> None:
    folder = Folder(tmp_path)
    with broker(tmp_path) as running_broker, listener(running_broker.port) as heard:
        folder.write(f"mqtt: {{host: localhost, port: {running_broker.port}, topic: a/b, max_rate_hz: 50}}\n")
        with running(tmp_path) as pilot:
            wait_until(lambda: len(heard.of("vehicles")) > 3, pilot.text)
            assert heard.of("availability") == [b"online"]
            code = pilot.end(number)
        assert code == (0 if number == signal.SIGTERM else -number)
        wait_until(lambda: heard.of("availability") == [b"online", b"offline"], "offline")
