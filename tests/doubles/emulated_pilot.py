"""The pilot on the emulated GPU: emulated_pilot.py EMULATOR FRAMES, then its own arguments.

EMULATOR is the library that emulation.build_emulator made. After so many FRAMES the device fails; 0: never.
Ends with exit 99 where something is left open on the device.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import pilot
from perception.app import cli
from perception.backends.gpu import kernels
from perception.system.stop import StopFlag
from tests.doubles.emulated_gpu import BINARY, Device
from tests.doubles.emulated_libcuda import plug_in
from tests.doubles.emulation import load_emulator
from tests.doubles.fake_tensorrt import tensorrt_module

ILLEGAL_ADDRESS = 700  # CUDA_ERROR_ILLEGAL_ADDRESS


class FailsLater(dict[str, int]):
    """Statuses of libcuda: that of cuGraphLaunch is a fault after so many launches."""

    def __init__(self, launches: int) -> None:
        super().__init__()
        self._left = launches

    def get(self, name: str, default: Any = None) -> Any:
        """The status of a call."""
        self._left -= name == "cuGraphLaunch"
        return ILLEGAL_ADDRESS if name == "cuGraphLaunch" and self._left < 0 else default


def main() -> None:
    """Runs the pilot."""
    device = Device(load_emulator(Path(sys.argv.pop(1))))
    if frames := int(sys.argv.pop(1)):
        device.refuse = FailsLater(frames)
    patch: Callable[[Any, str, Any], None] = setattr
    plug_in(device, patch, sys.modules.__setitem__)
    sys.modules["tensorrt"] = tensorrt_module(device)
    patch(kernels, "_build", lambda architecture: BINARY)
    stop = StopFlag()
    stop.listen()
    try:
        cli.start(pilot.run, pilot.check, stop)
    finally:
        try:
            device.assert_clean()
        except AssertionError as fault:
            sys.stderr.write(f"left open: {fault}\n")
            sys.exit(99)


if __name__ == "__main__":
    main()
