"""An engine in service: whatever happens to who replaces it, a whole pair is there, and loads."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from perception.backends.tensorrt.described import read_described
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.place import Place, check_replaceable, work_folder
from perception.core.errors import BackendError, SettingsError
from perception.workshop.export.install import install, roll_back
from tests.doubles.engine_files import plan
from tests.small_disk import small_disk
from tests.workshop.export.pairs import NOTHING, STEM, act, deaths, in_service, previous, put, staged

OTHER = 12345  # a user whom no system knows


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "engines"
    folder.mkdir(mode=0o755)
    return Place(folder, STEM)


def names(place: Place) -> list[str]:
    return sorted(path.name for path in place.folder.iterdir() if path.is_file())


def test_the_first_engine(place: Place) -> None:
    act("install a", place.folder)
    assert in_service(place) == "a"
    assert names(place) == ["yolo11n.engine", "yolo11n.json"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in (place.engine, place.sidecar)} == {0o644}


def test_the_second_one_keeps_the_first_and_a_rollback_exchanges_them(place: Place) -> None:
    for name in "abc":
        act(f"install {name}", place.folder)
    assert (in_service(place), previous(place)) == ("c", "b")
    for pair in [("b", "c"), ("c", "b"), ("b", "c")]:
        act("rollback", place.folder)
        assert (in_service(place), previous(place)) == pair
    assert len(names(place)) == 4
    assert [path.name for path in (place.folder / ".work").rglob("*") if path.is_file()] == []


def test_an_engine_without_a_sidecar_is_kept_and_comes_back_without_one(place: Place) -> None:
    put(place.folder, "bare x")
    act("install a", place.folder)
    assert (in_service(place), previous(place)) == ("a", "bare x")
    act("rollback", place.folder)
    assert (in_service(place), previous(place)) == ("bare x", "a")
    assert not place.sidecar.exists()
    act("rollback", place.folder)
    assert (in_service(place), previous(place)) == ("a", "bare x")


def test_the_same_engine_again_leaves_the_previous_one_alone(place: Place) -> None:
    for name in "abb":
        act(f"install {name}", place.folder)
    assert (in_service(place), previous(place)) == ("b", "a")


def test_an_engine_that_is_refused_is_replaced_and_not_kept(place: Place) -> None:
    put(place.folder, "a", ".previous")
    put(place.folder, "b")
    place.engine.write_bytes(plan(200)[:150])
    work = work_folder(place.folder)
    replaced = install(staged(work, "c"), place, work)
    assert not replaced.kept
    assert replaced.why_not.startswith(f"What was there could not serve, and is not kept: {place.engine} is truncated")
    assert (in_service(place), previous(place)) == ("c", "a")


def test_a_link_is_replaced_and_what_it_led_to_is_left_alone(place: Place, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "disk").mkdir(mode=0o755)
    put(tmp_path / "disk", "a")
    place.engine.symlink_to(tmp_path / "disk" / f"{STEM}.engine")
    act("install b", place.folder)
    assert (in_service(place), previous(place)) == ("b", "a")
    assert not place.engine.is_symlink()
    assert in_service(Place(tmp_path / "disk", STEM)) == "a"


# Deaths

STARTS = {
    "nothing": [],
    "one pair": [("a", "")],
    "two pairs": [("a", ""), ("p", ".previous")],
    "an engine without a sidecar": [("bare a", "")],
    "one without a sidecar, one before it": [("bare a", ""), ("p", ".previous")],
    "one before it without a sidecar": [("a", ""), ("bare p", ".previous")],
    "both without a sidecar": [("bare a", ""), ("bare p", ".previous")],
}


@pytest.mark.parametrize("start", STARTS)
def test_killed_before_any_system_call_of_an_installation_the_old_or_the_new_engine_serves(
    place: Place, start: str
) -> None:
    for name, suffix in STARTS[start]:
        put(place.folder, name, suffix)
    old, older = in_service(place), previous(place)
    instants = deaths("install n", place.folder)
    assert len(instants) > 10
    assert [instant.serves for instant in instants] == sorted((instant.serves for instant in instants), key="n".__eq__)
    assert {instant.serves for instant in instants} == {old, "n"}
    assert {instant.kept for instant in instants} <= {old, older}
    assert {(instant.serves_then, instant.kept_then) for instant in instants} == {
        ("n", older if old == NOTHING else old)
    }


@pytest.mark.parametrize("start", [start for start, pairs in STARTS.items() if len(pairs) == 2])
def test_killed_before_any_system_call_of_a_rollback_one_of_both_serves_and_none_is_lost(
    place: Place, start: str
) -> None:
    for name, suffix in STARTS[start]:
        put(place.folder, name, suffix)
    old, older = in_service(place), previous(place)
    instants = deaths("rollback", place.folder)
    assert len(instants) > 10
    assert {instant.serves for instant in instants} == {old, older}
    for instant in instants[:-1]:
        if instant.serves == old:
            assert instant.kept == older
            assert (instant.serves_then, instant.kept_then) == (older, old)
        else:
            assert instant.kept in (old, NOTHING), "its name may be missing for an instant"
            assert (instant.serves_then, instant.kept_then) == ("z", older), "the installation of z"
    assert (instants[-1].serves, instants[-1].kept) == (older, old)


def test_a_rollback_from_an_engine_that_is_refused_never_lets_it_serve(place: Place) -> None:
    put(place.folder, "bare p", ".previous")
    put(place.folder, "a")
    place.engine.write_bytes(plan(200)[:-1] + b"!")
    assert in_service(place) == NOTHING, "its sidecar tells that it was tampered with"
    instants = deaths("rollback", place.folder)
    assert {instant.serves for instant in instants} == {NOTHING, "bare p"}
    assert instants[-1].serves == "bare p"


def test_a_pilot_that_starts_at_any_moment_finds_a_pair(place: Place) -> None:
    act("install a", place.folder)
    act("install b", place.folder)
    found: list[str] = []
    faults: list[BackendError] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                sidecar = open_engine(place.engine).sidecar
                found.append(sidecar.gpu_name if sidecar else "bare")
            except BackendError as fault:
                faults.append(fault)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(30):
            act("rollback" if number % 3 else f"install {'abcd'[number % 4]}", place.folder)
    finally:
        done.set()
        reader.join()
    assert not faults
    assert len(found) > 30
    assert set(found) <= set("abcd")


# What is in the way


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        place = Place(disk.path / "engines", STEM)
        place.folder.mkdir(mode=0o755)
        put(place.folder, "a")
        work = work_folder(place.folder)
        new = staged(work, "b")
        filler = disk.fill()
        with pytest.raises(SettingsError, match="cannot be replaced: No space left on device") as caught:
            install(new, place, work)
        assert "What was in service still is." in str(caught.value)
        assert in_service(place) == "a"
        filler.unlink()
        install(new, place, work)
        assert (in_service(place), previous(place)) == ("b", "a")


def test_there_is_nothing_to_roll_back_to(place: Place) -> None:
    act("install a", place.folder)
    with pytest.raises(SettingsError, match="holds no previous engine of yolo11n"):
        roll_back(place, work_folder(place.folder))


def test_a_previous_engine_that_would_be_refused_stays_where_it_is(place: Place) -> None:
    put(place.folder, "a")
    put(place.folder, "p", ".previous")
    place.previous_engine.write_bytes(plan(200)[:150])
    with pytest.raises(SettingsError, match=r"The previous engine cannot serve: .* is truncated"):
        roll_back(place, work_folder(place.folder))
    assert in_service(place) == "a"


@pytest.mark.skipif(os.geteuid() != 0, reason="no permission to act as another user")
class TestUsers:
    """In a folder that the service shares: sticky, and written by its group."""

    @pytest.fixture(autouse=True)
    def shared(self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for folder in (place.folder, *place.folder.parents):
            if folder.owner() == "root" and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        os.chown(place.folder, 0, OTHER)
        place.folder.chmod(0o3775)

    @pytest.fixture
    def service(self, shared: None) -> object:
        """This process as the user of the service."""
        os.setegid(OTHER)
        os.seteuid(OTHER)
        yield
        os.seteuid(0)
        os.setegid(0)

    def test_the_service_installs_what_is_missing(self, place: Place, service: object) -> None:
        check_replaceable(place)
        act("install a", place.folder)
        assert in_service(place) == "a"
        act("install b", place.folder)
        assert (in_service(place), previous(place)) == ("b", "a")

    def test_the_service_is_told_before_that_it_may_not_replace_what_others_installed(self, place: Place) -> None:
        put(place.folder, "a")
        os.seteuid(OTHER)
        try:
            with pytest.raises(SettingsError, match=rf"engine belongs to root, and {OTHER} may not replace it") as told:
                check_replaceable(place)
        finally:
            os.seteuid(0)
        assert f"sudo rm {place.engine}" in told.value.cure

    def test_the_owner_replaces_what_the_service_installed(self, place: Place) -> None:
        put(place.folder, "a")
        for path in (place.engine, place.sidecar):
            os.chown(path, OTHER, OTHER)
        check_replaceable(place)
        work = work_folder(place.folder)
        install(staged(work, "b"), place, work)
        assert in_service(place) == "b"

    def test_each_user_works_in_a_folder_of_their_own(self, place: Place) -> None:
        mine = work_folder(place.folder)
        assert stat.S_IMODE(mine.stat().st_mode) == 0o700
        os.setegid(OTHER)
        os.seteuid(OTHER)
        try:
            other = work_folder(place.folder)
        finally:
            os.seteuid(0)
            os.setegid(0)
        assert (mine.name, other.name) == (".work", f".work-{OTHER}")
        assert other.stat().st_uid == OTHER


def test_a_folder_that_cannot_be_written_is_told_of_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot be made: .* would have to replace a file"):
        check_replaceable(Place(tmp_path / "file" / "engines", STEM))
    with pytest.raises(SettingsError, match="is not a folder"):
        check_replaceable(Place(tmp_path / "file", STEM))
    check_replaceable(Place(tmp_path / "new" / "engines", STEM))
    assert not (tmp_path / "new").exists()


def test_what_is_written_for_two_engines_says_which_comes_first(place: Place) -> None:
    act("install a", place.folder)
    act("install b", place.folder)
    told = read_described(place.sidecar)
    assert [engine.sidecar.gpu_name for engine in told if engine.sidecar] == ["b", "a"]
