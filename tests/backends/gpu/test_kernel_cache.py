"""Built kernels: where they are kept, what is not trusted, and every way in which nvcc can fail."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from perception.backends.gpu import kernels
from perception.backends.gpu.cuda import Gpu
from perception.backends.gpu.kernels import KernelsUnavailable, find_nvcc, load_module
from tests.doubles.emulated_gpu import BINARY, Device
from tests.small_disk import small_disk

BUILDS = f"""#!/bin/sh
PATH=/usr/bin:/bin
echo "$@" >> "$(dirname "$0")/runs"
while [ "$1" != -o ]; do shift; done
printf '\\177{BINARY[1:].decode()}' > "$2"
"""


class Nvcc:
    """An nvcc on PATH that does what it is told, and no other in reach."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self._path = folder / "nvcc"
        self._runs = folder / "runs"
        self.does(BUILDS)

    def does(self, script: str) -> None:
        """Replaces it."""
        self._path.write_text(script)
        self._path.chmod(0o755)

    def is_missing(self) -> None:
        """Takes it away."""
        self._path.unlink()
        self._patch.setenv("PATH", str(self._path.parent))

    @property
    def runs(self) -> list[str]:
        """The arguments of each run."""
        return self._runs.read_text().splitlines() if self._runs.exists() else []


@pytest.fixture
def nvcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nvcc:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "no cuda"))
    return Nvcc(folder, monkeypatch)


@pytest.fixture
def gpu(device: Device) -> Iterator[Gpu]:
    with Gpu() as gpu:
        yield gpu


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "engines"


def kept(folder: Path) -> Path:
    """The one file in the folder."""
    (path,) = folder.iterdir()
    return path


def test_it_is_built_once_and_then_needs_no_nvcc(gpu: Gpu, folder: Path, nvcc: Nvcc, logged: list[str]) -> None:
    assert load_module(gpu, folder).get_function("letterbox_float32")
    assert logged == ["INFO Building the CUDA kernels for sm_87, once"]
    assert kept(folder).name.startswith("kernels-sm_87-")
    assert kept(folder).suffix == ".cubin"
    assert kept(folder).stat().st_mode & 0o777 == 0o644
    nvcc.is_missing()
    assert load_module(gpu, folder).get_function("filter_raw_float16")
    assert len(nvcc.runs) == 1
    assert "-arch=sm_87" in nvcc.runs[0]
    assert nvcc.runs[0].endswith(str(kernels.SOURCE))


def test_the_headers_are_those_that_the_source_includes() -> None:
    included = re.findall(r'^#include "(.+)"$', kernels.SOURCE.read_text(), re.MULTILINE)
    assert tuple(included) == kernels.HEADERS


@pytest.mark.parametrize("change", ["architecture", "CUDA", kernels.SOURCE.name, *kernels.HEADERS])
def test_another_source_architecture_or_cuda_is_built_for_itself(
    gpu: Gpu, folder: Path, nvcc: Nvcc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    load_module(gpu, folder)
    if change == "architecture":
        gpu.compute_capability = "9.0"
    elif change == "CUDA":
        gpu.driver_version = 13000
    else:
        for name in (kernels.SOURCE.name, *kernels.HEADERS):
            text = kernels.SOURCE.with_name(name).read_text()
            (tmp_path / name).write_text(text + "//\n" if name == change else text)
        monkeypatch.setattr(kernels, "SOURCE", tmp_path / kernels.SOURCE.name)
    load_module(gpu, folder)
    assert len(nvcc.runs) == len(list(folder.iterdir())) == 2


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def tamper(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def let_all_write(path: Path) -> None:
    path.chmod(0o646)


def give_away(path: Path) -> None:
    if os.geteuid():
        pytest.skip("no permission to give a file to another user")
    os.chown(path, 12345, 12345)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut, ""),
        (tamper, ""),
        (empty, ""),
        (let_all_write, "may be written by others"),
        (give_away, "belongs to"),
    ],
)
def test_what_cannot_be_trusted_is_built_anew(
    gpu: Gpu, folder: Path, nvcc: Nvcc, logged: list[str], spoil: Callable[[Path], None], said: str
) -> None:
    load_module(gpu, folder)
    spoil(kept(folder))
    logged.clear()
    assert load_module(gpu, folder)
    assert len(nvcc.runs) == 2
    assert not said or any(
        line.startswith(f"WARNING The kernels are built again: {kept(folder)} {said}") for line in logged
    )
    logged.clear()
    load_module(gpu, folder)
    assert (len(nvcc.runs), logged) == (2, []), "what was built took its place"


