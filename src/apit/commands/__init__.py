"""What the commands do: configuration and options in, one call of the package, one line out.

torch is imported where it is needed, so that `apit --help` answers at once.
"""

from apit.commands.data import bank, fetch, mix, pack, unpack
from apit.commands.lineage import accept, versions
from apit.commands.measuring import evaluate, release, score, separate
from apit.commands.presentation import (
    figures,
    listen,
    report,
    spectrograms,
    tables,
    trace,
)
from apit.commands.training import bench, train

__all__ = [
    "accept",
    "bank",
    "bench",
    "evaluate",
    "fetch",
    "figures",
    "listen",
    "mix",
    "pack",
    "release",
    "report",
    "score",
    "separate",
    "spectrograms",
    "tables",
    "trace",
    "train",
    "unpack",
    "versions",
]
