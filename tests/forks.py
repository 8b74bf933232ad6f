"""Processes that may be killed, without the seconds that imports take in a new one."""

import os
import sys
import threading
import time
import traceback
from pathlib import Path


def wait_for_readers():
    """Wait for threads that read ahead: a lock that one holds would be held in a copy for ever."""
    while any(
        thread.name.startswith("batches")
        and not sys._current_frames()[thread.ident].f_code.co_filename.endswith("thread.py")
        for thread in threading.enumerate()
        if thread.ident in sys._current_frames()
    ):
        time.sleep(0.01)


def forked(work, said=os.devnull):
    """Exit code of `work()` in a copy of this process; what it prints goes to the file `said`.

    Below zero is the signal that ended it. What `work` changes in modules is gone with the copy.
    """
    wait_for_readers()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    process = os.fork()
    if process == 0:
        code = 70
        try:
            with Path(said).open(
                "a", buffering=1, encoding="utf-8"
            ) as file:  # a line is there whatever comes
                for descriptor in (1, 2):
                    os.dup2(file.fileno(), descriptor)
                sys.stdout = sys.stderr = file
                try:
                    code = work() or 0
                except SystemExit as ended:
                    code = ended.code or 0
                except BaseException:
                    traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def killed_at(moment, usual, half=None, *, calls=None):
    """A function that kills its process at its `moment`-th call, after `half` of the work.

    Functions that share their list of `calls` are counted together.
    """
    calls = [] if calls is None else calls

    def call(*arguments, **options):
        calls.append(1)
        if len(calls) == moment:
            if half:
                half(*arguments)
            os.kill(os.getpid(), 9)
        return usual(*arguments, **options)

    return call
