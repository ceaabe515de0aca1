"""The errors of pycuda.driver, as the emulated GPU raises them."""

from __future__ import annotations


class Error(Exception):
    """pycuda.driver.Error."""


class LogicError(Error):
    """pycuda.driver.LogicError: a wrong call."""


class MemoryError(Error):
    """pycuda.driver.MemoryError: there is not so much."""


class LaunchError(Error):
    """pycuda.driver.LaunchError: a kernel failed, and with it the context."""
