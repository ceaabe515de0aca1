"""The last lines of TensorRT's log, quoted in errors."""

from __future__ import annotations

from collections import deque
from types import ModuleType
from typing import TYPE_CHECKING, Any

from loguru import logger

if TYPE_CHECKING:
    import tensorrt as trt

REMEMBERED_LINES = 20


class LogTail:
    """The last lines that TensorRT logged, errors apart. interruption: what was raised while it logged."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self.errors: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self.interruption: BaseException | None = None

    def raise_interruption(self) -> None:
        """Raises what TensorRT swallowed, such as the KeyboardInterrupt of a Ctrl-C during a long call."""
        interruption, self.interruption = self.interruption, None
        if interruption is not None:
            raise interruption

    def why(self) -> str:
        """Return TensorRT's words on a failure, in one line."""
        return self.errors[-1] if self.errors else self.lines[-1] if self.lines else "it gave no reason"


def make_logger(module: ModuleType, log_tail: LogTail) -> trt.ILogger:
    """A logger for TensorRT that remembers its lines and passes them on; whether one is an error, the caller judges."""
    severity = module.ILogger.Severity

    class Logger(module.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()  # without this TensorRT crashes

        def log(self, level: Any, message: str) -> None:
            try:
                self._log(level, message)
            except BaseException as interruption:  # TensorRT calls this, and would swallow it
                log_tail.interruption = interruption

        def _log(self, level: Any, message: str) -> None:
            if level == severity.ERROR or level == severity.INTERNAL_ERROR:
                log_tail.errors.append(message)
                logger.debug(f"TensorRT error: {message}")
            elif level == severity.WARNING:
                log_tail.lines.append(message)
                logger.debug(f"TensorRT warning: {message}")

    return Logger()
