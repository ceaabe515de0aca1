"""What ONNX Runtime, PyTorch and TensorRtSession have in common: a tensor goes in, the raw head comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


class Session(Protocol):
    """An open network. A context manager, used by the thread that opened it.

    input_hw: (height, width) in pixels. batch: images in one call, None for any number. dtype: of the input tensor.
    class_names: by id, empty where the file names none.
    """

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def input_hw(self) -> tuple[int, int]: ...

    @property
    def batch(self) -> int | None: ...

    @property
    def dtype(self) -> npt.DTypeLike: ...

    @property
    def class_names(self) -> Mapping[int, str]: ...

    def run(self, tensor: Floats) -> Floats:
        """The first output, (n, ...), for a tensor (n, 3, H, W) of `dtype`, values 0 to 1, RGB."""
        ...

    def close(self) -> None:
        """Frees what the network holds."""
        ...