def test_a_kept_module_that_the_device_refuses_is_built_again(
    gpu: Gpu, folder: Path, nvcc: Nvcc, logged: list[str]
) -> None:
    nvcc.does(BUILDS.replace(" emulated", " of another driver"))
    with pytest.raises(KernelsUnavailable, match=r"the device refuses what nvcc built for sm_87: .*image is invalid"):
        load_module(gpu, folder)
    assert not folder.exists(), "only what loads is kept"
    nvcc.does(BUILDS)
    load_module(gpu, folder)
    image = BINARY + b" of another driver"
    kept(folder).write_bytes(hashlib.sha256(image).digest() + image)
    load_module(gpu, folder)
    assert len(nvcc.runs) == 3
    assert any("does not load and is built again" in line for line in logged)


def test_a_kept_module_on_a_disk_that_fails_is_built_again(
    gpu: Gpu, folder: Path, nvcc: Nvcc, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    load_module(gpu, folder)
    monkeypatch.setattr(kernels, "open_plain", Broken)
    assert load_module(gpu, folder)
    assert len(nvcc.runs) == 2
    assert logged[-2] == f"WARNING The kernels are built again: {kept(folder)} cannot be read: Input/output error"


def test_a_folder_that_cannot_be_written_costs_a_build_each_time(
    gpu: Gpu, tmp_path: Path, nvcc: Nvcc, logged: list[str]
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        disk.make_read_only()
        for folder in (disk.path, disk.path / "engines"):
            assert load_module(gpu, folder)
            assert logged[-1] == (
                f"WARNING The kernels could not be kept in {folder}: Read-only file system; each start builds them"
            )
    assert len(nvcc.runs) == 2


def test_a_full_disk_costs_a_build_each_time_and_is_left_as_it_was(
    gpu: Gpu, tmp_path: Path, nvcc: Nvcc, logged: list[str]
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        filler = disk.fill()
        assert load_module(gpu, disk.path)
        assert list(disk.path.iterdir()) == [filler]
    assert "No space left on device; each start builds them" in logged[-1]


def test_a_file_in_the_place_of_the_folder_is_survived(gpu: Gpu, folder: Path, nvcc: Nvcc, logged: list[str]) -> None:
    folder.write_text("")
    assert load_module(gpu, folder)
    assert f"The kernels could not be kept in {folder}: " in logged[-1]


def test_without_nvcc_the_reason_says_how_to_find_it(gpu: Gpu, folder: Path, nvcc: Nvcc) -> None:
    nvcc.is_missing()
    with pytest.raises(KernelsUnavailable, match=r"nvcc was not found \(export PATH=/usr/local/cuda/bin"):
        load_module(gpu, folder)


def test_nvcc_is_found_where_cuda_installs_it(nvcc: Nvcc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvcc.is_missing()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    assert find_nvcc() is None
    path = tmp_path / "cuda" / "bin" / "nvcc"
    path.parent.mkdir(parents=True)
    path.write_text(BUILDS)
    path.chmod(0o755)
    assert find_nvcc() == str(path)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "#!/bin/sh\necho chatter\necho 'nvcc fatal   : Unsupported gpu architecture' >&2\nexit 1\n",
            "Unsupported gpu",
        ),
        ("#!/bin/sh\necho 'said on stdout'\nexit 1\n", "said on stdout"),
        ("#!/bin/sh\nexit 3\n", "no message"),
        ("#!/bin/sh\nprintf 'broken \\377 text' >&2\nexit 1\n", "broken"),
        ("#!/bin/sh\nkill -9 $$\n", "no message"),
        ("#!/bin/sh\nexit 0\n", "could not build them: .*No such file"),
        ("#!/nowhere/sh\n", "could not build them: .*No such file"),
        ("no program", "could not build them: .*Exec format error"),
    ],
    ids=["error", "error on stdout", "silence", "no text", "killed", "nothing built", "broken install", "no program"],
)
def test_an_nvcc_that_fails_is_a_reason(gpu: Gpu, folder: Path, nvcc: Nvcc, script: str, said: str) -> None:
    nvcc.does(script)
    with pytest.raises(KernelsUnavailable, match=said):
        load_module(gpu, folder)
    assert not folder.exists()


def test_an_nvcc_that_hangs_is_given_up(gpu: Gpu, folder: Path, nvcc: Nvcc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BUILD_LIMIT_S", 0.2)
    nvcc.does("#!/bin/sh\nexec /bin/sleep 60\n")
    with pytest.raises(KernelsUnavailable, match=r"timed out after 0\.2 seconds"):
        load_module(gpu, folder)


def test_an_nvcc_that_chatters_builds(gpu: Gpu, folder: Path, nvcc: Nvcc) -> None:
    nvcc.does(BUILDS.replace("while", "seq 200000; seq 200000 >&2\nwhile", 1))
    assert load_module(gpu, folder)


def test_no_room_for_the_build_is_a_reason(
    gpu: Gpu, folder: Path, nvcc: Nvcc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(KernelsUnavailable, match=r"could not build them: .*No such file"):
        load_module(gpu, folder)
