"""Text that leaves the program: without credentials, and without characters that a terminal or a log would obey.

`redact` is the net for every text, `redact_value` for one value that a user gave, of which more is known. Both take
rather too much than too little.
"""

from __future__ import annotations

import re
from pathlib import Path

LOCAL = ("csi", "v4l2", "file", "images", "demo")
"""Schemes of sources that hold no credentials: in a path an @ is an @, and the options are for people."""
SHOWN = "***"
MAX_LETTERS = 8000

_START = r"""(?<![^\s'"(\[,=!<>|])"""
_REMOTE = rf"(?<![\w+.-])(?!(?:{'|'.join(LOCAL)}):)[a-z][\w+.-]*:/{{1,3}}"
_QUOTED = r"""(?:"(?:\\.|[^"\\])*(?:"|$)|'(?:\\.|[^'\\])*(?:'|$)|(?:\\.|[^\s&])+)"""
_NAMES = (
    r"pass(?:word|wd|phrase|code)?|pwd?|pw|token|secret|credentials?|auth\w*|key|api-?key|cookies?|session(?:-?id)?"
    r"|sid|stream-?id|(?:extra-)?headers?|user-?(?:id|name)?|usr|login|sig(?:nature)?|sas|pin|psk|bearer|jwt"
)
_USERS = "admin|administrator|root|user|guest|service|supervisor|operator|viewer"
"""Users of cameras, and no hosts: what follows one is a password, though it may look like a port."""
_EXAMPLE = r"(?!/*(?:USER:PASSWORD|\*\*\*)@)"
"""Placeholders of cures are no credentials, and a mask does not hide the rest of its line."""

_NET = tuple(
    (re.compile(pattern, re.IGNORECASE), shown)
    for pattern, shown in (
        (rf"({_REMOTE}){_EXAMPLE}[^\s'\"]*[?#][^'\"]*@[^\s'\"]*", rf"\1{SHOWN}"),  # either may hold the password
        (rf"({_REMOTE}){_EXAMPLE}.*@", rf"\1{SHOWN}@"),
        (rf"(\brtsps?:)(?!/){_EXAMPLE}.*@", rf"\1{SHOWN}@"),
        (r"(?<![^\s'\"])[^\s'\"]*%3a[^\s'\"]*%40", rf"{SHOWN}%40"),
        (r"(?<![^\s'\"/@=])[^\s'\"/@=]+@(?=\d{1,3}(?:\.\d{1,3}){3}\b)", rf"{SHOWN}@"),
        (rf"({_START}(?:[a-z]{{0,8}}[:;]?/{{1,3}})?){_EXAMPLE}[^\s'\":/@]*:[^\s/]\S*@", rf"\1{SHOWN}@"),
        # The path of other streams is a key of them as often as not.
        (rf"(?!rtsp|https?:)({_REMOTE})[\w%][^\s'\"]*", rf"\1{SHOWN}"),
        # Without an @: what stands behind the colon of a host and is no port.
        (rf"({_REMOTE})(?![^\s/?#'\"]*@)[^\s/?#'\":\[]+:(?!\d{{1,5}}(?![^\s/?#'\",;.)\]]))[^\s'\"]+", rf"\1{SHOWN}"),
        (rf"({_REMOTE})(?:{_USERS}):[^\s'\"@]+(?![^\s'\"]*@)", rf"\1{SHOWN}"),
        (r"(\brtsps?:)(?![/\s'\"])[^\s'\"]+", rf"\1{SHOWN}"),
        (rf"({_REMOTE}[^\s?'\"]*)\?[^\s'\"]*", rf"\1?{SHOWN}"),
        (rf"(?s)(?<![\w-])([\w-]*(?:{_NAMES}))\s*=\s*(?!\*\*\*){_QUOTED}", rf"\1={SHOWN}"),
        (r"(\b(?:pass(?:word|wd)?|pwd|secret|token|api[-_]?key)[\"']?\s*:\s*)[\"']?[^\s\"',}]+", rf"\1{SHOWN}"),
        (r"((?:authorization|cookie|x-[\w-]*(?:key|token))[\"']?\s*[:=]\s*[\"']?)[^\"'\s][^\"']*", rf"\1{SHOWN}"),
        (r"(\b(?:bearer|basic|digest)\s+)(?=\S*[\d=])\S{6,}", rf"\1{SHOWN}"),
    )
)
_PROPERTY = re.compile(
    rf"(?s)(?<![\w-])([\w-]+)\s*=\s*(?!\*\*\*|(?:true|false|BGR|\d{{1,4}})(?:[\s`'\".,;]|$)){_QUOTED}"
)
_IS_PIPELINE = re.compile(r"(?s)\s!\s|^\s*(?:\w+\s*[:;]\s*/*)?[a-z]\w*\s+[\w-]+\s*=")
BARE_CREDENTIALS = re.compile(r"(?is)[a-z]{0,6}[:;]?/{0,3}[^/:@]*:.*@")
"""The start of a URL whose scheme or its colon was forgotten: USER:PASSWORD@, //USER:PASSWORD@, rtsp//USER:PASSWORD@"""
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.%\w]+\])(?::\d{1,5})?")


