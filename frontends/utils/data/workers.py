"""Worker processes of a `DataLoader`: each fetches batches, and one queue brings them back.

Batch k goes to worker k modulo their number, so which worker fetches what never depends on speed.  Samples come back as
pickles of arrays; the parent puts batches in order.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import random
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from adjit.generator import manual_seed
from adjit.runtime.threads import set_num_threads

_POLL = 5.0  # seconds between looks at whether the workers live


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What `get_worker_info` says inside a worker: number, count of workers, seed, copy of the dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """The worker that this process is; None in the main process."""
    return _info


class _Lines(str):
    """A text whose repr is itself: KeyError shows the repr of its argument."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class _Failure:
    """An error in a worker, on its way to the parent."""

    kind: type[BaseException]
    worker: int
    text: str

    def raise_here(self) -> None:
        """Raise an error of the same class with the worker's traceback."""
        message = f"Caught {self.kind.__name__} in DataLoader worker process {self.worker}.\nOriginal {self.text}"
        try:
            error = self.kind(_Lines(message))
        except TypeError:  # a class that takes other arguments
            raise RuntimeError(message) from None
        raise error


class _End:
    """A worker's stream of samples is over."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker needs: the dataset, how to fetch a batch of it, and the settings of the loader."""

    dataset: Any
    is_iterable: bool
    batch_size: int | None
    drop_last: bool
    collate: Callable[[Any], Any]
    fetch: Callable[[Any, Any], Any]
    initialise: Callable[[int], None] | None


def _serve(number: int, count: int, plan: Plan, orders: Any, results: Any) -> None:
    """The life of a worker: orders in, batches out, until an order is None or the parent is gone."""
    global _info
    parent = os.getppid()
    set_num_threads(1)
    samples: Iterator[Any] | None = None
    try:
        while True:
            try:
                order = orders.get(timeout=_POLL)
            except queue.Empty:
                if os.getppid() != parent:
                    return
                continue
            if order is None:
                return
            epoch, index, content = order
            try:
                if index < 0:  # an epoch begins; its seed is the content
                    begins = _info is None
                    _info = WorkerInfo(number, count, content + number, plan.dataset)
                    random.seed(_info.seed)
                    np.random.seed(_info.seed % 2**32)
                    manual_seed(_info.seed)
                    if begins and plan.initialise is not None:
                        plan.initialise(number)
                    samples = iter(plan.dataset) if plan.is_iterable else None
                    continue
                found = plan.fetch(plan.dataset, content) if samples is None else _next_batch(plan, samples)
            except Exception as error:
                found = _Failure(type(error), number, traceback.format_exc())
            results.put((epoch, index, number, found))
    except KeyboardInterrupt:  # the parent has it too
        return


def _next_batch(plan: Plan, samples: Iterator[Any]) -> Any:
    if plan.batch_size is None:
        for sample in samples:
            return plan.collate(sample)
        return _End()
    batch = list(islice(samples, plan.batch_size))
    if not batch or (plan.drop_last and len(batch) < plan.batch_size):
        return _End()
    return plan.collate(batch)


class Workers:
    """The processes of one loader; `epoch` gives the batches of one pass."""

    def __init__(self, plan: Plan, count: int, context: Any, timeout: float, in_order: bool) -> None:
        if isinstance(context, str) or context is None:
            context = multiprocessing.get_context(context)
        self.plan = plan
        self.timeout = timeout
        self.in_order = in_order
        self.epochs = 0
        self.closed = False
        self.results = context.Queue()
        self.orders = [context.Queue() for _ in range(count)]
        self.processes = [
            context.Process(target=_serve, args=(number, count, plan, orders, self.results), daemon=True)
            for number, orders in enumerate(self.orders)
        ]
        for process in self.processes:
            process.start()

    def epoch(self, contents: Iterator[Any], ahead: int, seed: int) -> Iterator[Any]:
        """The batches for `contents` (of an iterable dataset: until all workers are done), `ahead` of them ordered."""
        self.epochs += 1
        for orders in self.orders:
            orders.put((self.epochs, -1, seed))
        working = list(range(len(self.orders)))  # the workers that still have samples
        sent, due = 0, 0  # orders sent, the number of the next batch
        waiting: dict[int, Any] = {}  # batches that came early
        assigned: dict[int, int] = {}
        turn = 0

        def send() -> bool:
            nonlocal sent, turn
            content = next(contents, self)
            if content is self or not working:
                return False
            worker = working[turn % len(working)]
            turn += 1
            self.orders[worker].put((self.epochs, sent, content))
            assigned[sent] = worker
            sent += 1
            return True

        for _ in range(ahead):
            if not send():
                break
        while due < sent or waiting:
            if due in waiting:
                found = waiting.pop(due)
            else:
                index, found = self._receive()
                if self.in_order and index != due:
                    waiting[index] = found
                    continue
            due += 1
            if isinstance(found, _Failure):
                found.raise_here()
            if isinstance(found, _End):
                finished = assigned[due - 1] if self.in_order else assigned[index]
                if finished in working:
                    turn -= working.index(finished) < turn % len(working)
                    working.remove(finished)
                send()
                continue
            send()
            yield found

    def _receive(self) -> tuple[int, Any]:
        """The next batch that arrives, with its number.  RuntimeError when it takes too long or a worker has died."""
        begin = time.monotonic()
        while True:
            left = self.timeout - (time.monotonic() - begin) if self.timeout > 0 else _POLL
            try:
                epoch, index, _, found = self.results.get(timeout=max(min(left, _POLL), 0.001))
            except queue.Empty:
                if self.timeout > 0 and time.monotonic() - begin >= self.timeout:
                    raise RuntimeError(f"DataLoader timed out after {self.timeout} seconds") from None
                dead = [str(process.pid) for process in self.processes if not process.is_alive()]
                if dead:
                    raise RuntimeError(f"DataLoader worker (pid(s) {', '.join(dead)}) exited unexpectedly") from None
                continue
            if epoch == self.epochs:  # others are left from an epoch that was broken off
                return index, found

    def close(self) -> None:
        """End the processes; doing it twice is no error."""
        if self.closed:
            return
        self.closed = True
        for orders in self.orders:
            orders.put(None)
        for process in self.processes:
            process.join(timeout=1.0)
            if process.is_alive():
                process.terminate()
                process.join()
        for channel in (*self.orders, self.results):
            channel.cancel_join_thread()
            channel.close()
