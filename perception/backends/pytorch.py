"""PyTorch weights through ultralytics: it loads the module, we call its forward. torchvision is never needed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
from loguru import logger

from perception.backends.base import Backend, PassedOver, Wanted, log_loading
from perception.backends.gpu.cuda import has_cuda_driver
from perception.backends.input_size import input_size
from perception.backends.models.model_facts import Facts, facts_of
from perception.backends.session import Floats
from perception.backends.session_backend import open_session_backend
from perception.backends.waiting import spins
from perception.core.errors import BackendError, GpuError
from perception.system.reasons import cause_of


def why_not_importable() -> str:
    """Why PyTorch weights cannot be read here, or "" where they can. Imports nothing."""
    missing = [name for name in ("torch", "ultralytics") if importlib.util.find_spec(name) is None]
    return f"{' and '.join(missing)} not installed" if missing else ""


def open_on_cuda(wanted: Wanted) -> Backend:
    """Return the model's .pt on the first CUDA device; PassedOver where one of them is missing."""
    return _open(wanted, "cuda:0")


def open_on_cpu(wanted: Wanted) -> Backend:
    """Return the model's .pt on the CPU; PassedOver where that is not allowed."""
    if not wanted.settings.allow_cpu:
        raise PassedOver("the CPU is not allowed (allow_cpu: false)")
    return _open(wanted, "cpu")


def _open(wanted: Wanted, device: str) -> Backend:
    settings, path = wanted.settings, wanted.files.pt
    if path is None:
        raise PassedOver("there are no .pt weights")
    if device != "cpu" and not has_cuda_driver():
        raise PassedOver("this machine has no CUDA driver")
    if reason := why_not_importable():
        raise PassedOver(reason)
    log_loading(path)
    return open_session_backend(PyTorchSession(path, settings.model.imgsz, settings.cpu.threads, device), settings)


class PyTorchSession:
    """A detector in a .pt file of ultralytics, on `device` ("cpu" or "cuda:0").

    Raises BackendError where the file cannot be loaded or the device is not there.
    """

    name = "pytorch"
    precision = "fp32"
    batch = None
    dtype = np.float32

    def __init__(self, path: Path, imgsz: int | None, threads: int, device: str) -> None:
        """imgsz: side of the square input in pixels, None for the one that the file was trained at.

        threads: on the CPU; 0 leaves PyTorch's own choice.
        """
        os.environ.setdefault("YOLO_AUTOINSTALL", "false")  # nothing is ever installed behind the user's back
        os.environ.setdefault("YOLO_VERBOSE", "false")
        spins()  # before torch, whose OpenMP reads it once
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise BackendError(f"torch {torch.__version__} has no CUDA here", "Install NVIDIA's build of torch last.")
        if threads and device == "cpu":
            torch.set_num_threads(threads)
        self.path = path
        self._torch: Any = torch
        self._version = torch.__version__
        self._device = device
        self._model, self.facts = _load(path, device)
        self.input_hw, note = input_size(path, (None, None), self.facts, imgsz)
        if note:
            logger.warning(note)

    def run(self, tensor: Floats) -> Floats:
        """See Session."""
        torch = self._torch
        try:
            with torch.inference_mode():
                output = self._model(torch.from_numpy(tensor).to(self._device))
                if isinstance(output, (list, tuple)):  # the head gives its training outputs as well
                    output = output[0]
                raw: Floats = output.cpu().numpy()
                return raw
        except RuntimeError as error:
            if self._device == "cpu":
                raise BackendError(f"torch {self._version} cannot run the model: {cause_of(error)}") from None
            raise GpuError(
                f"torch {self._version} failed on {self._device}: {cause_of(error)}", "Start again."
            ) from None

    def close(self) -> None:
        """Frees the module."""
        self._model = None


def _load(path: Path, device: str) -> tuple[Any, Facts]:
    from ultralytics.nn.tasks import load_checkpoint

    try:
        model, _ = load_checkpoint(str(path), device=device, fuse=True)
    except Exception as error:  # unpickling runs the file's own code, which can raise anything
        raise BackendError(
            f"{path} cannot be loaded by ultralytics: {cause_of(error)}",
            "Give a checkpoint as ultralytics saves it after training, not a bare module or its weights alone.",
        ) from None
    facts = _facts(model)
    if not hasattr(model, "names") or not hasattr(model, "stride"):
        raise BackendError(
            f"{path} holds a bare {type(model).__name__}, and no model of ultralytics",
            "Give a checkpoint as ultralytics saves it after training.",
        )
    if facts.task not in (None, "detect"):
        raise BackendError(f"{path} is a model for {facts.task!r}, not for detection", "Give a detection model.")
    return model.eval(), facts


def _facts(model: Any) -> Facts:
    """Return the facts of the module, in the keys of an export's metadata."""
    layers = getattr(model, "model", None)
    args = getattr(model, "args", None)
    return facts_of(
        {
            "names": getattr(model, "names", None),
            "task": getattr(model, "task", None),
            "head": type(layers[-1]).__name__ if layers is not None and len(layers) else None,
            "end2end": getattr(model, "end2end", False),
            "imgsz": args.get("imgsz") if isinstance(args, dict) else None,
        }
    )
