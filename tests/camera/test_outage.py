"""The states of a source, its log lines and its pauses."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from perception.camera.capture import UnusableSource
from perception.camera.outage import BACKOFF_S, Outage
from perception.camera.uri import parse
from perception.core.errors import SourceError
from perception.core.source_state import SourceState
from tests.camera.readers import FINITE, LIVE
from tests.doubles.fakes import FakeClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    fake = FakeClock()
    monkeypatch.setattr(time, "monotonic", fake)
    return fake


def make_outage(waits: bool = True, seed: int = 0, uri: str = LIVE) -> Outage:
    return Outage(parse(uri), waits, random.Random(seed))


def said(logged: list[str]) -> list[str]:
    """The logged lines, without those of level DEBUG."""
    return [line for line in logged if not line.startswith("DEBUG")]


def test_the_reminder_comes_at_most_once_a_minute_and_counts_the_seconds(logged: list[str], clock: FakeClock) -> None:
    outage = make_outage()
    for _ in range(181):
        outage.attempt()
        outage.trouble(SourceError("no camera"))
        clock.now += 1
    assert said(logged) == [f"WARNING waiting for camera, {s} s so far: no camera" for s in (0, 60, 120, 180)]


def test_each_change_is_logged_once_with_its_duration(logged: list[str], clock: FakeClock) -> None:
    outage = make_outage(waits=False)
    outage.attempt()
    outage.delivered("640x480")
    outage.delivered("640x480")
    clock.now += 3600
    outage.trouble(SourceError("the cable", "Mend it."))
    for _ in range(2):
        clock.now += 30.5
        outage.attempt()
        outage.trouble(SourceError("no answer"))
    clock.now += 1
    outage.attempt()
    outage.delivered("640x480")
    assert said(logged) == [
        "INFO Source live: rtsp://***@cam/1 (640x480)",
        "WARNING Source lost after 3600.0 s: the cable. Reconnecting to rtsp://***@cam/1",
        "WARNING reconnecting, 61 s so far: no answer",
        "INFO Source live after 62.0 s: rtsp://***@cam/1 (640x480)",
    ]


def test_the_state_goes_from_starting_over_live_lost_and_reconnecting_to_live(clock: FakeClock) -> None:
    outage = make_outage()
    seen = [outage.state]
    steps: list[Callable[[], object]] = [
        outage.attempt,
        lambda: outage.trouble(SourceError("not yet")),
        outage.attempt,
        lambda: outage.delivered("640x480"),
        lambda: outage.trouble(SourceError("the cable", "Mend it.")),
        outage.attempt,
        lambda: outage.trouble(SourceError("no answer")),
        outage.attempt,
        lambda: outage.delivered("640x480"),
    ]
    for step in steps:
        step()
        seen.append(outage.state)
        clock.now += 10
    assert seen == [
        SourceState("starting", 1000.0),
        SourceState("starting", 1000.0),
        SourceState("starting", 1000.0, fault="not yet"),
        SourceState("starting", 1000.0, fault="not yet"),
        SourceState("live", 1030.0, fault="not yet"),
        SourceState("lost", 1040.0, fault="the cable"),
        SourceState("reconnecting", 1040.0, fault="the cable"),
        SourceState("lost", 1040.0, fault="no answer"),
        SourceState("reconnecting", 1040.0, fault="no answer"),
        SourceState("live", 1080.0, reconnects=1, fault="no answer"),
    ]


@pytest.mark.parametrize("waits", [True, False])
def test_what_no_waiting_mends_is_raised_at_once_and_also_later(waits: bool) -> None:
    outage = make_outage(waits)
    with pytest.raises(UnusableSource):
        outage.trouble(UnusableSource("no GStreamer"))
    outage.delivered("640x480")
    with pytest.raises(UnusableSource):
        outage.trouble(UnusableSource("pictures of another kind"))


def test_a_camera_that_is_not_there_at_the_start_is_raised_unless_it_is_waited_for() -> None:
    with pytest.raises(SourceError, match="no camera"):
        make_outage(waits=False).trouble(SourceError("no camera"))
    assert make_outage(waits=True).trouble(SourceError("no camera")) >= 1


def test_a_file_is_never_tried_again() -> None:
    outage = make_outage(uri=FINITE)
    outage.delivered("640x480")
    with pytest.raises(SourceError, match="it broke"):
        outage.trouble(SourceError("it broke"))


def test_an_argus_camera_that_fails_again_and_again_names_the_daemon_once(logged: list[str]) -> None:
    for uri, times in (("csi://0", 1), (LIVE, 0)):
        logged.clear()
        outage = make_outage(uri=uri)
        for _ in range(20):
            outage.trouble(SourceError("did not start"))
        named = [line for line in said(logged) if line.endswith("sudo systemctl restart nvargus-daemon")]
        assert len(named) == times
    assert all(line.startswith("WARNING csi://0 failed 3 times in a row") for line in named)


@pytest.mark.parametrize("seed", range(5))
def test_the_pauses_grow_from_1_to_30_seconds_and_stay_within(seed: int) -> None:
    outage = make_outage(seed=seed)
    pauses = [outage.trouble(SourceError("x")) for _ in range(40)]
    assert all(1 <= pause <= 30 for pause in pauses)
    assert pauses[0] <= 1.2
    assert all(pause >= 0.8 * 30 for pause in pauses[6:])
    assert len({*pauses[6:]}) == len(pauses[6:]), "two devices do not knock at the same moments"


def test_few_pauses_are_the_shortest_or_the_longest_itself() -> None:
    pauses = [pause for seed in range(50) for pause in (make_outage(seed=seed).trouble(SourceError("x")),)]
    assert len(set(pauses)) == 50
    assert min(pauses) < 1.05
    assert max(pauses) > 1.15


def test_pauses_of_two_devices_differ() -> None:
    one, other = (
        [outage.trouble(SourceError("x")) for _ in range(5)] for outage in (make_outage(seed=1), make_outage(seed=2))
    )
    assert one != other


def test_a_camera_that_opens_but_gives_no_picture_does_not_end_the_back_off(clock: FakeClock) -> None:
    outage = make_outage()
    pauses = []
    for _ in range(8):
        outage.attempt()
        pauses.append(outage.trouble(SourceError("gives no more pictures")))
    assert pauses[-1] >= 24
    outage.delivered("640x480")
    clock.now += BACKOFF_S[1]
    assert outage.trouble(SourceError("the cable")) <= 1.2


def test_a_camera_that_gives_some_pictures_and_dies_again_and_again_does_not_end_the_back_off(clock: FakeClock) -> None:
    outage = make_outage()
    attempts, ends_at = 0, clock.now + 3600
    while clock.now < ends_at:
        outage.attempt()
        attempts += 1
        outage.delivered("640x480")
        clock.now += 1
        clock.now += outage.trouble(SourceError("the cable"))
        assert outage.failures == 1, "what counts failures in a row counts from the last picture"
    assert attempts < 150
