"""What tests do in other threads, several at once or one meanwhile, and in forked children."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def in_threads(work: Callable[[int], Any], count: int = 4) -> list[Any]:
    """What `work` gives for 0 to `count` - 1, each in a thread of its own.  Errors: the first of theirs."""
    found: dict[int, Any] = {}
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            found[number] = work(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure
    return [found[number] for number in range(count)]


@contextmanager
def meanwhile(work: Callable[[], Any], pause: float = 0.0) -> Iterator[None]:
    """Inside, another thread works, again and again, with a pause of so many seconds before each time."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.wait(pause):
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def in_child(action: Callable[[], object]) -> int:
    """The exit status of a forked child that does something; it is ended after 20 seconds."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest-timeout has a handler here
            signal.alarm(20)
            action()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
