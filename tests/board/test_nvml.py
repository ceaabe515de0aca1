"""The card of this machine, and what a throttled one says."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from perception.board.nvml import NvmlSource


def test_a_card_tells_its_temperature_power_load_and_clocks() -> None:
    source = NvmlSource()
    snapshot = source.read()
    if snapshot is None:
        source.close()
        pytest.skip("no GPU")
    assert 0 < snapshot.temperatures_c["gpu"] < 120
    assert snapshot.power_w is not None
    assert 1 < snapshot.power_w < 2000
    assert snapshot.gpu_load is not None
    assert 0 <= snapshot.gpu_load <= 1
    assert snapshot.gpu_clock_hz is not None
    assert snapshot.gpu_clock_max_hz is not None
    assert 1e8 < snapshot.gpu_clock_hz <= snapshot.gpu_clock_max_hz < 1e10
    source.close()


def test_without_the_package_there_is_nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    source = NvmlSource()
    assert source.read() is None
    source.close()


class NvmlError(Exception):
    """The family of NVML's errors."""


class NotSupported(NvmlError):
    """The answer of a card that cannot tell."""


def throttled(index_of: list[int]) -> SimpleNamespace:
    """NVML of a hot card whose power cannot be told; `index_of` takes which card was asked for."""

    def refuse(*_: object) -> None:
        raise NotSupported

    return SimpleNamespace(
        NVMLError=NvmlError,
        NVMLError_NotSupported=NotSupported,
        NVMLError_FunctionNotFound=NotSupported,
        NVMLError_NoPermission=NotSupported,
        NVML_TEMPERATURE_GPU=0,
        NVML_TEMPERATURE_THRESHOLD_SLOWDOWN=1,
        NVML_CLOCK_GRAPHICS=0,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=index_of.append,
        nvmlDeviceGetHandleByUUID=index_of.append,
        nvmlDeviceGetTemperature=lambda card, kind: 91,
        nvmlDeviceGetTemperatureThreshold=lambda card, kind: 90,
        nvmlDeviceGetPowerUsage=refuse,
        nvmlDeviceGetUtilizationRates=lambda card: SimpleNamespace(gpu=100),
        nvmlDeviceGetClockInfo=lambda card, kind: 600,
        nvmlDeviceGetMaxClockInfo=lambda card, kind: 1980,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda card: 0x40 | 0x08 | 0x04 | 0x01,
    )


def test_throttling_has_its_reasons_and_what_is_unknown_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", throttled([]))
    snapshot = NvmlSource().read()
    assert snapshot is not None
    assert snapshot.throttling == ("gpu hardware slowdown", "gpu hardware thermal slowdown")
    assert (snapshot.temperatures_c, snapshot.throttle_from_c) == ({"gpu": 91.0}, {"gpu": 90.0})
    assert snapshot.power_w is None
    assert (snapshot.gpu_load, snapshot.gpu_clock_hz, snapshot.gpu_clock_max_hz) == (1.0, 600e6, 1980e6)


def test_where_nvgpu_drives_the_gpu_nothing_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setitem(sys.modules, "pynvml", throttled(asked))
    (tmp_path / "dev" / "nvgpu").mkdir(parents=True)
    assert NvmlSource(tmp_path).read() is None
    assert asked == []


def test_an_answer_that_fails_costs_that_figure_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    card = throttled([])

    def fail(*_: object) -> None:
        raise NvmlError("Unknown Error")

    for question in ("nvmlDeviceGetClockInfo", "nvmlDeviceGetCurrentClocksThrottleReasons"):
        setattr(card, question, fail)
    monkeypatch.setitem(sys.modules, "pynvml", card)
    snapshot = NvmlSource().read()
    assert snapshot is not None
    assert (snapshot.gpu_clock_hz, snapshot.gpu_clock_max_hz, snapshot.throttling) == (None, 1980e6, ())
    assert snapshot.temperatures_c == {"gpu": 91.0}


def test_a_card_that_answers_nothing_any_more_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    card = throttled([])
    monkeypatch.setitem(sys.modules, "pynvml", card)
    source = NvmlSource()
    assert source.read() is not None
    for question in [name for name in vars(card) if name.startswith("nvmlDeviceGet") and "Handle" not in name]:
        setattr(card, question, card.nvmlDeviceGetPowerUsage)
    with pytest.raises(NvmlError):
        source.read()


@pytest.mark.parametrize(("visible", "card"), [("2,0", 2), ("GPU-1f", "GPU-1f"), ("", 0), ("-1", 0)])
def test_the_card_is_the_one_that_cuda_sees_first(
    visible: str, card: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setitem(sys.modules, "pynvml", throttled(asked))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    NvmlSource().read()
    assert asked[:1] == [card]
