"""Every fault that the doctor has a code for: the machine, what is put in, and words that the finding must have."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from tests.doctor.engine_maker import write_engine
from tests.doctor.trees import NOW, Tree

ORIN, OLD, SEVEN, DESK = "jetpack-6.2", "jetpack-6.0", "jetpack-7.2", "desk"
VENV = "/opt/vehicle-pilot/.venv/lib/python3.10/site-packages"


class Fault(NamedTuple):
    """code: of the finding. found: words of what was found. cure: words of its cure."""

    code: str
    tree: str
    inject: Callable[[Tree], object]
    found: str
    cure: str


def _copies(tree: Tree, module: str) -> None:
    tree.probes["python"]["copies"][module].insert(0, f"{VENV}/{module}/__init__.py")


def _wheels(tree: Tree, *names: str) -> None:
    tree.probes["python"]["distributions"] += [[name, "4.11.0", VENV] for name in names]


def _older_numpy(tree: Tree) -> None:
    tree.probes["python"]["distributions"].insert(0, ["NumPy", "1.24.4", "/usr/lib/python3/dist-packages"])


def _both(*steps: Callable[[Tree], object]) -> Callable[[Tree], object]:
    def inject(tree: Tree) -> None:
        for step in steps:
            step(tree)

    return inject


def _tensorrt(version: str) -> Callable[[Tree], object]:
    return lambda tree: tree.probes["tensorrt"].update(version=version, file=f"{VENV}/tensorrt/__init__.py")


def _torch(**facts: object) -> Callable[[Tree], object]:
    torch = {"version": "2.5.0", "file": f"{VENV}/torch/__init__.py", "cuda": "12.6", "available": True, "archs": []}
    return lambda tree: tree.probes.update(torch={**torch, **facts})


def _old_file(name: str) -> Callable[[Tree], object]:
    def inject(tree: Tree) -> None:
        path = tree.engines / name
        path.write_bytes(b"half")
        os.utime(path, (NOW - 7200, NOW - 7200))

    return inject


def _calibration(manifest: str, images: int) -> Callable[[Tree], object]:
    def inject(tree: Tree) -> None:
        folder = tree.project / "calibration" / "images"
        folder.mkdir(parents=True)
        for number in range(images):
            (folder / f"{number}.jpg").touch()
        (folder.parent / "manifest.json").write_text(manifest)

    return inject


def _engine(**values: str) -> Callable[[Tree], object]:
    return lambda tree: write_engine(tree.engines / "yolo11n.engine", **values)


def _other_weights(tree: Tree) -> None:
    write_engine(tree.engines / "yolo11n.engine", weights_sha256="2" * 64)
    (tree.project / "models" / "yolo11n.pt").write_bytes(b"trained anew")


def _truncate(tree: Tree) -> None:
    path = tree.engines / "yolo11n.engine"
    path.write_bytes(path.read_bytes()[:40])


def _settings(**facts: object) -> Callable[[Tree], object]:
    return lambda tree: tree.probes["settings"].update(facts)


def _unit(unit: str, **state: str) -> Callable[[Tree], object]:
    return lambda tree: tree.state(f"{unit}.service", **state)


def _pilot(**state: str) -> Callable[[Tree], object]:
    return _unit("vehicle-pilot", **state)


def _outsider(tree: Tree) -> None:
    tree.join("pilot")
    tree.write("etc/group", "video:x:44:gdm\nrender:x:104:\n")


DLA = "usr/lib/aarch64-linux-gnu/nvidia/libnvdla_compiler.so"
PILOT = "/opt/vehicle-pilot/.venv/bin/python /opt/vehicle-pilot/pilot.py"


def _without_dla(tree: Tree) -> None:
    (tree.root / DLA).unlink()


def _zone(celsius: float) -> Callable[[Tree], object]:
    return lambda tree: tree.write("sys/class/thermal/thermal_zone1/temp", f"{celsius * 1000:.0f}\n")


def _memory(**kib: int) -> Callable[[Tree], object]:
    rows = {"MemTotal": 7802000, "MemAvailable": 5300000, "SwapTotal": 3811896, "SwapFree": 3811896, **kib}
    return lambda tree: tree.write("proc/meminfo", "".join(f"{key}: {value} kB\n" for key, value in rows.items()))


def _wrong_python(tree: Tree) -> None:
    path = tree.project / ".venv" / "bin" / "python"
    path.parent.mkdir(parents=True)
    path.symlink_to("/opt/python3/bin/python3")


def _packages(old: str, new: str) -> Callable[[Tree], object]:
    return lambda tree: tree.edit("var/lib/dpkg/status", old, new)


def _l4t(revision: str) -> Callable[[Tree], object]:
    return lambda tree: tree.edit("etc/nv_tegra_release", "REVISION: 4.3", f"REVISION: {revision}")


def _process(pid: int, name: str, command: str, *devices: str) -> Callable[[Tree], object]:
    return lambda tree: tree.process(pid, name, command, *devices)


FAULTS: tuple[Fault, ...] = (
    # JetPack and Jetson Linux
    Fault("jetpack-old", ORIN, lambda t: t.edit("etc/nv_tegra_release", "R36", "R35"), "35.4.3", "JetPack 6.2"),
    Fault(
        "l4t-mixed",
        ORIN,
        _packages(
            "nvidia-l4t-cuda\n", "nvidia-l4t-x\n\nPackage: nvidia-l4t-cuda\nStatus: a b installed\nVersion: 36.4.7-1\n"
        ),
        "nvidia-l4t-cuda 36.4.7",
        "dist-upgrade",
    ),
    Fault("l4t-half-upgraded", ORIN, _l4t("4.4"), "36.4.3, /etc/nv_tegra_release says 36.4.4", "nvidia-l4t-core"),
    Fault("l4t-nvmap", ORIN, _l4t("4.7"), "error 12", "6.2.2"),
    Fault("l4t-argus", OLD, lambda t: None, "Argus daemon of 36.3.0", "restart nvargus-daemon"),
    Fault("dla-empty", ORIN, lambda t: t.write(DLA, ""), f"/{DLA} is an empty file", "dla-compiler=36.4.3-2"),
    Fault("dla-absent", ORIN, _without_dla, "not installed", "nvidia-l4t-dla-compiler"),
    Fault(
        "dla-missing",
        ORIN,
        _both(_without_dla, lambda t: t.fails("tensorrt", "ImportError: libnvdla_compiler.so: cannot open")),
        "fails for it",
        "nvidia-l4t-dla-compiler",
    ),
    # the interpreter and its packages
    Fault("python-old", ORIN, lambda t: t.probes["python"].update(version="3.8.10"), "Python 3.8.10", "3.10 to 3.13"),
    Fault("python-not-the-venv", ORIN, _wrong_python, "looked at", ".venv/bin/python scripts/doctor.py"),
    Fault(
        "python-venv-closed", ORIN, lambda t: t.probes["python"].update(sees_system=False), "does not see", "--system"
    ),
    Fault("python-broken", ORIN, lambda t: t.probes.update(python=[]), "no JSON object", "--python"),
    Fault("packages-missing", DESK, lambda t: t.lacks("loguru"), "lacks loguru", "hashes -r requirements.lock"),
    Fault("packages-optional", ORIN, lambda t: t.lacks("paho"), "lacks paho (mqtt.host)", "requirements-jetson.lock"),
    Fault("packages-unlocked", DESK, _older_numpy, "numpy 1.24.4 (locked: 2.4.6)", "-r requirements.lock"),
    Fault("numpy-broken", ORIN, lambda t: t.fails("numpy", "ImportError: libopenblas"), "libopenblas", "numpy<2"),
    Fault(
        "numpy-tensorrt-8.5",
        OLD,
        _both(_tensorrt("8.5.2.2"), lambda t: t.probes["numpy"].update(version="1.24.4")),
        "numpy 1.24.4",
        "numpy<1.24",
    ),
    Fault("numpy-2", ORIN, lambda t: t.probes["numpy"].update(version="2.1.0"), "numpy 2.1.0", "numpy<2"),
    Fault(
        "opencv-no-gstreamer", ORIN, lambda t: t.probes["cv2"].update(gstreamer=False), "no GStreamer", "python3-opencv"
    ),
    Fault(
        "opencv-copies", ORIN, lambda t: _copies(t, "cv2"), f"{VENV}/cv2/__init__.py hides /usr/lib", "python3-opencv"
    ),
    Fault(
        "opencv-wheels",
        DESK,
        lambda t: _wheels(t, "opencv-python"),
        "opencv-python-headless and opencv-python overwrite",
        "uninstall -y opencv-python-headless opencv-python",
    ),
    Fault(
        "opencv-numpy-2",
        ORIN,
        lambda t: t.fails("cv2", "ImportError: numpy.core.multiarray failed to import"),
        "numpy is 1.21.5",
        "numpy<2",
    ),
    Fault(
        "opencv-static-tls",
        ORIN,
        lambda t: t.fails(
            "cv2", "ImportError: /lib/aarch64-linux-gnu/libGLdispatch.so.0: cannot allocate memory in static TLS block"
        ),
        "static TLS",
        "export LD_PRELOAD=/lib/aarch64-linux-gnu/libGLdispatch.so.0",
    ),
    Fault(
        "opencv-libgl", DESK, lambda t: t.fails("cv2", "ImportError: libGL.so.1: cannot open"), "libGL.so.1", "libgl1"
    ),
    Fault("opencv-broken", ORIN, lambda t: t.fails("cv2", "ImportError: libtbb.so.2"), "libtbb.so.2", "python3-opencv"),
    # run time
    Fault(
        "cuda-driver", ORIN, lambda t: t.fails("cuda", "libcuda.so.1: cannot open"), "libcuda.so.1", "nvidia-l4t-cuda"
    ),
    Fault(
        "cuda-no-device", ORIN, lambda t: t.probes["cuda"].update(status=999, devices=0), "cuInit gives 999", "groups"
    ),
    Fault(
        "tensorrt-missing",
        ORIN,
        _both(lambda t: t.lacks("tensorrt"), _packages("libnvinfer", "x")),
        "no TensorRT",
        "nvidia-jetpack",
    ),
    Fault(
        "tensorrt-hidden",
        ORIN,
        lambda t: t.lacks("tensorrt"),
        "python3-libnvinfer is installed",
        "--system-site-packages",
    ),
    Fault(
        "tensorrt-broken",
        ORIN,
        lambda t: t.fails("tensorrt", "OSError: libnvinfer.so.10"),
        "libnvinfer.so.10",
        "reinstall",
    ),
    Fault("tensorrt-11-on-jetpack-6", ORIN, _tensorrt("11.4.1"), "TensorRT 11.4.1", "uninstall -y tensorrt"),
    Fault("tensorrt-11-early", SEVEN, _tensorrt("11.4.1"), "from 7.2.2 on", "uninstall -y tensorrt"),
    Fault("tensorrt-copies", ORIN, lambda t: _copies(t, "tensorrt"), "2 copies", "pip uninstall tensorrt"),
    Fault("pycuda-missing", ORIN, lambda t: t.lacks("pycuda"), "not installed", "pip install pycuda"),
    Fault(
        "pycuda-broken",
        ORIN,
        lambda t: t.fails("pycuda", "ImportError: libcurand.so.10"),
        "libcurand",
        "--no-binary pycuda",
    ),
    Fault(
        "nvcc-not-on-path",
        ORIN,
        _both(lambda t: t.lacks("pycuda"), lambda t: t.environment.clear()),
        "not on the PATH",
        "export PATH",
    ),
    Fault(
        "nvcc-missing",
        ORIN,
        _both(lambda t: t.lacks("pycuda"), lambda t: (t.root / "usr/local/cuda/bin/nvcc").unlink()),
        "no nvcc",
        "apt-get install cuda-nvcc",
    ),
    Fault("torch-no-cuda", ORIN, _torch(available=False), "cannot use CUDA", "--no-deps"),
    Fault("torch-arch", ORIN, _torch(archs=["sm_80", "sm_90"]), "not for sm_87", "NVIDIA's torch"),
    Fault("torch-broken", ORIN, lambda t: t.fails("torch", "OSError: libcudnn.so.9"), "libcudnn", "NVIDIA's torch"),
    Fault(
        "torch-copies",
        ORIN,
        _both(_torch(), lambda t: _copies(t, "torch"), lambda t: t.probes["python"]["copies"]["torch"].append("/x")),
        "hides /x",
        "uninstall torch",
    ),
    # settings, engines
    Fault("settings-missing", ORIN, lambda t: t.config.unlink(), "is not there", "--config"),
    Fault("settings-unreadable", ORIN, lambda t: setattr(t, "readable", False), "may not read", "chown pilot"),
    Fault(
        "settings-invalid",
        ORIN,
        lambda t: t.probes.update(settings={"faults": "line 3: conf must be below 1"}),
        "line 3",
        "Edit",
    ),
    Fault("engine-missing", ORIN, lambda t: None, "yolo11n.engine is not there", "export_int8_engine.py"),
    Fault("engine-required", ORIN, _settings(require_engine=True), "engine.require is true", "export_int8_engine.py"),
    Fault("engine-unusable", ORIN, _both(_engine(), _truncate), "truncated", "export_int8_engine.py"),
    Fault(
        "engine-stale",
        ORIN,
        _engine(tensorrt="10.7.0"),
        "built by TensorRT 10.7.0, this device has 10.3.0",
        "Rebuild it",
    ),
    Fault(
        "engine-unchecked",
        ORIN,
        _both(_engine(), lambda t: (t.engines / "yolo11n.json").unlink()),
        "no sidecar",
        "export_int8_engine.py",
    ),
    Fault("engine-other-weights", ORIN, _other_weights, "built from other weights", "export_int8_engine.py"),
    Fault("engine-leftovers", ORIN, _old_file(".yolo11n.engine.x7a"), ".yolo11n.engine.x7a", "rm "),
    Fault("calibration-manifest", ORIN, _calibration("{", 300), "manifest.json is missing or broken", "--force"),
    Fault("calibration-few", ORIN, _calibration("{}", 3), "3 images", "build_calibration_set.py"),
    # cameras
    Fault(
        "camera-no-csi",
        ORIN,
        lambda t: (t.root / "sys/class/video4linux/video0/name").write_text("HD Webcam\n"),
        "knows none",
        "jetson-io",
    ),
    Fault("camera-missing", ORIN, _settings(scheme="v4l2", device="/dev/video7"), "/dev/video7", "v4l2-ctl"),
    Fault(
        "camera-held",
        ORIN,
        _both(_settings(scheme="v4l2", device="/dev/video0"), _process(77, "cheese", "cheese", "/dev/video0")),
        "cheese (77) has /dev/video0",
        "kill 77",
    ),
    Fault(
        "camera-held-other",
        ORIN,
        _process(77, "cheese", "cheese", "/dev/video3"),
        "cheese (77) has /dev/video3",
        "Nothing",
    ),
    Fault(
        "camera-two-pilots",
        ORIN,
        _both(_process(77, "python", PILOT, "/dev/video0"), _process(78, "python", PILOT, "/dev/video0")),
        "2 pilots",
        "kill 78",
    ),
    Fault("argus-missing", ORIN, _unit("nvargus-daemon", LoadState="not-found"), "not installed", "nvidia-l4t-camera"),
    Fault("argus-down", ORIN, _unit("nvargus-daemon", ActiveState="failed"), "failed", "restart nvargus-daemon"),
    Fault(
        "argus-down-unused",
        ORIN,
        _both(_settings(scheme="rtsp"), _unit("nvargus-daemon", ActiveState="failed")),
        "failed",
        "restart nvargus-daemon",
    ),
    Fault(
        "groups",
        ORIN,
        _both(_outsider, _pilot(LoadState="not-found")),
        "pilot is not in video and render",
        "usermod -aG video,render pilot",
    ),
    Fault("groups-shell", ORIN, _outsider, "the service has groups of its own", "usermod -aG video,render pilot"),
    Fault("groups-fresh", ORIN, lambda t: t.join("pilot", "video"), "into render after", "Log out"),
    # memory and the GPU
    Fault("memory-low", ORIN, _memory(MemAvailable=100_000), "98 of 7619 MiB", "ps aux"),
    Fault("memory-tight", ORIN, _memory(MemAvailable=900_000, SwapFree=100_000), "may be killed", "isolate"),
    Fault(
        "memory-fragmented",
        ORIN,
        lambda t: t.write("proc/buddyinfo", "Node 0, zone Normal 9 9 9 9 9 9 9 0 0 0 0\n"),
        "256 KiB, 0 blocks",
        "reboot",
    ),
    Fault("swap-none", ORIN, _memory(SwapTotal=0, SwapFree=0), "no swap", "fallocate"),
    Fault("swap-full", ORIN, _memory(SwapFree=1000), "3722 of 3723 MiB used", "ps aux"),
    Fault("gpu-shared", ORIN, _process(77, "ollama", "ollama serve", "/dev/nvgpu/igpu0/as"), "ollama (77)", "Stop"),
    Fault(
        "desktop-running",
        ORIN,
        _process(77, "gnome-shell", "gnome-shell"),
        "gnome-shell take 200 MiB",
        "multi-user.target",
    ),
    # power and heat
    Fault(
        "power-mode-not-set",
        ORIN,
        lambda t: t.commands.update({"systemctl show nvpmodel.service": "ActiveState=failed\n"}),
        "MAXN_SUPER (mode 2)",
        "nvpmodel -m 2",
    ),
    Fault(
        "throttling",
        ORIN,
        lambda t: t.write("sys/class/thermal/cooling_device1/cur_state", "1\n"),
        "gpu-throttle-alert",
        "nvpmodel",
    ),
    Fault(
        "power-throttled",
        ORIN,
        lambda t: t.write("sys/class/hwmon/hwmon1/oc1_event_cnt", "4\n"),
        "4 times under-voltage",
        "supply",
    ),
    Fault("hot", ORIN, _zone(96), "gpu 96 C, throttles from 99 C", "Cool"),
    # the host
    Fault("disk-full", ORIN, lambda t: t.usage(free_mib=12.0), "12 MiB of 117.2 GiB free", "apt-get clean"),
    Fault("disk-tight", ORIN, lambda t: t.usage(free_mib=900.0), "900 MiB", "journalctl --vacuum-size"),
    Fault("disk-inodes", ORIN, lambda t: t.usage(free_inodes=3), "3 inodes free", "du --inodes"),
    Fault("disk-read-only", ORIN, lambda t: t.usage(read_only=True), "read-only", "dmesg"),
    Fault("clock-behind", ORIN, lambda t: setattr(t, "now", 86400.0), "1970-01-02", "set-ntp true"),
    Fault(
        "clock-not-synchronised",
        ORIN,
        lambda t: t.commands.update({"timedatectl show": "NTPSynchronized=no\n"}),
        "not synchronised",
        "set-ntp",
    ),
    # services
    Fault("service-missing", ORIN, _pilot(LoadState="not-found"), "nothing starts the pilot", "install_service.sh"),
    Fault("service-unit", ORIN, _pilot(LoadState="bad-setting"), "bad-setting", "systemd-analyze verify"),
    Fault(
        "service-failed", ORIN, _pilot(ActiveState="failed", Result="oom-kill"), "killed it for memory", "journalctl"
    ),
    Fault(
        "service-restarting",
        ORIN,
        _pilot(ActiveState="activating", SubState="auto-restart", ExecMainCode="1", ExecMainStatus="5"),
        "a fault of the GPU (5)",
        "journalctl",
    ),
    Fault(
        "service-stopped",
        ORIN,
        _pilot(ActiveState="inactive", ExecMainCode="2", ExecMainStatus="9"),
        "SIGKILL",
        "start",
    ),
    Fault(
        "service-no-camera",
        ORIN,
        _pilot(StatusText="camera lost 12 s ago, reconnecting: no frame within 5 s"),
        "camera lost 12 s ago",
        "cameras",
    ),
    Fault("service-restarted", ORIN, _pilot(NRestarts="14"), "restarted 14 times", "journalctl"),
    Fault("service-not-enabled", ORIN, _pilot(UnitFileState="disabled"), "not start at boot", "systemctl enable"),
    Fault("jtop-down", ORIN, _unit("jtop", ActiveState="failed"), "jtop.service is failed", "restart jtop"),
    Fault(
        "jtop-group", ORIN, lambda t: t.join("pilot", "video", "render"), "not in the group jtop", "usermod -aG jtop"
    ),
)
