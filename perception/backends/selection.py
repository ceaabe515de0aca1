"""The selection of a backend: the steps in order of preference, and the first one that can serve."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from loguru import logger

from perception.backends.base import Alive, Backend, Export, PassedOver, Request, Wanted, request_of
from perception.backends.models.model_files import find_model
from perception.backends.tensorrt.identity import ForeignEngineError
from perception.core.classes import pick
from perception.core.errors import BackendError
from perception.core.results import BackendInfo
from perception.settings.model import Settings
from perception.system.home import ROOT


@dataclass(frozen=True, slots=True)
class Step:
    """A way to serve. opens: `module:function`, loaded when its turn comes; it returns an open Backend, or raises
    PassedOver or BackendError. weights: the suffix of the weights that it runs, "" for a step before those of weights.
    """

    name: str
    opens: str
    weights: str = ""
    when: Callable[[Settings], bool] = lambda settings: not settings.engine.require

    def open(self, wanted: Wanted) -> Backend:
        """Return its backend."""
        module, _, function = self.opens.partition(":")
        return cast(Backend, getattr(importlib.import_module(module), function)(wanted))


STEPS = (
    Step("TensorRT", "perception.backends.tensorrt.step:open_engine", when=lambda settings: True),
    Step(
        "TensorRT after an export",
        "perception.backends.tensorrt.step:export_engine",
        when=lambda settings: settings.engine.when_missing == "export" and not settings.engine.require,
    ),
    Step("PyTorch on CUDA", "perception.backends.pytorch:open_on_cuda"),
    Step("ONNX Runtime on the CPU", "perception.backends.onnxruntime:open_on_cpu", ".onnx"),
    Step("PyTorch on the CPU", "perception.backends.pytorch:open_on_cpu", ".pt"),
)
"""In order of preference; of those that run weights, those come first whose weights were named."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """An open backend, what it is asked for, and the steps before it, each with the reason why it does not serve."""

    backend: Backend
    request: Request
    passed_over: tuple[str, ...]


def select(settings: Settings, alive: Alive, export: Export | None) -> Chosen:
    """Return the first backend of STEPS that can serve.

    Logs a line for every step that is passed over and, last, the choice. Raises BackendError where no allowed backend
    is left, SettingsError where `classes` does not fit the model.
    """
    wanted = Wanted(settings, find_model(settings.model.weights, ROOT, settings.engine_dir), alive, export)
    reasons: list[str] = []
    faults: list[BackendError] = []
    for step in steps_of(settings, wanted.files.weights):
        try:
            return _open(step, wanted, reasons)
        except PassedOver as absent:
            if settings.engine.require:
                raise BackendError(f"An engine is required: {absent}", "Run without --require-engine.") from None
            logger.info(f"{step.name} passed over: {absent}")
            reasons.append(f"{step.name}: {absent}")
        except BackendError as fault:
            if settings.engine.require:
                raise
            logger.warning(f"{step.name} passed over: {fault}")
            reasons.append(f"{step.name}: {fault.what}")
            faults.append(fault)
            wanted = replace(wanted, foreign=wanted.foreign or isinstance(fault, ForeignEngineError))
    cure = "Allow the CPU with --allow-cpu, or bring what the steps above lack."
    if settings.allow_cpu:
        cure = faults[-1].cure if faults else ""
    raise BackendError(f"No backend can serve {settings.model.weights} ({'; '.join(reasons)})", cure)


def steps_of(settings: Settings, weights: tuple[Path, ...]) -> Iterator[Step]:
    """Yield the steps that the settings allow, in order; weights: those that are there, the named ones first."""
    allowed = [step for step in STEPS if step.when(settings)]
    yield from (step for step in allowed if not step.weights)
    yield from (step for path in weights for step in allowed if step.weights == path.suffix)


def _open(step: Step, wanted: Wanted, passed_over: Sequence[str]) -> Chosen:
    """Return the choice of a step, its backend closed again where the classes do not fit its model or a stop comes."""
    with ExitStack() as opened:
        backend = step.open(wanted)
        opened.push(backend.__exit__)
        request = request_of(wanted.settings, backend.info.class_names)
        _log_choice(backend.info, step.name, len(passed_over), wanted.settings)
        opened.pop_all()
    return Chosen(backend, request, tuple(passed_over))


def _log_choice(info: BackendInfo, step: str, passed_over: int, settings: Settings) -> None:
    if info.class_names:
        logger.info(pick(info.class_names, settings.classes).words(info.class_names))
    because = f"{passed_over} passed over, see above" if passed_over else "the first choice"
    logger.info(f"Serving with {step}: {info} ({because})")
