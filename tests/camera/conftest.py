"""Fixtures of this room."""

from tests.camera.readers import make_reader, quick_backoff
from tests.camera.servers import rtsp

__all__ = ["make_reader", "quick_backoff", "rtsp"]
