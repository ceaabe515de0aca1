"""The figures of a client of jetson-stats, in our units. The service itself needs a Jetson."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from perception.board.jetson_stats import JetsonStatsSource, snapshot_of


def client(**changed: Any) -> SimpleNamespace:
    """A client with the tables that jtop/jtop.py documents."""
    tables: dict[str, Any] = {
        "temperature": {"CPU": {"temp": 58.2, "online": True}, "cv0": {"temp": -256, "online": False}},
        "power": {
            "rail": {"VDD_SOC": {"volt": 4984, "curr": 400, "power": 1993, "avg": 1990}, "BAT": {"status": "Full"}},
            "tot": {"volt": 4992, "curr": 1440, "power": 7188, "avg": 7100, "name": "VDD_IN"},
        },
        "gpu": {"gpu": {"status": {"load": 45.3}, "freq": {"cur": 1020000, "max": 1020000, "min": 306000}}},
        "memory": {"EMC": {"cur": 3199000, "max": 3199000, "min": 204000, "val": 12}},
        "nvpmodel": SimpleNamespace(name="MAXN_SUPER"),
    }
    return SimpleNamespace(**{**tables, **changed})


def test_every_figure_comes_in_base_units() -> None:
    snapshot = snapshot_of(client())
    assert snapshot.temperatures_c == {"cpu": 58.2}
    assert snapshot.rails_w == {"VDD_SOC": 1.993}
    assert snapshot.power_w == 7.188
    assert snapshot.gpu_load == pytest.approx(0.453)
    assert (snapshot.gpu_clock_hz, snapshot.emc_clock_hz, snapshot.emc_clock_max_hz) == (1020e6, 3199e6, 3199e6)
    assert snapshot.emc_load == 0.12
    assert snapshot.power_mode == "MAXN_SUPER"


def test_a_service_that_finds_nothing_gives_an_empty_snapshot() -> None:
    snapshot = snapshot_of(client(temperature={}, power={}, gpu={}, memory={"RAM": {}}, nvpmodel=None))
    assert (snapshot.temperatures_c, snapshot.rails_w, snapshot.power_w) == ({}, {}, None)
    assert (snapshot.gpu_load, snapshot.gpu_clock_hz, snapshot.emc_load, snapshot.power_mode) == (None,) * 4


def test_without_the_service_there_is_nothing_to_read(tmp_path: Path) -> None:
    source = JetsonStatsSource(tmp_path / "jtop.sock")
    assert source.read() is None
    source.close()


class FakeClient:
    """A client of a service that can be stopped."""

    running = True

    def __init__(self, tables: SimpleNamespace, fault: Exception | None) -> None:
        self.__dict__.update(vars(tables))
        self._fault = fault
        self.closed = False

    def start(self) -> None:
        if self._fault:
            raise self._fault

    def ok(self, spin: bool = False) -> bool:
        assert spin, "without it the call waits"
        return self.running

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    path = tmp_path / "jtop.sock"
    path.touch()
    return path


def serve(monkeypatch: pytest.MonkeyPatch, *faults: Exception | None) -> list[FakeClient]:
    """A package jtop whose clients start with the faults given; the clients made so far."""
    made: list[FakeClient] = []

    def jtop() -> FakeClient:
        made.append(FakeClient(client(), faults[len(made)]))
        return made[-1]

    monkeypatch.setitem(sys.modules, "jtop", SimpleNamespace(jtop=jtop))
    return made


def test_one_connection_serves_all_readings(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, source = serve(monkeypatch, None), JetsonStatsSource(socket)
    for _ in range(3):
        snapshot = source.read()
        assert snapshot is not None
        assert snapshot.power_w == 7.188
    source.close()
    assert [one.closed for one in made] == [True]


def test_a_service_that_refuses_raises_and_is_asked_again(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, RuntimeError("I can't access jtop.service"), None)
    source = JetsonStatsSource(socket)
    with pytest.raises(RuntimeError, match="can't access"):
        source.read()
    assert source.read() is not None


def test_a_service_that_stops_raises_and_is_found_again(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, source = serve(monkeypatch, None, FileNotFoundError("jtop.sock"), None), JetsonStatsSource(socket)
    assert source.read() is not None
    made[0].running = False
    with pytest.raises(ConnectionError, match="has stopped"):
        source.read()
    socket.unlink()
    with pytest.raises(FileNotFoundError):
        source.read()
    socket.touch()
    assert source.read() is not None


def test_a_service_without_the_package_is_said_once(
    socket: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jtop", None)
    assert JetsonStatsSource(socket).read() is None
    assert logged == ["INFO jtop.service runs here, but this Python lacks jetson-stats: its figures are left out"]
