"""The device and its graphs, on the emulated GPU: what is opened, what a fault becomes, and that all is closed."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest

from perception.backends.gpu.cuda import READ_AHEAD, CaptureRefused, Gpu, Graph
from perception.core.errors import BackendError, GpuError
from tests.doubles.emulated_errors import LaunchError, LogicError
from tests.doubles.emulated_gpu import Device
from tests.doubles.emulated_stream import Stream

STARTING = ("init", "Device", "retain_primary_context", "push", "Stream", "name", "compute_capability")
CAPTURE_CALLS = ("cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags")


def test_a_gpu_says_what_it_is_and_pops_its_context_once(device: Device) -> None:
    with Gpu() as gpu:
        assert device.contexts == 1
        assert (gpu.name, gpu.compute_capability, gpu.cuda_version) == ("Orin", "8.7", "12.6")
    assert (device.calls["push"], device.calls["pop"]) == (1, 1)


@pytest.mark.parametrize(("number", "text"), [(11040, "11.4"), (12020, "12.2"), (13000, "13.0"), (13020, "13.2")])
def test_the_version_of_cuda(device: Device, number: int, text: str) -> None:
    device.driver_version = number
    with Gpu() as gpu:
        assert gpu.cuda_version == text


@pytest.mark.parametrize("call", [*STARTING, "get_driver_version"])
def test_a_fault_in_the_start_is_one_of_this_backend_and_leaves_nothing_open(device: Device, call: str) -> None:
    device.fail[call] = LogicError(f"{call} failed: no CUDA-capable device is detected")
    with pytest.raises(BackendError, match=r"CUDA device 0 .*: .* failed: no CUDA-capable device") as caught:
        Gpu()
    assert caught.value.cure
    del device.fail[call]
    assert device.contexts == 0


@pytest.mark.parametrize(("wait", "flags"), [("auto", None), ("spin", 1), ("block", 4)])
def test_how_a_thread_waits_is_set_before_the_context_is_made(device: Device, wait: str, flags: int | None) -> None:
    with Gpu(0, wait):
        assert device.context_flags.get(0) == flags


def test_a_way_to_wait_that_cannot_be_set_is_told(device: Device) -> None:
    device.refuse["cuDevicePrimaryCtxSetFlags_v2"] = 708
    with pytest.raises(BackendError, match=r"engine\.wait: block asks \(cuDevicePrimaryCtxSetFlags: 708\)") as caught:
        Gpu(0, "block")
    assert caught.value.cure == "Set engine.wait: auto."
    device.lacks.add("cuDevicePrimaryCtxSetFlags_v2")
    with pytest.raises(BackendError, match="no such call"):
        Gpu(0, "spin")
    assert device.contexts == 0


def test_without_pycuda_the_sentence_says_how_to_get_it(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendError, match=r"PyCUDA cannot be used: .* -r requirements-jetson\.lock"):
        Gpu()


def test_a_device_that_is_not_there_is_named(device: Device) -> None:
    with pytest.raises(BackendError, match=r"CUDA device 3 cannot be used: .*invalid device ordinal"):
        Gpu(3)


def test_a_context_that_cannot_be_taken_off_after_a_fault_is_noted(device: Device, logged: list[str]) -> None:
    """Whoever closes is on the way out with the fault itself, which must not be replaced."""
    with Gpu():
        device.fail["pop"] = LaunchError("context::pop failed: an illegal memory access was encountered")
    assert len(logged) == 1
    assert "an illegal memory access was encountered" in logged[0]
    device.fail.clear()
    device.contexts, device.calls["pop"] = 0, device.pushed


def test_memory_of_the_host_is_zero_and_both_sides_see_it(device: Device) -> None:
    with Gpu() as gpu:
        memory = gpu.host_memory(100)
        assert len(memory.bytes) == 100 + READ_AHEAD
        assert not memory.bytes.any()
        memory.bytes[:100] = np.arange(100)
        np.testing.assert_array_equal(device.read(memory.address, (100,), np.uint8), np.arange(100))
        values = np.arange(12, dtype=np.float32).reshape(3, 4)
        uploaded = gpu.upload(values.T)
        np.testing.assert_array_equal(device.read(int(uploaded), (4, 3), np.float32), values.T)


@pytest.mark.parametrize(
    ("call", "ask"),
    [
        ("pagelocked_zeros", lambda gpu: gpu.host_memory(1000)),
        ("mem_alloc", lambda gpu: gpu.device_memory(1000)),
        ("mem_alloc", lambda gpu: gpu.upload(np.zeros(1000, np.uint8))),
    ],
)
def test_too_little_memory_while_starting_is_a_fault_of_this_backend(
    device: Device, call: str, ask: Callable[[Gpu], object]
) -> None:
    with Gpu() as gpu:
        device.fail[call] = LogicError("out of memory")
        with pytest.raises(BackendError, match=r"CUDA could not give 1000 bytes of .*: out of memory") as caught:
            ask(gpu)
        assert caught.value.cure


def test_a_gpu_that_nobody_closes_leaves_no_context(device: Device) -> None:
    """As where a stop comes between the opening and whoever is to close."""
    gpu = Gpu()
    assert device.contexts == 1
    del gpu
    assert device.contexts == 0


def test_the_end_of_the_process_takes_the_context_off(device: Device) -> None:
    gpu = Gpu()
    finalizer = gpu._pop
    assert finalizer.atexit
    gpu.close()
    gpu.close()
    assert device.calls["pop"] == 1
    assert not finalizer.alive


# Graphs


class Work:
    """Work that counts how often it ran."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.ran = 0

    def put(self) -> None:
        """Adds one run to the stream."""
        self.stream.put(self._run)

    def _run(self) -> None:
        self.ran += 1


