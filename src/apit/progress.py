"""Progress bars: in terminals alone, and there always."""

import shutil
import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(items: Iterable[Any] | None = None, *, quiet: bool = False, **options: Any) -> "tqdm[Any]":
    """A bar of tqdm's on standard error, hidden where that is no terminal, or if `quiet`.

    tqdm shows nothing where a terminal does not tell its size, as in containers.
    """
    is_terminal = sys.stderr and sys.stderr.isatty()  # none, where it is closed
    size = shutil.get_terminal_size()
    return tqdm(
        items,
        disable=quiet or not is_terminal,
        ncols=size.columns,
        nrows=size.lines,
        file=sys.stderr,
        **options,
    )
