"""Cameras: those that exist, the one of the settings, the processes that hold them, and the Argus daemon."""

from __future__ import annotations

import re
from collections.abc import Iterator

from perception.doctor.checks.machine import UNIT, Machine
from perception.doctor.checks.processes import holders
from perception.doctor.checks.systemd import show
from perception.doctor.finding import Finding, ok, problem, unknown, warning

VIDEO_DEVICES = re.compile(r"/dev/video\d+")
GROUPS = ("video", "render")
"""Groups of the device nodes of cameras and the GPU; render matters from JetPack 6 on."""
SYSTEM_HOLDERS = ("nvargus-daemon", "pipewire", "wireplumber")
"""Daemons that open cameras to manage them, and pass them on to others."""


def cameras(machine: Machine) -> Iterator[Finding]:
    """List the video nodes, and look for the one that the settings name."""
    names = _nodes(machine)
    listed = ", ".join(f"{node} {name}" for node, name in names.items()) or "no /dev/video*"
    settings = machine.settings()
    scheme, device = settings.text("scheme"), settings.text("device")
    if scheme == "csi" and not any(name.startswith("vi-output") for name in names.values()):
        cure = (
            "Power off and seat the ribbon cable; choose the sensor in sudo /opt/nvidia/jetson-io/jetson-io.py; reboot"
        )
        if not machine.is_jetson:
            cure = "Only a Jetson has csi://: set source.uri in the settings, or --config config/demo.yaml"
        yield problem("camera-no-csi", f"the settings name a csi:// camera, the kernel knows none: {listed}", cure)
    elif scheme == "v4l2" and device and device not in names:
        cure = "Plug it in, look with v4l2-ctl --list-devices, and set source.uri in the settings"
        yield problem("camera-missing", f"the settings name {device}: {listed}", cure)
    elif settings.fault or settings.text("faults"):
        yield ok(f"{listed}; which one the pilot wants cannot be told without its settings")
    else:
        yield ok(listed)


def _nodes(machine: Machine) -> dict[str, str]:
    """Return the name of each /dev/videoN. A UVC camera has a second node for metadata, whose index is not 0."""
    folder = machine.path("sys/class/video4linux")
    try:
        entries = sorted(entry.name for entry in folder.iterdir() if re.fullmatch(r"video\d{1,6}", entry.name))
    except OSError:
        return {}
    found = {}
    for entry in entries:
        if (machine.read(f"sys/class/video4linux/{entry}/index") or "0").strip() == "0":
            found[f"/dev/{entry}"] = (machine.read(f"sys/class/video4linux/{entry}/name") or "").strip()
    return found


def camera_holders(machine: Machine) -> Iterator[Finding]:
    """Find the processes that have a camera open: only one may stream from it."""
    held = [(process, node) for process, node in holders(machine, VIDEO_DEVICES) if process.name not in SYSTEM_HOLDERS]
    partly = "" if machine.user.uid == 0 else "; run with sudo to see other users' processes"
    pilots = sorted({process.pid for process, _ in held if process.is_pilot})
    others = [(process, node) for process, node in held if not process.is_pilot]
    device = machine.settings().text("device")
    listed = ", ".join(f"{process.name} ({process.pid}) has {node}" for process, node in others)
    if len(pilots) > 1:
        cure = f"Keep one: kill {' '.join(map(str, pilots[1:]))}, or sudo systemctl stop vehicle-pilot"
        yield problem("camera-two-pilots", f"{len(pilots)} pilots hold cameras: {', '.join(map(str, pilots))}", cure)
    if any(node == device for _, node in others):
        yield problem("camera-held", listed, f"sudo kill {others[0][0].pid}   (or stop its service)")
    elif others:
        yield warning("camera-held-other", listed, "Nothing, unless the pilot shall use that camera")
    elif len(pilots) <= 1:
        yield ok((f"the pilot ({pilots[0]})" if pilots else "nobody") + partly)


def argus(machine: Machine) -> Iterator[Finding]:
    """Check the daemon behind csi://."""
    state, why = show(machine, "nvargus-daemon.service")
    wanted = machine.settings().text("scheme") == "csi"
    if state is None:
        yield unknown(f"systemctl: {why}")
    elif state.get("LoadState") != "loaded":
        cure = "sudo apt-get install --reinstall nvidia-l4t-camera"
        yield problem("argus-missing", "nvargus-daemon is not installed", cure) if wanted else ok("not installed")
    elif state.get("ActiveState") != "active":
        found = f"nvargus-daemon is {state.get('ActiveState', 'in no state')} ({state.get('Result', '')})"
        cure = "sudo systemctl restart nvargus-daemon; journalctl -u nvargus-daemon -n 20"
        yield problem("argus-down", found, cure) if wanted else warning("argus-down-unused", found, cure)
    else:
        restarts = state.get("NRestarts", "0")
        yield ok("nvargus-daemon runs" + (f", {restarts} restarts" if restarts != "0" else ""))


def groups(machine: Machine) -> Iterator[Finding]:
    """Check that this user may open the GPU and the cameras."""
    user, database = machine.user, _group_database(machine)
    if user.uid == 0:
        yield ok("root may open every device")
        return
    wanted = [name for name in GROUPS if name in database] if machine.is_jetson else _wanted_on_desktop(machine)
    lacking = [name for name in wanted if name not in user.groups]
    fresh = [name for name in lacking if user.name in database.get(name, ())]
    if not wanted:
        yield ok("no device here needs one")
    elif not lacking:
        yield ok(f"{user.name} is in {' and '.join(wanted)}")
    elif len(fresh) == len(lacking):
        yield warning(
            "groups-fresh", f"{user.name} was put into {' and '.join(fresh)} after logging in", "Log out and in again"
        )
    else:
        cure = f"sudo usermod -aG {','.join(lacking)} {user.name}   (then log in again)"
        found = f"{user.name} is not in {' and '.join(lacking)}: GPU or cameras cannot be opened"
        installed = (show(machine, UNIT)[0] or {}).get("LoadState") == "loaded"
        if installed:  # the unit names its own user and groups
            yield warning("groups-shell", f"{found} from this shell; the service has groups of its own", cure)
        else:
            yield problem("groups", found, cure)


def _wanted_on_desktop(machine: Machine) -> list[str]:
    return ["video"] if machine.settings().text("scheme") == "v4l2" else []


def _group_database(machine: Machine) -> dict[str, list[str]]:
    """Return the members of each group, from /etc/group."""
    rows = (line.split(":") for line in (machine.read("etc/group") or "").splitlines())
    return {row[0]: row[3].split(",") for row in rows if len(row) == 4}
