"""On the path of an export, puts an emulated GPU and a fake TensorRT into each of its stages, and into nothing else.

FAKE_GPU: the library of tests/doubles/emulation.py. FAKE_BUILD_S: how long a build takes, in seconds.
"""

import os
import sys


def plug_in() -> None:
    """Puts the fakes into the place of the real ones."""
    import time
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[4]))
    from perception.backends.gpu import kernels
    from perception.doctor import probe
    from tests.doubles.emulated_gpu import BINARY, Device
    from tests.doubles.emulated_libcuda import plug_in as plug_in_device
    from tests.doubles.emulation import load_emulator
    from tests.doubles.fake_tensorrt import tensorrt_module
    from tests.workshop.build.fake_builder import extend, put_memory_meter

    device = Device(load_emulator(Path(os.environ["FAKE_GPU"])))
    plug_in_device(device, setattr, sys.modules.__setitem__)
    put_memory_meter(device)
    module = tensorrt_module(device)
    sys.modules["tensorrt"] = module
    step_s = float(os.environ.get("FAKE_BUILD_S", "0")) / 4
    extend(module, module.machine, "8.6").on_step = lambda step: time.sleep(step_s)
    probe.look_at_cuda = lambda number=0: {"devices": 1} | ({} if number else {"name": "Emulated"})
    kernels._build = lambda architecture: BINARY


if os.environ.get("FAKE_GPU") and any("stage_child" in word for word in sys.orig_argv):
    plug_in()
