"""The stage that builds, on the fake TensorRT: `python -m tests.workshop.build.fake_stage REQUEST.json RESULT.json`.

FAKE_BUILD_S: how long a build takes, in seconds; FAKE_GENERATION: the release, 8.6 where it is not set.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from perception.workshop.build.build_stage import end_at_once, run
from perception.workshop.stage import serve
from tests.doubles.emulated_gpu import Device
from tests.doubles.emulated_libcuda import plug_in
from tests.doubles.fake_tensorrt import tensorrt_module
from tests.workshop.build.fake_builder import extend, put_memory_meter


def plug_in_builder() -> None:
    """Puts the emulated GPU and the fake TensorRT into the place of the real ones; no kernel runs on this GPU."""
    no_kernels: Any = None
    device = Device(no_kernels)
    plug_in(device, setattr, sys.modules.__setitem__)
    put_memory_meter(device)
    module = tensorrt_module(device)
    sys.modules["tensorrt"] = module
    generation: Any = os.environ.get("FAKE_GENERATION", "8.6")
    bench = extend(module, module.machine, generation)
    step_s = float(os.environ.get("FAKE_BUILD_S", "0")) / 4
    bench.on_step = lambda step: time.sleep(step_s)


if __name__ == "__main__":
    plug_in_builder()
    serve(lambda values, emit: run(values, emit, end_at_once(Path(sys.argv[2]))))
