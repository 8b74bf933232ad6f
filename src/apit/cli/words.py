"""What all commands are told with."""

import argparse
from collections.abc import Callable

Command = Callable[..., argparse.ArgumentParser]  # name, function, summary, epilogue → parser


def whole_number(text: str) -> int:
    """An argument that is one."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)
