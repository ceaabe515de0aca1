"""Is there, with the one name that ONNX Runtime's tools take from it where they find it."""

from types import SimpleNamespace

nn = SimpleNamespace(Module=object)
