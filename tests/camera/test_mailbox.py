"""The one slot between the reader's thread and the pilot."""

from __future__ import annotations

import threading
import time

import pytest

from perception.camera.mailbox import Mailbox
from perception.core.errors import EndOfStream


def test_where_the_newest_wins_an_item_takes_the_place_of_an_older_one() -> None:
    box: Mailbox[int] = Mailbox(newest_wins=True)
    for number in range(5):
        box.wait_for_room()
        box.put(number)
    assert box.take(0) == 4
    assert box.take(0) is None


def test_where_it_waits_a_sender_has_room_only_after_the_item_was_taken() -> None:
    box: Mailbox[int] = Mailbox(newest_wins=False)
    box.wait_for_room()
    box.put(1)
    has_room = threading.Event()

    def send() -> None:
        box.wait_for_room()
        has_room.set()

    sender = threading.Thread(target=send)
    sender.start()
    assert not has_room.wait(0.05)
    assert box.take(0) == 1
    assert has_room.wait(5)
    sender.join(5)


def test_closing_a_mailbox_lets_a_waiting_sender_go() -> None:
    box: Mailbox[int] = Mailbox(newest_wins=False)
    box.put(1)
    sender = threading.Thread(target=box.wait_for_room)
    sender.start()
    box.close()
    sender.join(5)
    assert not sender.is_alive()


def test_a_waiting_receiver_gets_an_item_the_moment_it_comes() -> None:
    box: Mailbox[int] = Mailbox(newest_wins=True)
    threading.Timer(0.05, box.put, [7]).start()
    started = time.monotonic()
    assert box.take(30) == 7
    assert time.monotonic() - started < 5


def test_a_receiver_gets_none_where_nothing_comes_in_time() -> None:
    assert Mailbox[int](newest_wins=True).take(0.01) is None


@pytest.mark.parametrize("newest_wins", [True, False])
def test_the_last_item_is_received_before_the_end(newest_wins: bool) -> None:
    box: Mailbox[int] = Mailbox(newest_wins)
    box.put(1)
    box.end(EndOfStream())
    assert box.take(0) == 1
    for _ in range(2):
        with pytest.raises(EndOfStream):
            box.take(0)
