"""Fixtures of this room."""

from tests.camera.readers import make_reader, quick_backoff

__all__ = ["make_reader", "quick_backoff"]
