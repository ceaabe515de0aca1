"""Reads the board through the service of jetson-stats (jtop), which runs as root and sees the memory controller's load.

Units of jtop 4 to 7 (jtop/jtop.py): temperatures in C, with -256 for a sensor that is off; power mW; clocks kHz; loads
in percent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from loguru import logger

from perception.board.sysfs import COLDEST_C
from perception.core.results import BoardSnapshot

SOCKET = Path("/run/jtop.sock")


class JetsonStatsSource:
    """Reads from jtop.service where its socket is. Needs the package jetson-stats and a user of the group jtop."""

    name = "jetson-stats"

    def __init__(self, socket: Path = SOCKET) -> None:
        self._socket = socket
        self._client: Any = None
        self._connected_once = False

    def read(self) -> BoardSnapshot | None:
        """Return the figures; None without the service or the package. JtopException where the service refuses."""
        if not self._socket.exists() and not self._connected_once:
            return None
        client, self._client = self._client or self._connected(), None
        if client is None:
            return None
        if not client.ok(spin=True):
            raise ConnectionError("jtop.service has stopped")
        self._client = client
        return snapshot_of(client)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()

    def _connected(self) -> Any:
        try:
            from jtop import jtop
        except ModuleNotFoundError:
            logger.info("jtop.service runs here, but this Python lacks jetson-stats: its figures are left out")
            return None
        client = jtop()
        _in_new_thread(client.start)
        self._connected_once = True
        return client


def _in_new_thread(work: Callable[[], None]) -> None:
    """Run `work` in a new thread, and raise what it raises.

    The proxies of multiprocessing keep one connection a thread, also when its service has gone: in the same thread a
    service that was started again would never be reached.
    """
    faults: list[Exception] = []

    def attempt() -> None:
        try:
            work()
        except Exception as fault:
            faults.append(fault)

    thread = threading.Thread(target=attempt, name="board jetson-stats start", daemon=True)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]


def snapshot_of(client: Any) -> BoardSnapshot:
    """Return the figures of a running jtop client in SI units."""
    gpu: Mapping[str, Any] = next(iter(client.gpu.values()), {})
    gpu_clock, emc = gpu.get("freq", {}), client.memory.get("EMC", {})
    rails = {name: rail["power"] / 1000 for name, rail in client.power.get("rail", {}).items() if "power" in rail}
    mode = client.nvpmodel
    return BoardSnapshot(
        temperatures_c={
            name.lower(): sensor["temp"] for name, sensor in client.temperature.items() if sensor["temp"] > COLDEST_C
        },
        power_w=_scaled(client.power.get("tot", {}).get("power"), 1e-3) if rails else None,
        rails_w=rails,
        gpu_load=_scaled(gpu.get("status", {}).get("load"), 0.01),
        gpu_clock_hz=_scaled(gpu_clock.get("cur"), 1000),
        gpu_clock_max_hz=_scaled(gpu_clock.get("max"), 1000),
        emc_load=_scaled(emc.get("val"), 0.01),
        emc_clock_hz=_scaled(emc.get("cur"), 1000),
        emc_clock_max_hz=_scaled(emc.get("max"), 1000),
        power_mode=mode.name if mode else None,
    )


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
