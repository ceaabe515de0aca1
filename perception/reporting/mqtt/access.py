"""The settings of MQTT, checked before a run, and the files that they name: password, certificates."""

from __future__ import annotations

import ipaddress
import re
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from perception.core.errors import SettingsError
from perception.core.redact import redact_address, redact_value, shown_secret_path
from perception.settings.model import MqttSettings

MAX_BYTES = 64 * 1024
T = TypeVar("T")
OTHERS = stat.S_IRWXO | stat.S_IWGRP


@dataclass(frozen=True, slots=True)
class Access:
    """The address and credentials of a broker. The password is in no text of it."""

    host: str
    port: int
    topic: str
    client_id: str
    username: str | None
    password: str | None = field(repr=False)
    tls: ssl.SSLContext | None

    @property
    def place(self) -> str:
        """Return the broker's address, for the log."""
        return f"{self.host}:{self.port}"


def read_access(settings: MqttSettings) -> Access:
    """Read every file that the settings name; settings.host must not be None.

    Raises SettingsError for what cannot be used.
    """
    host = settings.host or ""
    if not (re.fullmatch(r"[\w.-]+", host) or _is_ipv6(host.strip("[]"))):
        raise SettingsError(
            f"mqtt.host is {redact_address(host)!r}",
            "Give a name or an address alone; mqtt.port, mqtt.tls say the rest.",
        )
    _check_topic(settings.topic)
    password = _password(settings)
    return Access(
        host.strip("[]"),
        settings.port or (8883 if settings.tls else 1883),
        settings.topic,
        settings.client_id or settings.topic,
        settings.username,
        password,
        _tls(settings),
    )


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _check_topic(topic: str) -> None:
    wrong = topic.startswith(("/", "$")) or topic.endswith("/") or re.search(r"[+#\x00-\x1f\x7f]|//", topic)
    if wrong or len(topic.encode()) > 1000:
        raise SettingsError(
            f"mqtt.topic is {redact_value(topic)[:80]!r}",
            "Give a topic such as site/gate-3, without + and #, and no / at its ends.",
        )


def _password(settings: MqttSettings) -> str | None:
    path = settings.password_path
    if path is None:
        return None
    if settings.username is None:
        raise SettingsError("mqtt.password_path is set, but mqtt.username is not", "MQTT sends no password alone.")
    _check_secret("mqtt.password_path", path)
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8").rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"mqtt.password_path {shown_secret_path(path)} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"mqtt.password_path {path} is not text in UTF-8") from None
    if not text or "\n" in text:
        raise SettingsError(f"mqtt.password_path {path} does not hold one line", "Write the password alone into it.")
    return text


def _check_secret(key: str, path: Path) -> None:
    """Raise SettingsError for a file that is none, or that others may read or its group may change."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{key} {shown_secret_path(path)} cannot be read: {getattr(error, 'strerror', error)}"
        ) from None
    if not stat.S_ISREG(mode):
        raise SettingsError(f"{key} {path} is no file")
    if mode & OTHERS:
        raise SettingsError(
            f"{key} {path} has mode {stat.S_IMODE(mode):04o}: others may use it", f"Mend it: chmod 600 {path}"
        )


def _tls(settings: MqttSettings) -> ssl.SSLContext | None:
    files = {key: getattr(settings, key) for key in ("ca_path", "cert_path", "key_path")}
    given = [key for key, path in files.items() if path]
    if not settings.tls:
        if given:
            raise SettingsError(f"mqtt.{given[0]} is set, but mqtt.tls is false", "Set mqtt.tls: true.")
        return None
    if files["key_path"] and not files["cert_path"]:
        raise SettingsError("mqtt.key_path is set, but mqtt.cert_path is not", "A key needs its certificate.")
    context = ssl.create_default_context()
    if files["ca_path"]:
        context = _loaded("ca_path", files["ca_path"], lambda path: ssl.create_default_context(cafile=path))
    if files["cert_path"]:
        key = files["key_path"] or files["cert_path"]
        _check_secret("mqtt.key_path" if files["key_path"] else "mqtt.cert_path", key)
        # Without a password of ours OpenSSL would ask for the key's at the terminal.
        _loaded("cert_path", files["cert_path"], lambda path: context.load_cert_chain(path, key, password=""))
    return context


def _loaded(key: str, path: Path, load: Callable[[Path], T]) -> T:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise SettingsError(f"mqtt.{key} {path} is no file")
    try:
        return load(path)
    except ssl.SSLError:  # an OSError, too
        cure = "Give it in PEM, the key without a passphrase, and the pair that belongs together."
        raise SettingsError(f"mqtt.{key} {path} holds nothing that TLS can use", cure) from None
    except OSError as error:
        raise SettingsError(f"mqtt.{key} {path} cannot be read: {error.strerror}") from None
