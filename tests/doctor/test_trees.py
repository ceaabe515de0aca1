"""The doctor's findings on each healthy machine, and on each fault put into one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from perception.doctor.examine import CHECKS, JETSON
from perception.doctor.finding import Verdict
from perception.system.process import Answer
from tests.doctor.codes import codes_in_source
from tests.doctor.engine_maker import write_engine
from tests.doctor.faults import FAULTS, Fault
from tests.doctor.trees import NAMES, Tree


@pytest.mark.parametrize("name", NAMES)
def test_a_machine_as_it_should_be_has_no_problem(name: str, tmp_path: Path) -> None:
    tree = Tree(name, tmp_path)
    if name != "desk":
        version = {"jetpack-6.0": "8.6.2", "jetpack-6.2": "10.3.0", "jetpack-7.2": "10.16.2"}[name]
        write_engine(tree.engines / "yolo11n.engine", tensorrt=version)
    results = tree.results()

    expected = {"l4t-argus"} if name in ("jetpack-6.0", "jetpack-6.2") else set()
    assert {result.finding.code for result in results} - {""} == expected
    assert all(result.finding.verdict is not Verdict.UNKNOWN for result in results)
    assert all(result.finding.found for result in results)


@pytest.mark.parametrize("name", NAMES)
def test_each_check_that_fits_a_machine_says_something_of_it_in_the_order_of_the_table(
    name: str, tmp_path: Path
) -> None:
    told = [result.check.name for result in Tree(name, tmp_path).results()]

    fitting = [check.name for check in CHECKS if check.on != JETSON or name != "desk"]
    assert list(dict.fromkeys(told)) == fitting


def test_names_of_checks_are_unique() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.code)
def test_a_fault_is_found_with_its_value_and_its_cure(fault: Fault, tmp_path: Path) -> None:
    tree = Tree(fault.tree, tmp_path)
    fault.inject(tree)

    finding = tree.fault(fault.code)

    assert fault.found in finding.found
    assert fault.cure in finding.cure


def test_every_code_has_a_fault_here() -> None:
    assert {fault.code for fault in FAULTS} == set(codes_in_source())
    assert len({fault.code for fault in FAULTS}) == len(FAULTS)


def test_the_pilot_itself_may_hold_the_camera_and_the_gpu(tmp_path: Path) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    tree.process(77, "python", "/venv/bin/python /opt/vehicle-pilot/pilot.py", "/dev/video0", "/dev/nvgpu/igpu0/as")
    tree.process(78, "nvargus-daemon", "/usr/sbin/nvargus-daemon", "/dev/video0")

    (camera,), (gpu,) = tree.findings("camera-holders"), tree.findings("gpu-users")

    assert (camera.verdict, gpu.verdict) == (Verdict.OK, Verdict.OK)
    assert "the pilot (77)" in camera.found


def test_a_vendors_image_without_the_release_file_is_known_by_its_packages(tmp_path: Path) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    (tree.root / "etc/nv_tegra_release").unlink()

    (finding,) = tree.findings("jetpack")

    assert finding.found.startswith("JetPack 6.2, Jetson Linux 36.4.3")


def test_an_engine_that_fits_is_named_with_its_precision(tmp_path: Path) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    write_engine(tree.engines / "yolo11n.engine")

    (finding,) = tree.findings("engines")

    assert (finding.verdict, finding.found) == (Verdict.OK, "yolo11n.engine: int8, TensorRT 10.3.0, Orin")


def test_an_engine_on_a_machine_without_tensorrt_is_checked_as_a_file_alone(tmp_path: Path) -> None:
    tree = Tree("desk", tmp_path)
    write_engine(tree.engines / "vehicle-n.engine")
    (finding,) = tree.findings("engines")
    assert finding.verdict is Verdict.UNKNOWN

    (tree.engines / "vehicle-n.engine").chmod(0o666)
    assert "chmod go-w" in tree.fault("engine-unusable").cure


def test_what_a_build_is_writing_at_this_moment_is_no_leftover(tmp_path: Path) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    path = tree.engines / ".yolo11n.engine.x7a"
    path.write_bytes(b"half")

    assert path.stat().st_mtime > 0
    tree.now = path.stat().st_mtime + 60
    (finding,) = tree.findings("leftovers")
    assert finding.verdict is Verdict.OK


def test_settings_of_the_service_that_this_user_may_not_read_are_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    tree.readable = False
    monkeypatch.setattr("perception.doctor.checks.host.SERVICE_CONFIG", tree.config)

    (finding,) = tree.findings("settings")

    assert (finding.verdict, finding.cure) == (
        Verdict.UNKNOWN,
        f"sudo -u vehicle-pilot {tree.machine.python} scripts/doctor.py",
    )


def test_one_file_system_is_told_once(tmp_path: Path) -> None:
    assert len(Tree("jetpack-6.2", tmp_path).findings("disk")) == 1


PROBED = {
    "numpy": "numpy",
    "cv2": "opencv",
    "cuda": "cuda",
    "tensorrt": "tensorrt",
    "pycuda": "pycuda",
    "torch": "torch",
}


@pytest.mark.parametrize(("probe", "check"), PROBED.items())
def test_an_import_that_hangs_cannot_be_told_and_one_that_crashes_is_a_fault(
    probe: str, check: str, tmp_path: Path
) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    tree.probes[probe] = Answer(None, fault="no answer within 10 s")
    (hanging,) = tree.findings(check)
    tree.probes[probe] = Answer(-11)
    (crashing,) = tree.findings(check)

    assert (hanging.verdict, "no answer within 10 s" in hanging.found) == (Verdict.UNKNOWN, True)
    assert "again" in hanging.cure
    assert crashing.verdict in (Verdict.PROBLEM, Verdict.WARNING)
    assert "SIGSEGV" in crashing.found


SOURCE_OR_BUSY = "its source could not be opened, or what it needs was in use or not there yet (3)"
NO_MEMORY = "killed by SIGKILL, which is usually the kernel for want of memory: journalctl -k -g oom"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"ExecMainCode": "1", "ExecMainStatus": "2"}, "its settings cannot be used (2)"),
        ({"ExecMainCode": "1", "ExecMainStatus": "3"}, SOURCE_OR_BUSY),
        ({"ExecMainCode": "1", "ExecMainStatus": "4"}, "no allowed backend can serve (4)"),
        ({"ExecMainCode": "1", "ExecMainStatus": "203"}, "its Python is not there or cannot be run (203)"),
        ({"ExecMainCode": "1", "ExecMainStatus": "77"}, "exit code 77"),
        ({"ExecMainCode": "2", "ExecMainStatus": "9", "Result": "signal"}, NO_MEMORY),
        ({"ExecMainCode": "3", "ExecMainStatus": "11"}, "killed by SIGSEGV"),
        ({"ExecMainCode": "0", "Result": "resources"}, "it was not started since boot (resources)"),
        ({"ExecMainCode": "2", "ExecMainStatus": "6", "Result": "watchdog"}, "its heartbeat stopped: inference hung"),
    ],
)
def test_the_last_exit_is_told_in_words(state: dict[str, str], words: str, tmp_path: Path) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    tree.state("vehicle-pilot.service", ActiveState="failed", SubState="failed", **{"Result": "exit-code", **state})

    assert tree.fault("service-failed").found == f"failed: {words}"


def test_a_system_that_is_read_only_by_intention_is_no_fault(tmp_path: Path) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    tree.disks[tree.root] = replace(tree.disk, device=2, read_only=True)

    findings = tree.findings("disk")

    assert [finding.verdict for finding in findings] == [Verdict.OK, Verdict.OK]
    assert findings[1].found.endswith("read-only")
