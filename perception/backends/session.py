"""The common interface of ONNX Runtime, PyTorch and TensorRtSession: a tensor goes in, the raw head comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from perception.backends.models.model_facts import Facts

Floats = npt.NDArray[np.floating]


class Session(Protocol):
    """An open network. A context manager, used by the thread that opened it.

    path: of its file. input_hw: (height, width) in pixels. batch: images in one call, None for any number. dtype: of
    the input tensor. facts: what the file tells of itself.
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
    def facts(self) -> Facts: ...

    @property
    def path(self) -> Path: ...

    def run(self, tensor: Floats) -> Floats:
        """The output, (n, ...), for a tensor (n, 3, H, W) of `dtype`, values 0 to 1, RGB."""
        ...

    def close(self) -> None:
        """Frees what the network holds."""
        ...
