"""Asks systemd about the pilot's unit, and about that of jetson-stats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from perception.core.errors import BackendError, GpuError, PilotError, SettingsError, SourceError
from perception.doctor.checks.machine import UNIT, Machine
from perception.doctor.finding import Finding, ok, problem, unknown, warning
from perception.system.process import signal_name

PROPERTIES = "LoadState,ActiveState,SubState,Result,NRestarts,ExecMainCode,ExecMainStatus,StatusText,UnitFileState"

_FAULTS: Mapping[type[PilotError], str] = MappingProxyType(
    {
        PilotError: "a bug ({}): its traceback is in the journal",
        SettingsError: "its settings cannot be used ({})",
        SourceError: "its source could not be opened, or what it needs was in use or not there yet ({})",
        BackendError: "no allowed backend can serve ({})",
        GpuError: "a fault of the GPU ({})",
    }
)
EXIT_CODES: Mapping[str, str] = MappingProxyType(
    {
        "0": "it ended by itself (0: end of the source, or asked to stop)",
        **{str(kind.exit_code): words.format(kind.exit_code) for kind, words in _FAULTS.items()},
        "200": "its WorkingDirectory is not there (200)",
        "203": "its Python is not there or cannot be run (203)",
        "217": "its user does not exist (217)",
        "226": "a folder that its sandbox names is not there (226)",
    }
)
"""Exit codes of the pilot, and those of systemd.exec(5) that installing makes likely."""

RESULTS: Mapping[str, str] = MappingProxyType(
    {
        "oom-kill": "the kernel killed it for memory",
        "watchdog": "its heartbeat stopped: inference hung",
        "timeout": "it took too long to start or stop",
        "start-limit-hit": "it was started too often",
    }
)
"""Result=, systemd.service(5)."""


NO_PICTURES = ("waiting for camera", "camera lost")
"""Beginnings of its STATUS while there are no pictures (perception/app/upkeep.py)."""


def show(machine: Machine, unit: str, properties: str = PROPERTIES) -> tuple[dict[str, str] | None, str]:
    """Return the properties of a unit, or None and why systemd cannot be asked."""
    answer = machine.command("systemctl", "show", unit, f"--property={properties}")
    if answer.why:
        return None, answer.why
    rows = (line.partition("=") for line in answer.out.splitlines())
    state = {name: value for name, sign, value in rows if sign}
    return (state, "") if state else (None, "no answer that could be read")


def last_exit(state: Mapping[str, str]) -> str:
    """Return in words how the service ended last. ExecMainCode as in waitid(2): 1 exited, 2 and 3 signal, 0 never."""
    status = state.get("ExecMainStatus", "")
    if state.get("Result") in RESULTS:
        return RESULTS[state["Result"]]
    if state.get("ExecMainCode") == "0":
        return f"it was not started since boot ({state.get('Result') or 'no result'})"
    if state.get("ExecMainCode") == "2" and status == "9":
        return "killed by SIGKILL, which is usually the kernel for want of memory: journalctl -k -g oom"
    if state.get("ExecMainCode") in ("2", "3"):
        return f"killed by {signal_name(int(status)) if status.isdecimal() and len(status) < 4 else 'a signal'}"
    return EXIT_CODES.get(status, f"exit code {status or 'unknown'}")


def service(machine: Machine) -> Iterator[Finding]:
    """Check the pilot's own service: its state, its restarts, its last exit."""
    state, why = show(machine, UNIT)
    if state is None:
        yield unknown(f"systemctl: {why}")
        return
    if state.get("LoadState") == "not-found":
        text = f"{UNIT} is not installed: nothing starts the pilot at boot"
        yield warning("service-missing", text, "sudo scripts/install_service.sh") if machine.is_jetson else ok(text)
        return
    active, sub = state.get("ActiveState", ""), state.get("SubState", "")
    journal = f"journalctl -u {UNIT} -n 30"
    ended = last_exit(state)
    if state.get("LoadState") != "loaded":
        found = f"{UNIT} cannot be loaded ({state.get('LoadState') or 'no state'})"
        yield problem("service-unit", found, f"systemd-analyze verify /etc/systemd/system/{UNIT}")
    elif active == "failed":
        yield problem("service-failed", f"failed: {ended}", f"{journal}; mend it, then sudo systemctl restart {UNIT}")
    elif sub == "auto-restart":
        yield problem("service-restarting", f"waits for its next start: {ended}", journal)
    elif active == "inactive":
        yield warning("service-stopped", f"does not run: {ended}", f"sudo systemctl start {UNIT}")
    elif active in ("active", "activating", "reloading"):
        yield from _running(state, journal)
    else:
        yield unknown(f"in the state {active or 'unknown'} ({sub or 'unknown'})", journal)


def _running(state: Mapping[str, str], journal: str) -> Iterator[Finding]:
    status = state.get("StatusText", "")
    text = f"{state.get('SubState', '')}{': ' + status if status else ''}"
    restarts = state.get("NRestarts", "")
    if status.startswith(NO_PICTURES):
        yield warning("service-no-camera", text, "See the lines on cameras; it reconnects by itself when pictures come")
    elif restarts.isdecimal() and restarts.strip("0"):
        yield warning("service-restarted", f"{text}; restarted {restarts} times", journal)
    elif state.get("UnitFileState") not in ("enabled", "enabled-runtime"):
        yield warning("service-not-enabled", f"{text}; it will not start at boot", f"sudo systemctl enable {UNIT}")
    else:
        yield ok(text)


def jtop(machine: Machine) -> Iterator[Finding]:
    """Check the service of jetson-stats, which is optional: temperatures and power are read from the kernel first."""
    state, why = show(machine, "jtop.service")
    if state is None:
        yield unknown(f"systemctl: {why}")
    elif state.get("LoadState") != "loaded":
        yield ok("not installed, and not needed")
    elif state.get("ActiveState") != "active" or not machine.exists("run/jtop.sock"):
        cure = "sudo systemctl restart jtop.service   (after an upgrade: sudo jtop --install-service)"
        yield warning("jtop-down", f"jtop.service is {state.get('ActiveState', 'in no state')}, or has no socket", cure)
    elif machine.user.uid != 0 and "jtop" not in machine.user.groups:
        cure = f"sudo usermod -aG jtop {machine.user.name}   (then log in again)"
        yield warning("jtop-group", f"{machine.user.name} is not in the group jtop", cure)
    else:
        yield ok("runs")
