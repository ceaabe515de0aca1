"""The token that lets somebody in where others than this machine reach the page, sessions, and limits on guesses."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from perception.core.errors import SettingsError
from perception.core.redact import shown_secret_path

VARIABLE = "PILOT_WEB_TOKEN"
COOKIE = "pilot_session"
SHORTEST = 16
SESSION_S = 7 * 86_400
GUESSES_BURST, GUESSES_PER_S = 5, 5 / 60
_MAKE = "(umask 077; openssl rand -hex 32 > web.token)"


def read_token(path: Path | None, environment: Mapping[str, str]) -> str | None:
    """Return the token of the file, else of PILOT_WEB_TOKEN; None where neither is given.

    Raises SettingsError for a file that cannot be read or that others may read, and for a token that is too short.
    """
    if path is None and VARIABLE not in environment:
        return None
    where = str(path) if path else VARIABLE
    token = (_read(path) if path else environment[VARIABLE]).strip()
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable():
        raise SettingsError(f"{where} holds no token of {SHORTEST} printable characters or more", f"Make one: {_MAKE}")
    return token


def need_token(host: str) -> SettingsError:
    """Return the fault of a page that others can reach, without a token."""
    return SettingsError(
        f"web.bind: {host} can be reached by others, and there is no token",
        f"Make one, {_MAKE}, and set web.token_path: web.token; or bind to 127.0.0.1 and come through ssh -L.",
    )


def _read(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SettingsError(f"web.token_path: {path} is no file")
            if status.st_mode & 0o077:
                raise SettingsError(
                    f"web.token_path: others may read {path} (mode {stat.S_IMODE(status.st_mode):04o})",
                    f"chmod 600 {path}",
                )
            return file.read(4096)
    except OSError as error:
        shown = shown_secret_path(path)
        raise SettingsError(f"web.token_path: {shown} cannot be read ({error.strerror})", f"Make it: {_MAKE}") from None


def _without_waiting(name: str, flags: int) -> int:
    """Open a file without waiting, even a pipe."""
    return os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)


class Limiter:
    """Allows a burst, then a steady rate, for each of the last 256 addresses. clock: monotonic seconds."""

    ADDRESSES = 256

    def __init__(self, burst: float, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str) -> bool:
        """Return True if one more may come from this address, and count it."""
        now = self._clock()
        left, at = self._left.pop(address, (self._burst, now))
        left = min(left + (now - at) * self._per_s, self._burst)
        allowed = left >= 1
        self._left[address] = (left - 1 if allowed else left, now)
        if len(self._left) > self.ADDRESSES:
            self._left.popitem(last=False)
        return allowed

    def would_allow(self, address: str) -> bool:
        """Return True if one more may come from this address; counts nothing."""
        now = self._clock()
        left, at = self._left.get(address, (self._burst, now))
        return left + (now - at) * self._per_s >= 1


class Guard:
    """Judges tokens and sessions. A session is its end and a seal made with the token: nothing is kept here."""

    def __init__(
        self,
        token: str | None,
        wall_clock: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """token: None where nobody needs one, and none is right. wall_clock: Unix seconds; clock: monotonic seconds."""
        self.needs_token = token is not None
        self._digest = hashlib.sha256((token or "").encode()).digest()
        self._key = hashlib.sha256(b"vehicle pilot session\0" + (token or "").encode()).digest()
        self._wall_clock = wall_clock
        self._guesses = Limiter(GUESSES_BURST, GUESSES_PER_S, clock)

    def is_token(self, text: str) -> bool:
        """Return True for the token, after the same time whatever the text is."""
        digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
        return hmac.compare_digest(digest, self._digest) and self.needs_token

    def may_guess(self, address: str) -> bool:
        """Return True if this address, which just gave a wrong token, may give another one; counts it."""
        return self._guesses.allows(address)

    def new_session(self) -> str:
        """Return the value of a cookie that lets in for a week."""
        ends = str(int(self._wall_clock()) + SESSION_S)
        return f"{ends}.{self._seal(ends)}"

    def is_session(self, value: str) -> bool:
        """Return True for a cookie of this token whose week is not over."""
        ends, _, seal = value.partition(".")
        sealed = hmac.compare_digest(seal.encode("utf-8", "replace"), self._seal(ends).encode())
        return sealed and self.needs_token and int(ends) > self._wall_clock()

    def _seal(self, ends: str) -> str:
        return hmac.new(self._key, ends.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
