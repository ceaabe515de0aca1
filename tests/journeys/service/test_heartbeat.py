"""The protocol of sd_notify, spoken to a real socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perception.app.upkeep import status_line
from perception.core.results import Summary
from perception.core.source_state import SourceState
from perception.system.notify import Heartbeat
from tests.doubles.fakes import INFO, FakeClock

WATCHED = {"WATCHDOG_USEC": "30000000"}


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Callable[[], list[str]]]:
    """What was said to the socket `notify` in tmp_path since it was asked last."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)

        def take() -> list[str]:
            messages = []
            while True:
                try:
                    messages.append(listener.recv(4096).decode("utf-8"))
                except BlockingIOError:
                    return messages

        yield take


def heart(tmp_path: Path, clock: FakeClock, **more: str) -> Heartbeat:
    return Heartbeat({"NOTIFY_SOCKET": str(tmp_path / "notify"), **more}, clock)


def test_what_is_said_is_what_sd_notify_describes(tmp_path: Path, heard: Callable[[], list[str]]) -> None:
    before = time.monotonic_ns() // 1000
    with heart(tmp_path, FakeClock()) as speaking:
        speaking.ready()
        speaking.reloading()
        speaking.ready()
        speaking.stopping()
    starting, ready, reloading, again, stopping = heard()
    assert starting == "STATUS=starting"
    assert ready == again == "READY=1"
    assert stopping == "STOPPING=1\nSTATUS=stopping"
    first, _, stamp = reloading.partition("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before <= int(stamp) <= time.monotonic_ns() // 1000


def test_a_long_start_is_extended_at_once_and_then_every_ten_seconds(
    tmp_path: Path, heard: Callable[[], list[str]]
) -> None:
    clock = FakeClock()
    with heart(tmp_path, clock) as speaking:
        heard()
        for second in range(25):
            speaking.extend(f"exporting an\nengine ({second} s)")
            clock.now += 1
        said = heard()
    assert said == [f"EXTEND_TIMEOUT_USEC=60000000\nSTATUS=exporting an engine ({at} s)" for at in (0, 10, 20)]


def test_beats_are_at_least_a_second_apart(tmp_path: Path, heard: Callable[[], list[str]]) -> None:
    clock = FakeClock()
    with heart(tmp_path, clock, **WATCHED) as speaking:
        heard()
        sent = []
        for _ in range(400):  # ten seconds of turns
            clock.now += 0.025
            speaking.beat()
            sent += [clock.now] * len(heard())
    assert len(sent) in (9, 10)
    assert min(later - earlier for earlier, later in zip(sent, sent[1:])) >= 1.0


def test_a_status_is_sent_when_its_kind_changes_and_every_ten_seconds(
    tmp_path: Path, heard: Callable[[], list[str]]
) -> None:
    clock = FakeClock()
    with heart(tmp_path, clock) as speaking:
        for second in range(25):
            clock.now = 1000.0 + second
            speaking.status(f"waiting ({second} s)", "waiting")
        speaking.status("live", "live")
    assert heard() == [
        "STATUS=starting",
        "STATUS=waiting (0 s)",
        "STATUS=waiting (10 s)",
        "STATUS=waiting (20 s)",
        "STATUS=live",
    ]


def test_a_status_is_one_line_of_utf_8_whatever_the_source_is_called(
    tmp_path: Path, heard: Callable[[], list[str]]
) -> None:
    with heart(tmp_path, FakeClock()) as speaking:
        heard()
        speaking.status("waiting for camera Straße\nSTOPPING=1\n車 \udcff")
    assert heard() == ["STATUS=waiting for camera Straße STOPPING=1 車 ?"]


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}],
)
def test_no_beat_is_sent_that_nobody_waits_for(
    tmp_path: Path, heard: Callable[[], list[str]], environment: dict[str, str]
) -> None:
    clock = FakeClock()
    with heart(tmp_path, clock, **environment) as speaking:
        heard()
        for _ in range(5):
            clock.now += 1
            speaking.beat()
    assert heard() == []


def test_a_beat_that_names_this_process_is_sent(tmp_path: Path, heard: Callable[[], list[str]]) -> None:
    with heart(tmp_path, FakeClock(), WATCHDOG_PID=str(os.getpid()), **WATCHED) as speaking:
        assert speaking.beat()
    assert heard()[1:] == ["WATCHDOG=1"]


def test_an_abstract_socket_is_spoken_to_as_well() -> None:
    name = f"vehicle-pilot-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        with Heartbeat({"NOTIFY_SOCKET": f"@{name}"}) as speaking:
            speaking.ready()
        assert [listener.recv(100), listener.recv(100)] == [b"STATUS=starting", b"READY=1"]


def test_without_a_manager_nothing_is_said_and_no_turn_is_taken(logged: list[str]) -> None:
    with Heartbeat(WATCHED) as silent:
        assert not silent.beat()
        silent.ready()
        silent.stopping()
    assert logged == []


@pytest.mark.parametrize("address", ["vsock:2:1234", "notify"])
def test_an_address_of_another_kind_is_told_once(address: str, logged: list[str]) -> None:
    with Heartbeat({"NOTIFY_SOCKET": address}) as silent:
        silent.ready()
    assert logged == [
        f"WARNING NOTIFY_SOCKET is {address!r}, neither a path nor an abstract name: nothing is told to systemd"
    ]


def test_a_manager_that_went_away_costs_one_warning_and_may_come_back(tmp_path: Path, logged: list[str]) -> None:
    clock = FakeClock()
    path = tmp_path / "notify"
    with heart(tmp_path, clock, **WATCHED) as speaking:
        for _ in range(3):
            clock.now += 1
            speaking.beat()
        assert len(logged) == 1
        assert "The service manager does not take the messages of the pilot" in logged[0]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(path))
            clock.now += 1
            speaking.beat()
            assert listener.recv(100) == b"WATCHDOG=1"


def test_a_manager_that_reads_nothing_holds_up_no_turn_for_good(tmp_path: Path, logged: list[str]) -> None:
    clock = FakeClock()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        with heart(tmp_path, clock, **WATCHED) as speaking:
            while not logged:  # until its queue is full
                clock.now += 1
                speaking.beat()
        assert "does not take the messages" in logged[0]


WINDOW = Summary(298, 12.14, 13.4, 15.0, 17.2, 41.0, 29.84, 2, 0.007)
EMPTY = Summary(0, None, None, None, None, None, None, 0, 0.0)


@pytest.mark.parametrize(
    ("state", "window", "said"),
    [
        (SourceState("starting", 988.0), None, "waiting for camera csi://0 (12 s)"),
        (SourceState("starting", 988.0, fault="no sensor"), None, "waiting for camera csi://0 (12 s): no sensor"),
        (SourceState("live", 900.0), None, "live: fake fp32"),
        (SourceState("live", 900.0), EMPTY, "live: fake fp32"),
        (SourceState("live", 900.0), WINDOW, "live: 29.8 fps, p50 12.1 ms, fake fp32"),
        (SourceState("lost", 992.0), WINDOW, "camera lost 8 s ago, reconnecting"),
        (SourceState("reconnecting", 992.0, fault="silence"), WINDOW, "camera lost 8 s ago, reconnecting: silence"),
    ],
)
def test_the_status_tells_a_person_how_the_pilot_is_doing(
    state: SourceState, window: Summary | None, said: str
) -> None:
    assert status_line(state, "csi://0", window, INFO, now=1000.0) == said
