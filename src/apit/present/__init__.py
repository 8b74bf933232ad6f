"""Presentation: numbers in, tables and figures out; it computes nothing."""

import os
from importlib.util import find_spec
from pathlib import Path

os.environ["MPLBACKEND"] = "agg"  # not a notebook's, which matplotlib looks for when it is imported
# Its own settings, not somebody's, which it reads when it is imported: bytes in them make it fail.
if (matplotlib := find_spec("matplotlib")) and matplotlib.origin:
    os.environ["MATPLOTLIBRC"] = str(Path(matplotlib.origin).parent / "mpl-data" / "matplotlibrc")
