"""Errors: their sentences and their exit codes."""

from __future__ import annotations

import pytest

from perception.core.errors import (
    BackendError,
    BusyError,
    EndOfStream,
    GpuError,
    PilotError,
    SettingsError,
    SourceError,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [(SettingsError, 2), (SourceError, 3), (BusyError, 3), (BackendError, 4), (GpuError, 5), (PilotError, 1)],
)
def test_each_kind_has_its_exit_code(kind: type[PilotError], code: int) -> None:
    assert kind("x").exit_code == code
    assert isinstance(kind("x"), PilotError)


def test_an_error_reads_as_what_happened_and_then_the_cure() -> None:
    error = SourceError("There is no camera at /dev/video9", "Plug it in.")
    assert str(error) == "There is no camera at /dev/video9. Plug it in."
    assert (error.what, error.cure) == ("There is no camera at /dev/video9", "Plug it in.")


def test_an_error_without_a_cure_is_its_sentence_alone() -> None:
    assert str(BackendError("It is broken")) == "It is broken"


def test_several_settings_faults_keep_a_line_each_and_the_cure_gets_its_own() -> None:
    assert str(SettingsError("one\ntwo")) == "one\ntwo"
    assert str(SettingsError("one\ntwo", "Mend both.")) == "one\ntwo\nMend both."
    assert str(SettingsError("one", "Mend it.")) == "one. Mend it."


def test_the_end_of_a_stream_is_not_a_fault() -> None:
    assert not issubclass(EndOfStream, PilotError)
