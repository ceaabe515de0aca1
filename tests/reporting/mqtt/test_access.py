"""The settings of MQTT, and the files that they name, are checked before the run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perception.core.errors import SettingsError
from perception.reporting.mqtt.access import read_access
from perception.settings.model import MqttSettings
from tests.journeys.service.conftest import Folder
from tests.journeys.service.manager import PILOT
from tests.needs import path_of
from tests.reporting.mqtt.broker import PASSWORD, free_port, secured


def settings(**keys: object) -> MqttSettings:
    return MqttSettings.model_validate({"host": "broker", **keys})


def refused(**keys: object) -> str:
    with pytest.raises(SettingsError) as caught:
        read_access(settings(**keys))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    path.chmod(0o600)
    return path


def test_a_name_alone_is_enough() -> None:
    found = read_access(settings())
    assert (found.host, found.port, found.topic, found.client_id) == ("broker", 1883, "vehicle-pilot", "vehicle-pilot")
    assert (found.username, found.password, found.tls) == (None, None, None)


def test_tls_has_a_port_of_its_own() -> None:
    assert read_access(settings(tls=True)).port == 8883
    assert read_access(settings(tls=True, port=7)).port == 7


@pytest.mark.parametrize("host", ["broker.example", "10.0.0.7", "::1", "[fe80::1%eth0]"])
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    assert read_access(settings(host=host)).host == host.strip("[]")


@pytest.mark.parametrize("host", ["mqtt://u:hunter2@broker", "broker/x", "a b"])
def test_a_host_that_is_more_than_that_is_refused_without_its_password(host: str) -> None:
    said = refused(host=host)
    assert said.startswith("mqtt.host is ")
    assert "hunter2" not in said


@pytest.mark.parametrize("topic", ["/a", "a/", "a//b", "a/+", "#", "$SYS/x", "a\nb", "a" * 1001])
def test_a_topic_that_cannot_be_spoken_on_is_refused(topic: str) -> None:
    assert "Give a topic such as site/gate-3" in refused(topic=topic)


def test_the_password_is_the_line_of_its_file(password: Path) -> None:
    found = read_access(settings(username="gate", password_path=password))
    assert found.password == PASSWORD
    assert PASSWORD not in repr(found)


@pytest.mark.parametrize("mode", [0o644, 0o602, 0o604, 0o620])
def test_a_password_that_others_may_use_is_refused(password: Path, mode: int) -> None:
    password.chmod(mode)
    said = refused(username="gate", password_path=password)
    assert f"has mode {mode:04o}: others may use it. Mend it: chmod 600 {password}" in said
    assert PASSWORD not in said


def test_a_password_file_that_the_group_of_the_service_may_read_is_taken(password: Path) -> None:
    password.chmod(0o640)
    assert read_access(settings(username="gate", password_path=password)).password == PASSWORD


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "one line"), (b"\n", "one line"), (b"a\nb", "one line"), (b"\xff", "is not text")]
)
def test_a_password_file_that_holds_something_else_is_refused(password: Path, content: bytes, said: str) -> None:
    password.write_bytes(content)
    assert said in refused(username="gate", password_path=password)


def test_a_password_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "No such file" in refused(username="gate", password_path=tmp_path / "none")
    assert "is no file" in refused(username="gate", password_path=tmp_path)
    assert "is no file" in refused(username="gate", password_path=tmp_path / "pipe")
    assert "cannot be read" in refused(username="gate", password_path=Path("a\0b"))


def test_settings_that_do_not_go_together_are_refused(password: Path) -> None:
    assert "mqtt.username is not" in refused(password_path=password)
    assert "mqtt.tls is false. Set mqtt.tls: true." in refused(ca_path=password)
    assert "mqtt.cert_path is not" in refused(tls=True, key_path=password)


@pytest.mark.needs("openssl", "mosquitto_passwd")
def test_certificates_are_loaded_and_wrong_ones_told(tmp_path: Path) -> None:
    secured(tmp_path)
    key, cert, ca = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "ca.pem"
    assert read_access(settings(tls=True, ca_path=ca, cert_path=cert, key_path=key)).tls
    assert "holds nothing that TLS can use" in refused(tls=True, ca_path=tmp_path / "users")
    assert "holds nothing that TLS can use" in refused(tls=True, cert_path=cert, key_path=tmp_path / "ca.key")
    assert "No such file" in refused(tls=True, ca_path=tmp_path / "none.pem")
    key.chmod(0o644)
    assert "mqtt.key_path" in refused(tls=True, cert_path=cert, key_path=key)
    locked = tmp_path / "locked.pem"
    command = [path_of("openssl"), "rsa", "-aes256", "-passout", "pass:x1234", "-in", str(key), "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    locked.chmod(0o600)
    assert "without a passphrase" in refused(tls=True, cert_path=cert, key_path=locked)


def check(folder: Folder) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PILOT), "check", "--config", "x.yaml"]
    return subprocess.run(command, cwd=folder.path, capture_output=True, text=True, timeout=60)


def test_check_tells_of_it_and_connects_to_nobody(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("mqtt: {host: localhost, username: gate, password_path: none}\n")
    done = check(folder)
    assert done.returncode == 2
    assert "settings problem  mqtt.password_path none cannot be read: No such file or directory" in done.stdout
    folder.write(f"mqtt: {{host: localhost, port: {free_port()}}}\n")
    done = check(folder)
    assert done.returncode == 0
    assert "broker" not in done.stderr


def test_wrong_settings_are_told_at_once(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("mqtt: {host: '', port: 0, queue: many, tsl: true}\n")
    done = check(folder)
    assert done.returncode == 2
    assert "mqtt.host is ''; allowed is text, not empty or nothing (null)" in done.stderr
    assert "mqtt.port is 0; allowed is a whole number from 1 up to 65535 or nothing (null)" in done.stderr
    assert "mqtt.tsl is not a setting; did you mean mqtt.tls?" in done.stderr
