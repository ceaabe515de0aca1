"""What TensorRT said, to be told with a failure."""

from __future__ import annotations

from collections import deque

REMEMBERED_LINES = 20


class Memory:
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
        """What TensorRT says to a failure, in one line."""
        return self.errors[-1] if self.errors else self.lines[-1] if self.lines else "it gave no reason"
