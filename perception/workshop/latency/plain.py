"""Text from a log, made safe to show."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return the text with "?" for control characters and for bytes that could not be decoded."""
    return text if text.isprintable() else "".join(sign if sign.isprintable() else "?" for sign in text)
