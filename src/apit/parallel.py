"""Work on many things with several processes, in order, with a progress bar."""

import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process, util
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController, threadpool_limits

from apit.errors import UserError
from apit.progress import bar

Item = TypeVar("Item")
Result = TypeVar("Result")

LONGEST = 75  # bytes of a folder, so that a socket's name in a folder of its own has less than 108
AHEAD = 4  # items for each process that are under way or wait to be taken


def cores() -> int:
    """Cores that this process may use, which a cluster or `taskset` may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], total: int, label: str, jobs: int
) -> Iterator[Result]:
    """Map `work` over `items` in `jobs` processes (0: one for each of `cores`), results in order.

    Items are taken as they are needed, so that a generator may make large ones. `work`, items and
    results must be picklable; each process computes with one thread. One job works right here, with
    one thread, too. Raises UserError where a process was killed, as by a lack of memory.
    """
    jobs = min(jobs or cores(), max(total, 1))
    with bar(total=total, desc=label) as shown:
        results = _here(work, items) if jobs == 1 else _in_processes(work, items, jobs)
        try:
            for result in results:
                yield result
                shown.update()
        except BrokenProcessPool:
            raise UserError(
                f"{label}: one of {jobs} processes was killed, perhaps for lack of memory; try "
                "fewer --jobs"
            ) from None


def _here(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    # The items are made with as many threads as whoever makes them likes.
    pools = ThreadpoolController()
    for item in items:
        with pools.limit(limits=1):
            result = work(item)
        yield result


def _in_processes(
    work: Callable[[Item], Result], items: Iterable[Item], jobs: int
) -> Iterator[Result]:
    # Workers are forked from a clean process that has imported what `work` needs: forking a
    # process that has computed with several threads can hang, and starting anew costs seconds.
    _keep_sockets_short()
    context = get_context("forkserver")
    context.set_forkserver_preload([getattr(work, "func", work).__module__])
    under_way: deque[Future[Result]] = deque()
    with ProcessPoolExecutor(jobs, context, initializer=_start, initargs=(work,)) as pool:
        try:
            for item in items:
                under_way.append(pool.submit(_do, item))
                if len(under_way) > AHEAD * jobs:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _keep_sockets_short() -> None:
    """Have multiprocessing make its sockets in /tmp where TMPDIR is too long for their names."""
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) > LONGEST:
        tempfile.tempdir = "/tmp"
        try:
            util.get_temp_dir()  # which stays
        finally:
            tempfile.tempdir = usual


_work: Callable[[Any], Any] | None = None  # of a worker; it travels there once


def _start(work: Callable[[Any], Any]) -> None:
    global _work  # noqa: PLW0603
    _work = work
    threadpool_limits(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _do(item: Any) -> Any:
    assert _work is not None
    return _work(item)


def _die_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
