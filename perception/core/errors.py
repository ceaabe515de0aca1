"""Faults that a person can mend, each with its sentence, its cure and its exit code."""

from __future__ import annotations


def _clean(text: str) -> str:
    # Loaded where there is a fault alone: whoever reads the file of an engine needs little else than this module.
    from perception.core.redact import clean

    return clean(text)


class PilotError(Exception):
    """A fault that a person can mend: `what` happened (with the value), and the `cure`.

    `str()` gives both sentences, on one line, without control characters and credentials, whatever values they quote.
    A PilotError reaches the user as text; any other exception is a bug and keeps its traceback.
    """

    exit_code = 1

    def __init__(self, what: str, cure: str = "") -> None:
        self.what = self._cleaned(what)
        self.cure = _clean(cure)
        super().__init__(self.what, self.cure)

    def _cleaned(self, what: str) -> str:
        return _clean(what)

    def __str__(self) -> str:
        return f"{self.what}. {self.cure}" if self.cure else self.what


class SettingsError(PilotError):
    """A settings file, a flag or a combination of them that cannot be used. `what` may hold several lines."""

    exit_code = 2

    def _cleaned(self, what: str) -> str:
        return "\n".join(map(_clean, what.split("\n")))

    def __str__(self) -> str:
        if "\n" in self.what:
            return f"{self.what}\n{self.cure}" if self.cure else self.what
        return super().__str__()


class SourceError(PilotError):
    """A source that cannot be opened, or one that is lost and cannot come back."""

    exit_code = 3


class BackendError(PilotError):
    """No allowed backend can serve: weights missing, unreadable, or every step of the selection passed over."""

    exit_code = 4


class GpuError(PilotError):
    """A fault of the GPU itself. The process ends and is started again: a CUDA context is not repaired in place."""

    exit_code = 5


class BusyError(PilotError):
    """Something that the run needs is in use or not there yet; a later start may find it free."""

    exit_code = 3


class ExportMemoryError(PilotError):
    """An export for which this device has not enough memory, before it begins or in the middle of it."""

    exit_code = 6


class AccuracyError(PilotError):
    """A new engine that finds less than the model it was built from: it is not put into service."""

    exit_code = 7


class BuildError(PilotError):
    """An engine that could not be built."""

    exit_code = 8


class EndOfStream(Exception):
    """A finite source has delivered its last frame. Not a fault."""
