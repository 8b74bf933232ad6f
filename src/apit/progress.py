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
    size = shutil.get_terminal_size()
    return tqdm(
        items,
        disable=quiet or not sys.stderr.isatty(),
        ncols=size.columns,
        nrows=size.lines,
        file=sys.stderr,
        **options,
    )
