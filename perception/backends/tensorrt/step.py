"""TensorRT in the selection: the engine that is there, or one that is exported first."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

from loguru import logger

from perception.backends.base import Backend, PassedOver, Wanted, log_loading, request_of
from perception.backends.gpu.cuda import has_cuda_driver
from perception.backends.models.model_files import find_model
from perception.backends.tensorrt.engine_file import open_engine as open_file
from perception.backends.tensorrt.identity import class_names, precision_of
from perception.system.home import ROOT
from perception.system.trusted_file import REBUILD


def open_engine(wanted: Wanted) -> Backend:
    """Return the engine of the model as a Backend; PassedOver or BackendError where it cannot serve."""
    settings, path = wanted.settings, wanted.files.engine
    if path is None:
        raise PassedOver(f"{settings.engine_dir / wanted.files.stem}.engine does not exist")
    file = open_file(path)
    precision = precision_of(file)
    if (precision == "int8" and not settings.int8) or (precision == "fp16" and not settings.fp16):
        allowed = "fp16" if settings.fp16 else "fp32"
        raise PassedOver(
            f"{path} is {precision}, which is switched off ({precision}: false); "
            f"this builds one of {allowed}: {REBUILD} --precision {allowed}"
        )
    if precision == "unknown":
        logger.warning(f"{path} does not say its precision: int8 and fp16 of the settings cannot be checked")
    if importlib.util.find_spec("tensorrt") is None:
        raise PassedOver(f"{path} cannot run: tensorrt is not installed")
    if names := class_names(file, settings.model.names):
        request_of(settings, names)  # what does not fit is told before the GPU is touched
    from perception.backends.tensorrt.backend import open_engine_backend

    log_loading(path)
    model, how = settings.model, settings.engine
    return open_engine_backend(file, model.names, model.imgsz, settings.engine_dir, how.device, how.wait, model.layout)


def export_engine(wanted: Wanted) -> Backend:
    """Build an FP16 engine where there is none, or one that is for another machine, and return it as a Backend."""
    settings, files = wanted.settings, wanted.files
    if files.engine is not None and not wanted.foreign:
        raise PassedOver(f"{files.engine} is there, and is not replaced without being asked to")
    if not files.weights:
        raise PassedOver("there are no weights to export")
    if not settings.fp16:
        raise PassedOver("fp16 is switched off, and nothing else is built at a start")
    if importlib.util.find_spec("tensorrt") is None:
        raise PassedOver("tensorrt is not installed")
    if not has_cuda_driver():
        raise PassedOver("this machine has no CUDA driver")
    if wanted.export is None:
        raise PassedOver("an export is made by pilot.py alone")
    logger.info("Exporting model to TensorRT...")
    wanted.export(settings, files, wanted.alive)
    return open_engine(replace(wanted, files=find_model(settings.model.weights, ROOT, settings.engine_dir)))
