"""SIGTERM and SIGINT as something to look at between two steps."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from apit.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """While it is entered, the signals are noted in `number` instead of ending the process."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # only it may have handlers
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number

    def check(self, any_process: Callable[[bool], bool] = bool) -> None:
        """Raise Interrupted if a signal has come, to any of several processes."""
        if any_process(self.number is not None):
            raise Interrupted(self.number or signal.SIGTERM)
