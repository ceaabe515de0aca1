"""Three viewers of the picture and a scraper of /metrics, as a process of its own: web_viewers.py URL.

Ends at SIGTERM, and prints how many bytes and scrapes it got.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import urllib.request

VIEWERS = 3


def watch(url: str, seen: list[int]) -> None:
    """Read the moving picture."""
    with urllib.request.urlopen(f"{url}picture.mjpeg") as answer:  # noqa: S310 - an address of this machine
        while part := answer.read1(65_536):
            seen[0] += len(part)


def scrape(url: str, scrapes: list[int]) -> None:
    """Read /metrics each second."""
    while True:
        with urllib.request.urlopen(f"{url}metrics") as answer:  # noqa: S310 - an address of this machine
            answer.read()
        scrapes[0] += 1
        time.sleep(1)


def main(url: str) -> None:
    """Watch and scrape until SIGTERM."""
    seen, scrapes = [0], [0]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    for _ in range(VIEWERS):
        threading.Thread(target=watch, args=(url, seen), daemon=True).start()
    threading.Thread(target=scrape, args=(url, scrapes), daemon=True).start()
    ended.wait()
    print(json.dumps({"bytes": seen[0], "scrapes": scrapes[0]}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