def printable(text: str) -> str:
    """The text on one line: what is no printable character, a line break among them, as Python would write it."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def redact(text: str) -> str:
    """Any text without what may be credentials in it: those of URLs, values of password-like words, of pipelines."""
    text = _bounded(text)
    for pattern, shown in _NET:
        text = pattern.sub(shown, text)
    return _PROPERTY.sub(rf"\1={SHOWN}", text) if re.search(r"\s!\s", text) else text


def _bounded(text: str) -> str:
    """The beginning and the end of a text that nobody reads whole: the net may take time by its length squared."""
    return text if len(text) <= MAX_LETTERS else f"{text[: MAX_LETTERS - 1000]}...{text[-1000:]}"


def clean(text: str) -> str:
    """One line that may leave: see `redact` and `printable`."""
    return redact(printable(text))


def names_secret(key: str) -> bool:
    """Return True if the last part of a dotted key names what nobody else should read, or the file that holds it."""
    return bool(re.search(rf"(?i)(?:{_NAMES})(?:_path)?$", key.rpartition(".")[2]))


def shown_secret_path(path: Path) -> str:
    """A path where the file of a secret belongs; `***` for a bare word that may be the secret itself."""
    text = str(path)
    return text if path.exists() or re.fullmatch(r"[a-z_-]+|.*[/.].*", text, re.DOTALL) else SHOWN


def redact_value(text: str) -> str:
    """One value that a user gave, such as a URL or a pipeline, without what may be credentials in it."""
    text = _bounded(text)
    if _IS_PIPELINE.search(text):
        return elements(text)
    scheme, slashes, rest = _taken_apart(text)
    if scheme and not re.match(r"(?i)(rtsp\w?|https?)\Z", scheme) and scheme.lower() not in LOCAL:
        return f"{scheme}:{slashes}{SHOWN}"
    if scheme and scheme.lower() not in LOCAL:
        return f"{scheme}:{slashes}{_redact_location(rest)}"
    if not scheme and BARE_CREDENTIALS.match(text):
        return f"{SHOWN}@{redact(_without_query(text.rpartition('@')[2]))}"
    return redact(text)


def _taken_apart(text: str) -> tuple[str, str, str]:
    """Scheme, slashes and the rest of a URL, also of an RTSP one without slashes; no scheme where it is none."""
    match = re.match(r"(?is)\s*([a-z][\w+.-]*):(/{1,3})(.*)\Z", text) or re.match(r"(?is)\s*(rtsps?):()(.*)\Z", text)
    return (match[1], match[2], match[3]) if match else ("", "", text)


def _redact_location(rest: str) -> str:
    """HOST/PATH of a URL; credentials before the last @ and the query as ***, all of it where that may be either."""
    before, at, after = rest.rpartition("@")  # the last: people put every sign into a password
    if re.search(r"[?#]", before):
        return SHOWN
    place = _without_query(after)
    host, slash, path = place.partition("/")
    if host and (not _HOST.fullmatch(host) or (not at and re.match(rf"(?i)(?:{_USERS}):", host))):
        host, path = SHOWN, SHOWN if slash else ""
    path = re.sub(r"=[^/&;]*", f"={SHOWN}", path)
    return f"{SHOWN}@{host}{slash}{path}" if at else f"{host}{slash}{path}"


def _without_query(text: str) -> str:
    return re.sub(r"(?s)[?#].*", f"?{SHOWN}", text)


def redact_address(text: str) -> str:
    """Return a value for host and port as it may be shown; `***` for what stands before an @, or where no port can."""
    before, at, host = text.rpartition("@")
    if "://" in text:
        return redact_value(text)
    if re.search(r"[?#]", before):
        return SHOWN
    shown = host if re.fullmatch(r"[^:]*(?::\d{0,5})?(?:/.*)?", host) else SHOWN
    return f"{SHOWN}@{shown}" if at else shown


def elements(pipeline: str) -> str:
    """The elements of a GStreamer pipeline by name, `***` for all else that is said of each.

    An element that is named by its caps or its pad, or not as one, is `***`, too.
    """
    parts: list[list[str]] = [[]]
    for word in re.findall(r"""(?s)(?:"(?:\\.|[^"\\])*(?:"|$)|'(?:\\.|[^'\\])*(?:'|$)|\\.|[^\s"'\\])+""", pipeline):
        if word == "!":
            parts.append([])
        else:
            parts[-1].append(word)
    return " ! ".join(_element(words) for words in parts)


def _element(words: list[str]) -> str:
    if not words:
        return SHOWN
    is_name = re.fullmatch(r"[a-z][a-z0-9_]*", words[0])
    return f"{words[0]} {SHOWN}" if is_name and len(words) > 1 else words[0] if is_name else SHOWN
