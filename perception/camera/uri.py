"""Source URIs: parsed and checked, and shown in logs without credentials."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from perception.core.errors import SourceError
from perception.core.redact import BARE_CREDENTIALS, LOCAL, elements, printable, redact_value
from perception.core.redact import redact as redact_any
from perception.system.plain_file import from_home

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

FORMS = (
    "csi://0",
    "v4l2:///dev/video0",
    "rtsp://host/path",
    "gst:PIPELINE ! appsink",
    "file:///clip.mp4",
    "images:///folder",
    "demo://drive",
    "a path",
)


@dataclass(frozen=True, slots=True)
class SourceUri:
    """One source. scheme: csi, v4l2, rtsp, gst, file, images or demo.

    target: sensor number, device, URL, pipeline, path or scene. options: typed, only those that were given.
    label: the URI without credentials, safe in a log.
    """

    scheme: str
    target: str
    label: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", printable(self.label))

    @property
    def camera(self) -> bool:
        """True for a source that never ends by itself: its end is a loss, and it is reopened."""
        return self.scheme in ("csi", "v4l2", "rtsp", "gst")

    @property
    def live(self) -> bool:
        """True where pictures come at their own pace: the newest wins and older ones are dropped."""
        return self.camera or bool(self.options.get("realtime"))


def _boolean(text: str) -> bool:
    values = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    return values[text.lower()]


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _rate(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1000:
        raise ValueError(text)
    return number


def _flip(text: str) -> int:
    if text not in "01234567" or len(text) != 1:
        raise ValueError(text)
    return int(text)


def _fourcc(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]{4}", text):
        raise ValueError(text)
    return text.upper()


_Kind = tuple[Callable[[str], Any], str]
_SIZE: dict[str, _Kind] = {
    "width": (_count, "a whole number of pixels"),
    "height": (_count, "a whole number of pixels"),
    "fps": (_rate, "frames a second, above 0"),
}
_YES: _Kind = (_boolean, "0 or 1")
_OPTIONS: Mapping[str, Mapping[str, _Kind]] = MappingProxyType(
    {
        "csi": {**_SIZE, "flip": (_flip, "nvvidconv's flip-method, 0 to 7")},
        "v4l2": {**_SIZE, "format": (_fourcc, "a FOURCC of four letters, such as MJPG or YUYV")},
        "file": {"realtime": _YES, "loop": _YES},
        "images": {"loop": _YES},
        "demo": {
            **_SIZE,
            "seed": (int, "a whole number"),
            "vehicles": (int, "a whole number"),
            "duration": (float, "a number of seconds"),
            "light": (str, "day, dusk or night"),
            "rain": (float, "a number from 0 to 1"),
            "stamp": _YES,
            "realtime": _YES,
            "loop": _YES,
        },
    }
)


def parse(text: str) -> SourceUri:
    """Parse a URI, a path or a camera number.

    Raises SourceError, with what is allowed, for a scheme or an option that does not exist.
    """
    text = text.strip()
    if "\0" in unquote(text):
        raise SourceError("The source holds a NUL character, which no name can", f"Write one of: {', '.join(FORMS)}.")
    if text.isdecimal() and len(text) < 10:
        text = f"v4l2:///dev/video{int(text)}"
    if _is_pipeline(text):
        return SourceUri("gst", text[4:].strip().removeprefix("//").strip(), redact(text))
    if re.match(r"rtsps?:", text, re.IGNORECASE):  # slashes forgotten: no path, which would show the password
        return _rtsp(text)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return _path(text)
    scheme = scheme.lower()
    if scheme not in _OPTIONS:
        raise SourceError(f"{redact(text)!r} is no source: unknown scheme {scheme}://", f"Allowed: {', '.join(FORMS)}.")
    place, _, query = rest.partition("?")
    label = redact(text)
    target = _target(scheme, unquote(place), label)
    target = from_home(target) if scheme in ("file", "images") else target
    return SourceUri(scheme, target, label, _options(scheme, query, label))


def _is_pipeline(text: str) -> bool:
    return text[:4].lower() == "gst:"


def _target(scheme: str, place: str, label: str) -> str:
    if scheme == "csi" and not re.fullmatch(r"\d{1,3}", place or "0"):
        raise SourceError(f"{label!r} names no sensor", "Write csi://0 for the first one.")
    if scheme == "v4l2" and place.isdecimal():
        return f"/dev/video{place}"
    if not place and scheme != "csi":
        raise SourceError(f"{label!r} has no path", f"Write it as one of: {', '.join(FORMS)}.")
    return place or "0"


def _rtsp(text: str) -> SourceUri:
    try:
        parts = urlsplit(text)
        host = parts.hostname
        _ = parts.port  # raises for a port that is no number
    except ValueError:
        host = None
    if not host:
        raise SourceError(
            f"{redact(text)!r} names no host, or a port that is none",
            "Write rtsp://USER:PASSWORD@HOST:PORT/PATH, with %40 for @, %2F for /, %3F for ?, %23 for # in a password.",
        )
    return SourceUri("rtsp", text, redact(text))


def _path(text: str) -> SourceUri:
    """A plain path; a query counts only where no file has that very name."""
    text = from_home(text)
    place, query = text, ""
    if re.match(r"/dev/video\d+(\?|$)", text):
        return parse(f"v4l2://{text}")
    is_there = any(map(_exists, (text, text.partition("?")[0])))
    if not is_there and re.search(r"\s!\s", text):
        raise SourceError(f"{redact(text)!r} is a pipeline without its gst:", "Write gst:PIPELINE ! appsink.")
    if not is_there and BARE_CREDENTIALS.match(text):
        raise SourceError(f"{redact(text)!r} has credentials, but no scheme", "Write rtsp://USER:PASSWORD@HOST/PATH.")
    try:
        if "?" in text and not Path(text).exists():
            place, _, query = text.partition("?")
        images = Path(place).is_dir() or Path(place).suffix.lower() in IMAGE_SUFFIXES
    except OSError as error:  # a name that is too long, a folder that this user may not search
        raise SourceError(f"The path {redact(text)} cannot be used: {error.strerror}") from None
    if not place:
        raise SourceError("The source is empty", f"Write one of: {', '.join(FORMS)}.")
    shown = place if is_there else redact(place)
    scheme, label = "images" if images else "file", shown + (f"?{redact_any(query)}" if query else "")
    return SourceUri(scheme, place, label, _options(scheme, query, label))


def _options(scheme: str, query: str, label: str) -> dict[str, Any]:
    known = _OPTIONS[scheme]
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"{scheme}:// has {', '.join(known)}."
            raise SourceError(f"{label!r}: unknown option {name}", hint)
        convert, allowed = known[name]
        try:
            options[name] = convert(value)
        except (ValueError, KeyError):
            raise SourceError(f"{label!r}: {name} is {value!r}", f"Allowed is {allowed}.") from None
    return options


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # no name can be so
        return False


def redact(text: str) -> str:
    """Return the text of a source without credentials, and of a pipeline its elements alone."""
    if _is_pipeline(text):
        return f"gst:{elements(text[4:].strip().removeprefix('//'))}"
    if text.partition("://")[0].lower() in LOCAL:
        return redact_any(text)
    return redact_value(text)
