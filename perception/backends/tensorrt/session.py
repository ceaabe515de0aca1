"""A TensorRT engine as a Session, for a device that cannot build kernels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from perception.backends.models.model_facts import Facts
from perception.backends.session import Floats
from perception.backends.tensorrt.runtime import Engine, Tensor


class TensorRtSession:
    """An engine as a Session: preprocess and decode are left to the CPU. Owns the engine and its Gpu from here on."""

    name = "tensorrt"

    def __init__(self, engine: Engine, class_names: Mapping[int, str]) -> None:
        self._engine = engine
        self._gpu = engine.gpu
        self.precision = engine.precision
        self.input_hw = engine.input_hw
        self.batch = None if engine.is_dynamic else engine.batch
        self.dtype = engine.input.dtype
        self.path = engine.path
        self.facts = Facts(class_names)
        self._input = self._host(engine.input)
        self._output = self._host(engine.output)

    def _host(self, tensor: Tensor) -> Floats:
        count = int(np.prod(tensor.shape))
        memory = self._gpu.host_memory(count * tensor.dtype.itemsize)
        floats: Floats = memory.bytes[: count * tensor.dtype.itemsize].view(tensor.dtype).reshape(tensor.shape)
        return floats

    def run(self, tensor: Floats) -> Floats:
        """The output (n, ...) for a tensor (n, 3, H, W); valid until the next call. GpuError where it fails."""
        largest = self._engine.batch
        if len(tensor) <= largest:
            return self._run(tensor)
        parts = [self._run(tensor[start : start + largest]).copy() for start in range(0, len(tensor), largest)]
        return np.concatenate(parts)

    def _run(self, tensor: Floats) -> Floats:
        cuda, stream = self._gpu.cuda, self._gpu.stream
        source, target = self._input[: len(tensor)], self._output[: len(tensor)]
        np.copyto(source, tensor)
        self._engine.set_batch(len(tensor))
        try:
            cuda.memcpy_htod_async(self._engine.input.address, source, stream)
            self._engine.enqueue()
            cuda.memcpy_dtoh_async(target, self._engine.output.address, stream)
            stream.synchronize()
        except cuda.Error as error:
            raise self._gpu.fault(error) from error
        return target

    def close(self) -> None:
        """Frees engine and context."""
        del self._input, self._output
        self._engine.close()
        self._gpu.close()
