"""Credentials out of texts that quote what a user wrote."""

from __future__ import annotations

import re


def redact_urls(text: str) -> str:
    """The text without what stands before the last @ of a URL in it, nor the query of an RTSP one.

    Rather too much than too little: the text is a message on a value that could not be used.
    """
    text = re.sub(r"(?is)(://|\brtsps?:).*@", r"\1***@", text)
    return re.sub(r"(?is)(\brtsps?:[^?]*)\?.*?(?=['\"]|\Z)", r"\1?***", text)
