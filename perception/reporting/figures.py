"""Figures as JSON can hold them, for records, messages and the page."""

from __future__ import annotations

import math
from collections.abc import Mapping


def rounded(value: object) -> object:
    """The value with figures to three places, and None for those that JSON has no word for; all the way down."""
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): rounded(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(inner) for inner in value]
    return value
