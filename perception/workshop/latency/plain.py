"""Text from a log, as it may be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without what a terminal would obey, and without bytes of no encoding."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in text)
