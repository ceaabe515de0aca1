"""Inputs that are almost right: a valid one with some bytes cut, doubled, swapped or replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from perception.core.errors import PilotError

ODD = (b"\0", b"\xff", b"\xc3", b"\n", b"\r", b'"', b"{", b"}", b"[", b":", b"-", b"NaN", b"1e999", b"9" * 30, b"null")

_EDITS = st.tuples(
    st.sampled_from(("cut", "double", "drop", "replace", "insert")),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 40),
    st.one_of(st.sampled_from(ODD), st.binary(max_size=6)),
)


def mutated(valid: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the valid inputs after up to six edits, or bytes without any sense."""
    edited = st.builds(_apply, st.sampled_from(list(valid)), st.lists(_EDITS, max_size=6))
    return st.one_of(edited, edited, edited, st.binary(max_size=200))


def _apply(data: bytes, edits: list[tuple[str, float, int, bytes]]) -> bytes:
    for kind, place, length, other in edits:
        start = int(place * len(data))
        end = start + length
        if kind == "cut":
            data = data[:start]
        elif kind == "double":
            data = data[:end] + data[start:]
        elif kind == "drop":
            data = data[:start] + data[end:]
        elif kind == "replace":
            data = data[:start] + other + data[start + len(other) :]
        else:
            data = data[:start] + other + data[start:]
    return data


def fault_of(act: Callable[[], object]) -> PilotError | None:
    """The fault with which a call ends, None where it succeeds. Any other exception is a bug, and passes."""
    try:
        act()
    except PilotError as fault:
        return fault
    return None
