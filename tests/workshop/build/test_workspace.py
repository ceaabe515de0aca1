"""A lack of memory in each of its disguises, met in a real child: the build is tried again with less workspace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from perception.backends.tensorrt.engine_file import open_engine
from perception.core.errors import BuildError, ExportMemoryError
from perception.workshop.build.workspace import LEAST_WORKSPACE_MIB, with_less_workspace, workspaces
from perception.workshop.stage import run_stage
from tests.workshop.build import small_network

MODULE = "tests.workshop.faulty_stage"
DISGUISES = {
    "eat": "Memory could not be had",
    "eat_at_a_top_level": "memory could not be had",
    "killed": "The faulty stage was killed",
    "nvmap": "the GPU was refused a block of memory (NvMap, error 12)",
    "nvml": "torch ran out of GPU memory",
    "none": "TensorRT did not get the scratch memory that it asked for",
    "none_in_words": "TensorRT did not get the scratch memory that it asked for",
}


def attempt(do: str, workspace_mib: int, **more: Any) -> int:
    """Runs the faulty stage; gives the workspace with which it succeeded."""
    request = {"do": do, "workspace_mib": workspace_mib, **more}
    return int(run_stage(MODULE, request, lambda event: None)["workspace_mib"])


@pytest.mark.parametrize("do", DISGUISES)
def test_each_disguise_is_recognised_in_a_child_and_a_smaller_workspace_is_tried(do: str) -> None:
    said: list[str] = []

    reached = with_less_workspace(lambda mib: attempt(do, mib, fails_from_mib=1024), 1024, said.append)

    assert reached == 512
    (line,) = said
    assert DISGUISES[do] in line
    assert line.endswith("Trying again with a workspace of 512 MiB instead of 1024")


def test_a_builder_that_gives_none_for_want_of_scratch_memory_is_asked_again_for_less(tmp_path: Path) -> None:
    onnx, said = small_network.build(tmp_path / "small.onnx"), list[str]()

    def build(workspace_mib: int) -> Mapping[str, Any]:
        request = {"onnx": onnx, "engine": tmp_path / "small.engine", "precision": "fp16", "imgsz": 64}
        return run_stage(
            "tests.workshop.starved_stage", {**request, "workspace_mib": workspace_mib}, lambda event: None
        )

    result = with_less_workspace(build, 2048, said.append)

    assert open_engine(Path(result["engine"])).sidecar is not None
    assert result["facts"]["builder"]["workspace_mib"] == 512
    assert [line.rpartition(". ")[2] for line in said] == [
        "Trying again with a workspace of 1024 MiB instead of 2048",
        "Trying again with a workspace of 512 MiB instead of 1024",
    ]
    assert all("insufficient" in line or "implementation" in line for line in said)


def test_where_the_least_workspace_fails_too_fp16_is_offered_and_not_built() -> None:
    said: list[str] = []
    tried: list[int] = []

    def fails(workspace_mib: int) -> int:
        tried.append(workspace_mib)
        return attempt("killed", workspace_mib)

    with pytest.raises(ExportMemoryError) as caught:
        with_less_workspace(fails, 512, said.append, "python3 scripts/export_int8_engine.py --precision fp16")

    assert tried == [512, 256]
    assert len(said) == 1
    assert "also with a workspace of 256 MiB" in caught.value.what
    assert caught.value.cure.endswith(
        "An FP16 engine needs less, and no calibration: python3 scripts/export_int8_engine.py --precision fp16"
    )
    assert caught.value.exit_code == 6


def test_without_an_offer_the_cure_is_that_of_the_last_fault() -> None:
    def fails(workspace_mib: int) -> int:
        raise ExportMemoryError("It was killed", "Reboot.")

    with pytest.raises(ExportMemoryError, match=r"^It was killed, also with a workspace of 256 MiB\. Reboot\.$"):
        with_less_workspace(fails, 300, lambda text: None)


@pytest.mark.parametrize("do", ["bug", "insufficient_but_a_bug", "static_tls", "crash"])
def test_what_is_no_lack_of_memory_is_not_tried_again(do: str) -> None:
    tried: list[int] = []

    def fails(workspace_mib: int) -> int:
        tried.append(workspace_mib)
        return attempt(do, workspace_mib)

    with pytest.raises(BuildError):
        with_less_workspace(fails, 1024, lambda text: None)

    assert tried == [1024]


@pytest.mark.parametrize(
    ("workspace_mib", "expected"),
    [(2048, (2048, 1024, 512, 256)), (750, (750, 375, 256)), (256, (256,)), (100, (100,)), (257, (257, 256))],
)  # fmt: skip
def test_the_workspace_is_halved_down_to_the_least(workspace_mib: int, expected: tuple[int, ...]) -> None:
    assert workspaces(workspace_mib) == expected
    assert expected[-1] == min(workspace_mib, LEAST_WORKSPACE_MIB)


def test_a_workspace_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 MiB"):
        workspaces(0)
