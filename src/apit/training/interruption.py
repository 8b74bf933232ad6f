"""SIGTERM and SIGINT as something to look at between two steps."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from apit.errors import Interrupted


@contextmanager
def interruption(any_process: Callable[[bool], bool] = bool) -> Iterator[Callable[[], None]]:
    """Within the block, note signals instead of ending the process.

    Gives `check()`, which raises Interrupted if one has come, to any of several processes.
    """
    came: list[int] = []
    before: dict[int, Any] = {}

    def check() -> None:
        if any_process(bool(came)):
            raise Interrupted(came[-1] if came else signal.SIGTERM, "stopped")

    if threading.current_thread() is threading.main_thread():  # only it may have handlers
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, lambda number, _: came.append(number))
    try:
        yield check
    finally:
        for noted, handler in before.items():
            signal.signal(noted, handler)
