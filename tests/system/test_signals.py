"""Signals that come while native code runs are not lost, and not too early."""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from perception.backends.tensorrt.backend import open_engine_backend
from perception.backends.tensorrt.engine_file import open_engine
from perception.system.signals import held_back
from tests.doubles.fake_tensorrt import ICudaEngine, Runtime, write_engine


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Those of a Python program, whatever ran before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_end_of_the_block(number: signal.Signals) -> None:
    reached = []

    def work() -> None:
        with held_back():
            signal.raise_signal(number)
            reached.append(number)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached
    assert signal.getsignal(number) is signal.default_int_handler


def test_a_signal_that_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held_back():
        signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_fault_in_the_block_leaves_the_handlers_as_they_were() -> None:
    with pytest.raises(ZeroDivisionError), held_back():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_are_left_alone() -> None:
    done = []

    def work() -> None:
        with held_back():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert done == [signal.default_int_handler]


def test_a_callback_of_native_code_is_entered_in_peace() -> None:
    """As when TensorRT logs after a Ctrl-C: a handler that raised in the callback would be lost in it."""
    entered = []

    def compare(one: int, other: int) -> int:
        entered.append((one, other))
        return 0

    def work() -> None:
        with held_back():
            signal.raise_signal(signal.SIGINT)
            ctypes.CDLL(None).qsort(numbers, 2, ctypes.sizeof(ctypes.c_int), callback)

    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(compare)
    numbers = (ctypes.c_int * 2)(2, 1)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert entered


@pytest.mark.parametrize(
    ("kind", "call"), [(Runtime, "deserialize_cuda_engine"), (ICudaEngine, "create_execution_context")]
)
def test_a_ctrl_c_in_a_long_call_of_tensorrt_ends_the_start(
    tensorrt: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type, call: str
) -> None:
    real, ended = getattr(kind, call), []

    def interrupted(self: object, *arguments: object) -> object:
        signal.raise_signal(signal.SIGINT)
        made = real(self, *arguments)
        ended.append(call)
        return made

    monkeypatch.setattr(kind, call, interrupted)
    file = open_engine(write_engine(tmp_path / "tiny.engine"))
    with pytest.raises(KeyboardInterrupt):
        open_engine_backend(file, (), 64, tmp_path)  # which frees all while there is a context
    assert ended == [call]
    assert not tensorrt.machine.alive