def test_what_is_recorded_runs_once_for_each_launch(device: Device) -> None:
    with Gpu() as gpu:
        work = Work(gpu.stream)
        graph = Graph(gpu.stream.handle, work.put)
        gpu.stream.synchronize()
        assert work.ran == 0, "recording executes nothing"
        for _ in range(3):
            graph.launch()
        assert work.ran == 0
        gpu.stream.synchronize()
        assert work.ran == 3
        graph.close()
        graph.close()
    assert device.calls["cuGraphExecDestroy"] == device.calls["cuGraphDestroy"] == 1


@pytest.mark.parametrize("call", CAPTURE_CALLS)
def test_a_capture_that_is_refused_says_by_what_and_leaves_the_stream_usable(device: Device, call: str) -> None:
    device.refuse[call] = 900
    with Gpu() as gpu:
        work = Work(gpu.stream)
        with pytest.raises(CaptureRefused, match=f"{call} gave 900"):
            Graph(gpu.stream.handle, work.put)
        work.put()
        gpu.stream.synchronize()
        assert work.ran == 1


def test_a_driver_without_the_call_refuses(device: Device) -> None:
    device.lacks.add("cuGraphInstantiateWithFlags")  # it came with CUDA 11.4
    with Gpu() as gpu, pytest.raises(CaptureRefused, match="this driver has no cuGraphInstantiateWithFlags"):
        Graph(gpu.stream.handle, lambda: None)


def test_work_that_cannot_be_recorded_ends_the_capture(device: Device) -> None:
    def record() -> None:
        raise LaunchError("enqueueV3 failed: operation not permitted when stream is capturing")

    with Gpu() as gpu:
        with pytest.raises(CaptureRefused, match="operation not permitted"):
            Graph(gpu.stream.handle, record)
        assert gpu.stream.recording is None
        gpu.stream.synchronize()
    assert device.calls["cuStreamEndCapture"] == 1


def test_a_launch_that_fails_is_a_fault_of_the_gpu(device: Device) -> None:
    with Gpu() as gpu:
        graph = Graph(gpu.stream.handle, lambda: None)
        device.refuse["cuGraphLaunch"] = 719
        with pytest.raises(GpuError, match="cuGraphLaunch gave 719") as caught:
            graph.launch()
        assert caught.value.exit_code == 5
        graph.close()


def test_a_graph_that_cannot_be_freed_is_noted(device: Device, logged: list[str]) -> None:
    with Gpu() as gpu:
        graph = Graph(gpu.stream.handle, lambda: None)
        device.refuse["cuGraphExecDestroy"] = 719
        graph.close()
    assert logged == ["DEBUG cuGraphExecDestroy gave 719"]
