"""Credentials out of texts that quote what a user wrote."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"""(?is)\b([\w-]*(?:pass(?:word|wd|phrase)?|pwd|pw|token|secret|user-id))\s*=\s*"""
    r"""("(?:\\.|[^"\\])*(?:"|$)|'(?:\\.|[^'\\])*(?:'|$)|(?:\\.|[^\s&])+)"""
)


def redact_secrets(text: str) -> str:
    """The text without the values of password-like words, such as those of a GStreamer pipeline."""
    return _SECRET.sub(r"\1=***", text)


def redact_urls(text: str) -> str:
    """The text without what stands before the last @ of a URL in it, the query of an RTSP one, and password-like words.

    Rather too much than too little: the text is a message on a value that could not be used.
    """
    text = re.sub(r"(?is)(://|\brtsps?:).*@", r"\1***@", text)
    text = re.sub(r"(?is)(\brtsps?:[^?]*)\?.*?(?=['\"]|\Z)", r"\1?***", text)
    return redact_secrets(text)
