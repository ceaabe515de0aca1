"""Reads a desktop's NVIDIA card, and the load of Thor's GPU, through NVML (package nvidia-ml-py).

Units: NVML API Reference Guide, "Device Queries": C, mW, MHz, percent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perception.core.results import BoardSnapshot

# nvmlClocksEventReasons of nvml.h. Idling, clocks that a user set and the card's own power cap are no throttling.
THROTTLE_REASONS = {
    0x08: "gpu hardware slowdown",
    0x20: "gpu software thermal slowdown",
    0x40: "gpu hardware thermal slowdown",
    0x80: "gpu power brake",
}


class NvmlSource:
    """The first card that CUDA would use: CUDA_VISIBLE_DEVICES where it is set, else the first of the bus."""

    name = "NVML"

    def __init__(self, root: Path = Path("/")) -> None:
        """root: of the file system; where it has /dev/nvgpu NVML is not used.

        It does not support the GPU of an Orin, or, on some releases, reports zeros.
        """
        self._nvgpu = root / "dev/nvgpu"
        self._refusals: list[Exception] = []
        self._answers = 0
        self._nvml: Any = None
        self._card: Any = None

    def read(self) -> BoardSnapshot | None:
        """Return the figures; None without the package, the driver or a card. Raises NVMLError where every query fails.

        A single query that fails costs that figure alone.
        """
        if self._card is None and (self._nvgpu.exists() or not self._open()):
            return None
        self._answers = 0
        self._refusals.clear()
        nvml, card, ask = self._nvml, self._card, self._ask
        power_mw = ask(nvml.nvmlDeviceGetPowerUsage, card)
        utilization = ask(nvml.nvmlDeviceGetUtilizationRates, card)
        slowdown_c = ask(nvml.nvmlDeviceGetTemperatureThreshold, card, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)
        temperature_c = ask(nvml.nvmlDeviceGetTemperature, card, nvml.NVML_TEMPERATURE_GPU)
        clock_mhz = ask(nvml.nvmlDeviceGetClockInfo, card, nvml.NVML_CLOCK_GRAPHICS)
        clock_max_mhz = ask(nvml.nvmlDeviceGetMaxClockInfo, card, nvml.NVML_CLOCK_GRAPHICS)
        reasons = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, card) or 0
        if self._refusals and not self._answers:
            raise self._refusals[0]
        return BoardSnapshot(
            temperatures_c={} if temperature_c is None else {"gpu": float(temperature_c)},
            throttle_from_c={} if not slowdown_c else {"gpu": float(slowdown_c)},
            power_w=None if power_mw is None else power_mw / 1000,
            gpu_load=None if utilization is None else utilization.gpu / 100,
            gpu_clock_hz=None if clock_mhz is None else clock_mhz * 1e6,
            gpu_clock_max_hz=None if clock_max_mhz is None else clock_max_mhz * 1e6,
            throttling=tuple(reason for bit, reason in THROTTLE_REASONS.items() if reasons & bit),
        )

    def close(self) -> None:
        """Shut NVML down."""
        if self._nvml is not None:
            self._nvml.nvmlShutdown()

    def _open(self) -> bool:
        try:
            import pynvml
        except ImportError:
            return False
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return False
        self._nvml = pynvml
        try:
            self._card = _first_card(pynvml, os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
        except pynvml.NVMLError:
            return False
        return True

    def _ask(self, question: Callable[..., Any], *about: Any) -> Any:
        """Return the answer, or None where this card or driver has none, or has none now."""
        try:
            answer = question(*about)
        except self._nvml.NVMLError as refusal:
            self._refusals.append(refusal)
            return None
        self._answers += 1
        return answer


def _first_card(nvml: Any, visible: str) -> Any:
    first = visible.split(",")[0].strip()
    if first.startswith(("GPU-", "MIG-")):
        return nvml.nvmlDeviceGetHandleByUUID(first)
    return nvml.nvmlDeviceGetHandleByIndex(int(first) if first.isdigit() else 0)
