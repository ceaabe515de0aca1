"""Fixtures of this room."""

from tests.camera.readers import make_reader

__all__ = ["make_reader"]
