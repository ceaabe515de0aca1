"""Access to the page: tokens, sessions, limits, names and addresses."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from perception.core.errors import BusyError, SettingsError
from perception.reporting.web.address import Address, Names, is_loopback, listen, parse
from perception.reporting.web.tokens import SESSION_S, Guard, Limiter, read_token
from tests.doubles.fakes import FakeClock

TOKEN = "correct-horse-battery-staple"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_file_goes_before_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path / "token", f"{TOKEN}\n")
    assert read_token(path, {"PILOT_WEB_TOKEN": "0123456789abcdef"}) == TOKEN
    assert read_token(None, {"PILOT_WEB_TOKEN": "0123456789abcdef"}) == "0123456789abcdef"
    assert read_token(None, {}) is None


@pytest.mark.parametrize(
    ("text", "mode", "said"),
    [
        (TOKEN, 0o640, r"others may read .*token \(mode 0640\)\. chmod 600 "),
        (TOKEN, 0o604, r"mode 0604"),
        ("short", 0o600, r"holds no token of 16 printable characters or more\. Make one: "),
        ("sechzehn-zeichen-ß", 0o600, r"holds no token"),
        ("", 0o600, r"holds no token"),
    ],
)
def test_a_token_that_is_no_secret_is_refused(tmp_path: Path, text: str, mode: int, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        read_token(write(tmp_path / "token", text, mode), {})
    assert TOKEN not in str(caught.value)


def test_a_token_that_is_not_there_is_told_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be read \(No such file or directory\)\. Make it: "):
        read_token(tmp_path / "none", {})
    with pytest.raises(SettingsError, match="cannot be read"):
        read_token(tmp_path, {})


def test_a_session_lasts_a_week_and_for_one_token() -> None:
    clock = FakeClock()
    guard = Guard(TOKEN, clock)
    session = guard.new_session()
    assert TOKEN not in session
    assert guard.is_session(session)
    assert not Guard(TOKEN + "2", clock).is_session(session)
    clock.now += SESSION_S + 1
    assert not guard.is_session(session)


@pytest.mark.parametrize("forged", ["", ".", "9" * 12, "9999999999999.", f"9999999999999.{'0' * 64}", "x.y", "é.é"])
def test_a_forged_session_lets_nobody_in(forged: str) -> None:
    assert not Guard(TOKEN).is_session(forged)


@pytest.mark.parametrize("wrong", ["", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é"])
def test_no_other_token_lets_in(wrong: str) -> None:
    assert Guard(TOKEN).is_token(TOKEN)
    assert not Guard(TOKEN).is_token(wrong)


def test_where_no_token_is_needed_none_is_right() -> None:
    guard = Guard(None)
    assert not guard.needs_token
    assert not guard.is_token("")
    assert not guard.is_session(guard.new_session())


def test_a_limit_holds_for_each_address_and_passes() -> None:
    clock = FakeClock()
    limiter = Limiter(3, 0.5, clock)
    assert [limiter.allows("a") for _ in range(4)] == [True, True, True, False]
    assert limiter.allows("b")
    clock.now += 2
    assert [limiter.allows("a") for _ in range(2)] == [True, False]


def test_a_limiter_remembers_a_bounded_number_of_addresses() -> None:
    limiter = Limiter(1, 0, FakeClock())
    for number in range(1000):
        assert limiter.allows(str(number))
    assert not limiter.allows("999")
    assert limiter.allows("0")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("[::1]:80", Address("::1", 80)),
        ("localhost:0", Address("localhost", 0)),
    ],
)
def test_an_address_has_a_host_and_a_port(text: str, address: Address) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    "text", ["8080", "127.0.0.1", ":8080", "127.0.0.1:99999", "http://127.0.0.1:80", "::1:80", "a b:1"]
)
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match=r"not an address and a port\. Write it as 127\.0\.0\.1:8080\."):
        parse(text)


def test_a_port_that_is_taken_is_told_with_its_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(BusyError, match=f"cannot be served at 127.0.0.1:{port} .*'sport = :{port}'") as caught:
            listen(Address("127.0.0.1", port))
    assert caught.value.exit_code == 3


def test_a_port_that_only_root_may_have_is_a_fault_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "listen", refuse)  # root may bind to any
    with pytest.raises(SettingsError, match=r"cannot be served at .* \(Permission denied\)"):
        listen(Address("127.0.0.1", 0))


def test_an_address_of_another_machine_is_told() -> None:
    with pytest.raises(BusyError, match=r"cannot be served at 192\.0\.2\.1:80 "):
        listen(Address("192.0.2.1", 80))
    with pytest.raises(SettingsError, match="is no address"):
        listen(Address("no.such.host.invalid", 80))


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        pytest.param("localhost", True, marks=pytest.mark.needs("localhost")),
        ("0.0.0.0", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, own: bool) -> None:
    with listen(Address(host, 0)) as listener:
        assert is_loopback(listener) == own


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("localhost", True),
        ("LOCALHOST:9000", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("192.168.1.7", True),
        ("cam.example:80", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("a:b:c", False),
        ("localhost@evil.example", False),
    ],
)
def test_a_name_that_is_not_ours_is_not_answered_to(header: str, known: bool) -> None:
    assert Names("127.0.0.1", ("cam.example",)).know(header) == known
