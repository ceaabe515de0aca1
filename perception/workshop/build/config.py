"""The settings of TensorRT's builder: memory, precisions, protected layers, calibration."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from perception.backends.gpu.cuda import Gpu
from perception.backends.preprocess import PREPROCESS_VERSION
from perception.core.errors import BackendError, BuildError, ExportMemoryError, SettingsError
from perception.core.layouts import way_of
from perception.workshop.build import network as networks
from perception.workshop.build import timing_cache
from perception.workshop.build.calibration_cache import CacheKey, CalibrationCache
from perception.workshop.build.calibrator import Feed, make_calibrator
from perception.workshop.build.network import Network, Shape
from perception.workshop.build.request import BuildRequest
from perception.workshop.diagnosis import CALIBRATES
from perception.workshop.progress import Tell, say
from perception.workshop.quantize.batches import Batches

if TYPE_CHECKING:
    import tensorrt as trt

Interrupt = Callable[[BaseException], None]


@dataclass(frozen=True, slots=True)
class Material:
    """The inputs of a build besides the request.

    nodes: names of all nodes of the model; protected: of those kept out of INT8; outputs: of the convolutions that read
    INT8 and give float. images: those that can be read, of a list that `manifest_sha256` identifies.
    usual_hw: (height, width) in pixels of what the model leaves open.
    """

    onnx_sha256: str
    nodes: frozenset[str] = frozenset()
    protected: frozenset[str] = frozenset()
    outputs: frozenset[str] = frozenset()
    images: tuple[Path, ...] = ()
    manifest_sha256: str = ""
    usual_hw: tuple[int, int] = (640, 640)


class Configuration:
    """A builder's settings for one request, and what they need to live as long.

    settings: what was set, for the sidecar. protected: names of the layers kept out of INT8. feed: of the calibration,
    None without one. shape: the largest input; version: of TensorRT's library. Raises SettingsError for what cannot be
    asked for here, BuildError, ExportMemoryError.
    """

    def __init__(
        self, module: ModuleType, builder: trt.Builder, gpu: Gpu, network: Network, shape: Shape,
        request: BuildRequest, material: Material, version: str, tell: Tell, interrupt: Interrupt | None,
    ) -> None:  # fmt: skip
        self._module, self._builder, self._gpu, self._network = module, builder, gpu, network
        self._request, self._material, self._version = request, material, version
        self._tell, self._interrupt = tell, interrupt
        self._kept: list[Any] = []  # TensorRT holds them by their address
        self.settings: dict[str, Any] = {
            "workspace_mib": request.workspace_mib,
            "optimization_level": request.optimization_level,
            "tactic_sources": request.tactic_sources,
        }
        self.protected: list[str] = []
        self.feed: Feed | None = None
        self.config: trt.IBuilderConfig = builder.create_builder_config()
        self._set_up(shape)
        self._set_precision(shape)

    def _set_up(self, shape: Shape) -> None:
        module, request, config = self._module, self._request, self.config
        config.set_memory_pool_limit(module.MemoryPoolType.WORKSPACE, request.workspace_mib << 20)
        config.profiling_verbosity = module.ProfilingVerbosity.DETAILED  # or the inspector tells names alone
        if request.optimization_level is not None:
            config.builder_optimization_level = request.optimization_level
        if request.tactic_sources == "none":
            config.set_tactic_sources(0)
        if self._network.is_dynamic:
            config.add_optimization_profile(self._profile(shape, smallest_batch=1))
            self._share_profile()
        if request.timing_cache is not None:
            self._kept.append(timing_cache.load(config, request.timing_cache, self._tell))

    def _share_profile(self) -> None:
        """Let execution contexts share the profile, as they always may from TensorRT 10 on.

        The run time holds one context for each batch size; before, a second one could not have the same profile.
        """
        feature = getattr(getattr(self._module, "PreviewFeature", None), "PROFILE_SHARING_0806", None)
        if self._is_before_10() and feature is not None:
            self.config.set_preview_feature(feature, True)

    def _is_before_10(self) -> bool:
        return hasattr(self._module.ICudaEngine, "num_bindings")  # bindings went with TensorRT 10

    def _profile(self, shape: Shape, smallest_batch: int) -> trt.IOptimizationProfile:
        profile: trt.IOptimizationProfile = self._builder.create_optimization_profile()
        smallest: Any = (smallest_batch, *shape[1:])
        largest: Any = shape  # TensorRT's own type of a shape takes any sequence
        profile.set_shape(self._network.input.name, smallest, largest, largest)
        self._kept.append(profile)
        return profile

    def _set_precision(self, shape: Shape) -> None:
        request, flags = self._request, self._module.BuilderFlag
        is_quantized = networks.is_quantized(self._module, self._network)
        if is_quantized and request.precision != "int8":
            raise SettingsError(
                f"{request.onnx} is quantized, and {request.precision} is asked for",
                "Give the model it was made from, or --precision int8.",
            )
        if not networks.has_precision_flags(self._module):
            self._check_types(is_quantized)
            return
        if request.precision != "fp32":
            self.config.set_flag(flags.FP16)
        if request.precision != "int8":
            return
        self.config.set_flag(flags.INT8)
        if is_quantized:  # ranges, and what stays in float, are in the model
            self.settings["method"] = "qdq"
            return
        self._protect()
        self._calibrate(shape)

    def _check_types(self, is_quantized: bool) -> None:
        """TensorRT 11: the model itself must be of the precision asked for."""
        request = self._request
        if request.precision == "int8" and not is_quantized:
            raise SettingsError(
                f"TensorRT {self._version} has no INT8 calibrator", "Quantize the model instead: --method qdq"
            )
        if request.precision == "fp16" and not networks.is_half(self._module, self._network):
            raise SettingsError(
                f"TensorRT {self._version} takes precisions from the model, and {request.onnx} is of float32",
                "Give a model in float16, or --precision fp32.",
            )
        self.settings["method"] = "qdq" if is_quantized else "typed"

    def _protect(self) -> None:
        material = self._material
        outputs: list[str] = []
        if material.protected or material.outputs:
            self.protected, outputs = networks.protect(
                self._module, self._network, material.protected, material.outputs, material.nodes
            )
            self.settings |= {"constraints": "prefer", "protected_precision": "fp16"}
            self.config.set_flag(self._module.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
        self.settings |= {"protected": len(self.protected), "float_outputs": len(outputs)}

    def _calibrate(self, largest: Shape) -> None:
        module, request, material = self._module, self._request, self._material
        shape = networks.calibration_shape(self._network.shape, request.onnx, largest, request.calibration_batch)
        if self._network.is_dynamic:
            shape = self._set_calibration_profile(shape, largest)
        key = CacheKey(
            material.onnx_sha256, material.manifest_sha256, PREPROCESS_VERSION, request.calibrator, shape, self._version
        )
        batches = Batches(material.images, shape, way_of(request.layout))
        if batches.filled:
            say(self._tell, f"The last batch of {shape[0]} repeats its last image {batches.filled} times")
        try:
            self.feed = Feed(
                self._gpu, batches, CalibrationCache(request.caches, request.onnx.stem, key), self._tell,
                use_cache=not request.recalibrate, interrupt=self._interrupt,
            )  # fmt: skip
        except BackendError as fault:
            raise ExportMemoryError(fault.what, "Calibrate with a smaller batch, or free memory.") from fault
        calibrator = make_calibrator(module, request.calibrator, self.feed)
        self._kept.append(calibrator)
        self.config.int8_calibrator = calibrator
        self.settings["method"] = f"calibrator, {request.calibrator}"
        print(CALIBRATES.format(self._version), file=sys.stderr, flush=True)

    def _set_calibration_profile(self, shape: Shape, largest: Shape) -> Shape:
        """Return the shape of a calibration batch: from TensorRT 10 on the best one of the engine's own profile."""
        if not self._is_before_10():
            if shape != largest:
                say(self._tell, f"TensorRT {self._version} calibrates with the engine's batch, {largest[0]}")
            return largest
        if not self.config.set_calibration_profile(self._profile(shape, smallest_batch=shape[0])):
            raise BuildError(f"TensorRT refuses to calibrate with {shape}", "Calibrate with the engine's batch.")
        return shape

    def close(self) -> None:
        """Free the settings and what they hold."""
        for name in ("config", "_kept", "_builder", "_network"):
            self.__dict__.pop(name, None)
        if self.feed is not None:
            self.feed.close()
