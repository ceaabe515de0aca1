"""JetPack and Jetson Linux: the release, packages of another one, and known faults."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from perception.doctor.checks.machine import Machine
from perception.doctor.finding import Finding, ok, problem, unknown, warning

JETPACK: Mapping[tuple[int, int, int], str] = MappingProxyType(
    {
        (36, 3, 0): "6.0",
        (36, 4, 0): "6.1",
        (36, 4, 2): "6.1",
        (36, 4, 3): "6.2",
        (36, 4, 4): "6.2.1",
        (36, 4, 7): "6.2.1",
        (36, 5, 0): "6.2.2",
        (36, 5, 2): "6.2.3",
        (38, 2, 0): "7.0",
        (38, 2, 1): "7.0",
        (38, 2, 2): "7.0",
        (38, 4, 0): "7.1",
        (39, 0, 0): "7.2 EA",
        (39, 2, 0): "7.2",
        (39, 2, 1): "7.2.1",
        (39, 2, 2): "7.2.2",
    }
)
"""JetPack by release of Jetson Linux (jetson_stats 7.2, jtop/core/jetson_variables.py; NVIDIA's JetPack archive)."""

DLA_COMPILER = "nvidia-l4t-dla-compiler"
"""The only package that may be of another release: 36.5 was published without it, and uses that of 36.4."""
NVMAP_FAULT = (36, 4, 7)
ARGUS_FAULT = ((36, 3, 0), (36, 4, 7))
"""libnvscf's capture scheduler can lock up on JetPack 6.0 to 6.2.1; fixed in 6.2.2."""


def jetpack(machine: Machine) -> Iterator[Finding]:
    """Report the release of JetPack, and if the pilot supports it."""
    release = machine.l4t
    if release is None:
        yield unknown(
            "neither /etc/nv_tegra_release nor the package nvidia-l4t-core tells the release",
            "On a carrier board's own image ask its maker; else flash JetPack 6.2 or newer.",
        )
        return
    number = ".".join(map(str, release))
    model = (machine.read("proc/device-tree/model") or "").strip("\0\n ")
    text = f"Jetson Linux {number}" + (f" on {model}" if model else "")
    if release < (36, 0, 0):
        cure = "Flash JetPack 6.2 or newer; a Xavier or older board cannot go beyond JetPack 5."
        yield problem("jetpack-old", f"{text}: JetPack 5 or older, with a Python below 3.10", cure)
    elif release in JETPACK:
        yield ok(f"JetPack {JETPACK[release]}, {text}")
    else:
        yield ok(f"{text}, a release that this table does not know")


def l4t_packages(machine: Machine) -> Iterator[Finding]:
    """Check that all nvidia-l4t-* packages are of one release. A kernel's version has the release after its own."""
    by_release: dict[str, list[str]] = {}
    for name, version in machine.packages.items():
        match = re.match(r"(?:\S*-tegra-)?(\d{2}\.\d+\.\d+)(?=-|$)", version)
        if name.startswith("nvidia-l4t-") and name != DLA_COMPILER and match:
            by_release.setdefault(match[1], []).append(name)
    if not by_release:
        yield unknown("dpkg knows no nvidia-l4t-* package", "dpkg -l 'nvidia-l4t-*'")
        return
    counts = Counter({release: len(names) for release, names in by_release.items()})
    main = counts.most_common(1)[0][0]
    if len(by_release) == 1:
        yield from _fits_release_file(machine, main, counts[main])
        return
    odd = [f"{name} {other}" for other, names in sorted(by_release.items()) if other != main for name in sorted(names)]
    listed = ", ".join(odd[:4]) + (f" and {len(odd) - 4} more" if len(odd) > 4 else "")
    yield problem(
        "l4t-mixed",
        f"{counts[main]} nvidia-l4t packages are of {main}, but {listed}",
        "sudo apt-get update && sudo apt-get dist-upgrade && sudo reboot   (held back? apt-mark showhold)",
    )


def _fits_release_file(machine: Machine, release: str, count: int) -> Iterator[Finding]:
    written = machine.l4t
    if written and ".".join(map(str, written)) != release:
        yield warning(
            "l4t-half-upgraded",
            f"the packages are of {release}, /etc/nv_tegra_release says {'.'.join(map(str, written))}",
            "sudo apt-get install --reinstall nvidia-l4t-core && sudo reboot",
        )
    else:
        yield ok(f"{count} nvidia-l4t packages, all of {release}")


def known_faults(machine: Machine) -> Iterator[Finding]:
    """Report the known faults of this very release."""
    release = machine.l4t
    if release is None:
        yield unknown("the release of Jetson Linux is not known")
        return
    found = False
    if release == NVMAP_FAULT:
        found = True
        yield warning(
            "l4t-nvmap",
            "36.4.7 can refuse large GPU allocations although memory is free (NvMapMemAlloc ... error 12)",
            "Upgrade to JetPack 6.2.2; until then reboot before a build, and for torch "
            "export PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True",
        )
    if ARGUS_FAULT[0] <= release <= ARGUS_FAULT[1]:
        found = True
        yield warning(
            "l4t-argus",
            f"the Argus daemon of {'.'.join(map(str, release))} can lock up; CSI cameras then give no pictures",
            "Upgrade to JetPack 6.2.2; when it happens: sudo systemctl restart nvargus-daemon",
        )
    if not found:
        yield ok("none on record for this release")


def dla(machine: Machine) -> Iterator[Finding]:
    """Check libnvdla_compiler.so, without which TensorRT of JetPack 6 does not load; some images ship an empty one."""
    release, folder = machine.l4t, "usr/lib/aarch64-linux-gnu"
    places = (f"{folder}/nvidia/libnvdla_compiler.so", f"{folder}/tegra/libnvdla_compiler.so")
    for place in places:
        try:
            size = machine.path(place).stat().st_size
        except OSError:
            continue
        if size > 0:
            yield ok(f"/{place}")
            return
        yield problem("dla-empty", f"/{place} is an empty file", dla_cure(machine))
        return
    if release and release >= (38, 0, 0):
        yield ok("libnvdla_compiler.so is absent, which JetPack 7's own TensorRT does not mind")
        return
    why = machine.probe("tensorrt").fault
    text = "libnvdla_compiler.so is not installed"
    if "libnvdla_compiler" in why:
        yield problem("dla-missing", f"{text}, and `import tensorrt` fails for it", dla_cure(machine))
    else:
        yield warning("dla-absent", f"{text}: TensorRT of JetPack 6 may not load", dla_cure(machine))


def dla_cure(machine: Machine) -> str:
    """Return the command that gets libnvdla_compiler.so: of this release where apt has it, else from what apt has."""
    core = machine.packages.get("nvidia-l4t-core", "")
    exact = core if re.fullmatch(r"[\w.+~-]+", core) else ""
    answer = machine.command("apt-cache", "policy", DLA_COMPILER)
    known = re.findall(r"^ (?:\*\*\*|   ) (\S+)(?= -?\d+$)", answer.out, re.MULTILINE)
    if answer.why or exact in known:
        version = f"={exact}" if exact else ""
        return f"sudo apt-get install --reinstall {DLA_COMPILER}{version} && sudo ldconfig"
    unpack = f"sudo dpkg -x {DLA_COMPILER}_*.deb / && sudo ldconfig"
    if known:
        return f"apt-get download {DLA_COMPILER} && {unpack}   (apt does not have that of {exact or 'this release'})"
    return f"apt has no {DLA_COMPILER} for this release: download that of Jetson Linux 36.4 from NVIDIA, then {unpack}"
