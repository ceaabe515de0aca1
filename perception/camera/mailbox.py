"""One slot between the reader's thread and the pilot.

For a live source the newest picture wins, and those that it replaces leave gaps in the frame ids; a finite source waits
until its picture was taken, so that each arrives in order, exactly once.
"""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """One slot between one sender and one receiver."""

    def __init__(self, newest_wins: bool) -> None:
        self._newest_wins = newest_wins
        self._changed = threading.Condition()
        self._item: T | None = None
        self._end: BaseException | None = None
        self._closed = False

    def wait_for_room(self) -> None:
        """Wait until the slot is empty, so that nothing is read long before its use; at once where the newest wins."""
        with self._changed:
            self._changed.wait_for(lambda: self._newest_wins or self._item is None or self._closed)

    def put(self, item: T) -> None:
        """Put `item` into the slot, in place of an older one."""
        with self._changed:
            self._item = item
            self._changed.notify_all()

    def take(self, timeout_s: float) -> T | None:
        """Return the item, or None where none came within timeout_s. After the last one raises what `end` was given."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._end is not None, timeout_s)
            item, self._item = self._item, None
            self._changed.notify_all()
            if item is None and self._end is not None:
                raise self._end
            return item

    def end(self, reason: BaseException) -> None:
        """Take no more items; the receiver gets the one in the slot first, then `reason` raised."""
        with self._changed:
            self._end = reason
            self._changed.notify_all()

    def close(self) -> None:
        """Release a waiting sender: nobody receives any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
