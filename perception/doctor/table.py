"""All checks, in the order in which they are told."""

from __future__ import annotations

from perception.doctor.checks import builds, cameras, engines, host, jetpack, memory, power, python, runtime, systemd
from perception.doctor.finding import Check

JETSON = "jetson"

CHECKS: tuple[Check, ...] = (
    Check("jetpack", "JetPack", jetpack.jetpack, JETSON),
    Check("l4t-packages", "L4T packages", jetpack.l4t_packages, JETSON),
    Check("known-faults", "known faults", jetpack.known_faults, JETSON),
    Check("python", "Python", python.interpreter),
    Check("packages", "packages", python.packages),
    Check("numpy", "numpy", python.numpy),
    Check("opencv", "OpenCV", python.opencv),
    Check("cuda", "CUDA", runtime.cuda),
    Check("tensorrt", "TensorRT", runtime.tensorrt),
    Check("dla", "DLA compiler", jetpack.dla, JETSON),
    Check("pycuda", "PyCUDA", runtime.pycuda),
    Check("nvcc", "nvcc", runtime.nvcc, JETSON),
    Check("torch", "torch", runtime.torch),
    Check("settings", "settings", host.settings),
    Check("engines", "engines", engines.engines),
    Check("leftovers", "leftovers", builds.leftovers),
    Check("calibration", "calibration set", builds.calibration),
    Check("cameras", "cameras", cameras.cameras),
    Check("camera-holders", "camera in use by", cameras.camera_holders),
    Check("argus", "Argus", cameras.argus, JETSON),
    Check("groups", "groups", cameras.groups),
    Check("memory", "memory", memory.memory),
    Check("largest-block", "free blocks", memory.largest_block, JETSON),
    Check("swap", "swap", memory.swap),
    Check("gpu-users", "GPU in use by", memory.gpu_users),
    Check("desktop", "desktop", memory.desktop, JETSON),
    Check("power-mode", "power mode", power.power_mode, JETSON),
    Check("clocks", "clocks", power.clocks, JETSON),
    Check("throttling", "throttling", power.throttling, JETSON),
    Check("temperatures", "temperatures", power.temperatures, JETSON),
    Check("disk", "disk", host.disk),
    Check("clock", "clock", host.clock),
    Check("service", "service", systemd.service),
    Check("jtop", "jtop", systemd.jtop, JETSON),
)
