"""Warnings of heat and throttling: their moment and their words."""

from __future__ import annotations

import pytest

from perception.core.results import BoardSnapshot
from perception.reporting.thermal import ThermalWatch
from tests.doubles.fakes import FakeClock

LIMITS = {"cpu": 99.0, "gpu": 99.0}


def at(gpu_c: float, *throttling: str, power_w: float | None = 12.0) -> BoardSnapshot:
    """A board whose GPU is the hottest."""
    return BoardSnapshot({"cpu": gpu_c - 3, "gpu": gpu_c, "case": 99.0}, LIMITS, power_w, throttling=throttling)


class Board:
    """A watch, and the seconds that pass: each has ten frames and a snapshot."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.watch = ThermalWatch(self.clock)

    def second(self, snapshot: BoardSnapshot, total_ms: float = 12.0) -> None:
        for _ in range(10):
            self.watch.add(total_ms)
        self.watch.see(snapshot)
        self.clock.now += 1.0


@pytest.fixture
def board() -> Board:
    return Board()


def test_a_cool_board_is_silent(board: Board, logged: list[str]) -> None:
    for degrees in (40, 60, 80, 93, 80):
        board.second(at(degrees))
    board.watch.close()
    assert logged == []


def test_heat_is_said_where_it_begins_and_where_it_ends(board: Board, logged: list[str]) -> None:
    board.second(at(80), 12.1)
    board.second(at(95), 12.1)
    for degrees in (97, 93, 94, 90):  # in the band between
        board.second(at(degrees), 14.0)
    board.second(at(88), 14.0)
    assert logged == [
        "WARNING Heat began: gpu 95 C, 12.0 W, and the board slows itself down from 99 C. Latency before: p50 12.1 ms.",
        "WARNING Heat ended after 4 s. Latency: p50 14.0 ms during it, 12.1 ms before.",
    ]


def test_throttling_is_said_with_the_latency_before_and_during(board: Board, logged: list[str]) -> None:
    board.second(at(85), 12.1)
    board.second(at(86, "gpu-throttle-alert"), 12.1)
    for _ in range(30):
        board.second(at(86, "gpu-throttle-alert"), 19.8)
    for _ in range(10):
        board.second(at(85), 12.2)
    assert logged == [
        "WARNING Throttling began: gpu-throttle-alert (case 99 C, 12.0 W). Latency before: p50 12.1 ms.",
        "WARNING Throttling ended after 30 s. Latency: p50 19.8 ms during it, 12.1 ms before.",
    ]


def test_the_wait_for_the_end_is_no_part_of_the_throttling(board: Board, logged: list[str]) -> None:
    for _ in range(3):
        board.second(at(86, "gpu-throttle-alert"), 19.8)
    for _ in range(10):
        board.second(at(85), 12.2)
    assert logged[1] == "WARNING Throttling ended after 2 s. Latency: p50 19.8 ms during it, 19.8 ms before."


def test_throttling_that_flickers_is_one_episode(board: Board, logged: list[str]) -> None:
    for second in range(40):
        board.second(at(80, *(["under-voltage"] if second % 5 == 0 else [])))
    assert len(logged) == 1
    for _ in range(10):
        board.second(at(80))
    assert len(logged) == 2


def test_a_second_episode_is_compared_with_what_was_before_it(board: Board, logged: list[str]) -> None:
    for latency in (12.0, 15.0):
        for _ in range(60):
            board.second(at(80), latency)
        board.second(at(80, "a"), latency)
    assert [line.split("p50 ")[1] for line in logged if "began" in line] == ["12.0 ms.", "15.0 ms."]


def test_what_lasts_at_the_end_of_the_run_is_said(board: Board, logged: list[str]) -> None:
    board.second(at(80, "gpu-throttle-alert"))
    board.second(at(80, "gpu-throttle-alert"), 20.0)
    board.watch.close()
    assert logged[1:] == [
        "WARNING Throttling, or the run, ended after 1 s. Latency: p50 20.0 ms during it, 12.0 ms before."
    ]


def test_a_board_that_tells_little_is_judged_by_what_it_tells(board: Board, logged: list[str]) -> None:
    board.watch.see(BoardSnapshot({"gpu": 150.0}))  # nobody knows from where it slows down
    board.watch.see(BoardSnapshot({}, LIMITS))
    board.watch.see(BoardSnapshot(throttling=("gpu power brake",)))
    assert logged == ["WARNING Throttling began: gpu power brake (temperature unknown). Latency before: p50 unknown."]
