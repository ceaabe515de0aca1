"""Readers that fail and readers that hang, beside one that works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perception.board import poller
from perception.board.poller import Board
from perception.board.sources import Source, SysfsSource
from perception.core.results import BoardSnapshot
from tests.board.planting import plant
from tests.doubles.fakes import FakeClock


class FakeSource:
    """A source that asks each of `answers` in turn what it reads, and the last one ever after."""

    def __init__(self, *answers: Callable[[], BoardSnapshot | None], name: str = "fake") -> None:
        self.name = name
        self._answers = answers
        self.reads = 0
        self.closed = threading.Event()

    def read(self) -> BoardSnapshot | None:
        self.reads += 1
        return self._answers[min(self.reads, len(self._answers)) - 1]()

    def close(self) -> None:
        self.closed.set()


def until(holds: Callable[[], object]) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.005)


def seven_watts() -> BoardSnapshot:
    return BoardSnapshot(power_w=7.0)


def refuse() -> BoardSnapshot:
    raise PermissionError("jtop.service:\n no access")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "RETRY_S", 0.01)


@pytest.fixture
def hung() -> Iterator[Callable[[], BoardSnapshot]]:
    """An answer that does not come before the test is over."""
    over = threading.Event()

    def wait() -> BoardSnapshot:
        over.wait()
        return BoardSnapshot(power_w=99.0)

    yield wait
    over.set()


def test_the_figures_of_a_real_tree_arrive(tmp_path: Path) -> None:
    sources: tuple[Source, ...] = (SysfsSource(plant("orin-nano-jetpack-6.2", tmp_path)),)
    with Board(sources, interval_s=0.01) as board:
        until(board.newest)
        snapshot = board.newest()
    assert snapshot is not None
    assert snapshot.power_mode == "MAXN_SUPER"


def test_this_very_machine_can_be_read(logged: list[str]) -> None:
    with Board(interval_s=0.01) as board:
        until(board.newest)
        snapshot = board.newest()
    assert snapshot is not None
    assert snapshot.memory_total_mib
    assert snapshot.memory_total_mib > 100


def test_a_snapshot_stays_the_same_object_for_a_second() -> None:
    clock, source = FakeClock(), FakeSource(seven_watts)
    with Board([source], clock=clock) as board:
        until(lambda: _later(board, clock))
        first = board.newest()
        assert board.newest() is first
        clock.now += 1.0
        second = board.newest()
    assert first is not None
    assert second is not None
    assert second is not first


def _later(board: Board, clock: FakeClock) -> BoardSnapshot | None:
    clock.now += 1.0
    return board.newest()


def test_a_source_that_fails_is_reported_once_and_asked_again(quick: None, logged: list[str]) -> None:
    broken, fine = FakeSource(refuse, name="jetson-stats"), FakeSource(seven_watts)
    with Board([broken, fine], interval_s=0.01) as board:
        until(lambda: broken.reads > 3 and board.newest())
        snapshot = board.newest()
    assert snapshot is not None
    assert snapshot.power_w == 7.0
    assert logged == [
        "WARNING Reading the board through jetson-stats failed (PermissionError: jtop.service: no access): its figures "
        "may be missing from the records. Detection goes on; python3 scripts/doctor.py says more."
    ]
    assert broken.closed.wait(30)


def test_a_source_that_fails_for_a_while_comes_back(quick: None, logged: list[str]) -> None:
    source = FakeSource(refuse, refuse, seven_watts)
    with Board([source], interval_s=0.01) as board:
        until(board.newest)
    assert len(logged) == 1


def test_a_source_that_hangs_holds_up_nobody_and_is_reported_once(
    hung: Callable[[], BoardSnapshot], logged: list[str]
) -> None:
    clock = FakeClock()
    stuck, fine = FakeSource(hung, name="stuck"), FakeSource(seven_watts)
    with Board([stuck, fine], interval_s=0.01, clock=clock) as board:
        until(lambda: stuck.reads)
        clock.now += poller.STALE_S + 1
        until(lambda: _later(board, clock) and len(logged) > 0)
        until(lambda: _later(board, clock))
        snapshot = board.newest()
        before = fine.reads
        until(lambda: fine.reads > before)
    assert snapshot is not None
    assert snapshot.power_w == 7.0
    assert [line for line in logged if "stuck" in line] == logged[:1] == logged
    assert "has not answered for 5 s" in logged[0]


def test_figures_of_a_source_that_hangs_later_are_not_told_for_ever(
    hung: Callable[[], BoardSnapshot], logged: list[str]
) -> None:
    clock, source = FakeClock(), FakeSource(seven_watts, hung)
    with Board([source], interval_s=0.01, clock=clock) as board:
        until(lambda: source.reads == 2)
        assert board.newest() is not None
        clock.now += poller.STALE_S + 1
        assert board.newest() is None


def test_a_source_with_nothing_to_read_is_not_asked_again(logged: list[str]) -> None:
    source = FakeSource(lambda: None)
    with Board([source], interval_s=0.01) as board:
        assert source.closed.wait(30)
        assert board.newest() is None
    assert (source.reads, logged) == (1, [])


def test_a_source_that_cannot_be_closed_is_reported(logged: list[str]) -> None:
    source = FakeSource(lambda: None)
    source.close = refuse  # type: ignore[method-assign, assignment]
    with Board([source], interval_s=0.01):
        until(lambda: logged)
    assert "could not be closed (PermissionError" in logged[0]
