"""`DataLoader`: batches of a dataset's samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice, repeat
from typing import Any, Generic, TypeVar
from weakref import finalize

import numpy as np

from adjit.creation import from_numpy
from adjit.random import randint
from adjit.utils.data.collate import default_collate, default_convert
from adjit.utils.data.dataset import IterableDataset, Subset, TensorDataset
from adjit.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from adjit.utils.data.workers import Plan, Workers

T = TypeVar("T", covariant=True)


class DataLoader(Generic[T]):
    """Batches of a dataset: iterate over it once per epoch.

    `num_workers` > 0 fetches batches in as many processes, `prefetch_factor` batches ahead each; `timeout` is the most
    seconds that a batch may take, `persistent_workers` keeps the processes between passes.  `pin_memory` is accepted
    and changes nothing: there is no device that needs it.
    """

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None, batch_sampler: Iterable[Any] | None = None, num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None, pin_memory: bool = False, drop_last: bool = False,
        timeout: float = 0, worker_init_fn: Callable[[int], None] | None = None, multiprocessing_context: Any = None,
        generator: Any = None, *, prefetch_factor: int | None = None, persistent_workers: bool = False,
        pin_memory_device: str = "", in_order: bool = True,
    ) -> None:  # fmt: skip
        if num_workers < 0:
            raise ValueError(
                "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing."
            )
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError(
                "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable "
                "multiprocessing, otherwise set prefetch_factor to None."
            )
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")
        self._is_iterable = isinstance(dataset, IterableDataset)
        if self._is_iterable:
            _check_iterable(shuffle, sampler, batch_sampler)
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with drop_last"
            )
        if sampler is None and not self._is_iterable:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None and not self._is_iterable:
            assert sampler is not None
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers > 0 and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.persistent_workers = persistent_workers
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        self._workers: Workers | None = None
        batched = batch_sampler is not None or (self._is_iterable and batch_size is not None)
        self._batched = batched
        self._rows = batched and collate_fn is None
        self.collate_fn = (default_collate if batched else default_convert) if collate_fn is None else collate_fn

    def __len__(self) -> int:
        if self._is_iterable:
            count = len(self.dataset)
            if self.batch_size is None:
                return count
            return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
        return len(self.batch_sampler if self._batched else self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        if self.num_workers > 0:
            return self._from_workers()
        if self._is_iterable:
            return self._iterate()
        return map(partial(_fetch, self._way(), self.dataset), self._numbers())

    def _numbers(self) -> Iterable[Any]:
        if self._is_iterable:
            return repeat(None)
        found: Iterable[Any] = self.batch_sampler if self._batched else self.sampler  # type: ignore[assignment]
        return found

    def _way(self) -> tuple[bool, bool, Callable[[Any], Any]]:
        return self._batched, self._rows, self.collate_fn

    def _iterate(self) -> Iterator[Any]:
        samples = iter(self.dataset)
        if self.batch_size is None:
            yield from map(self.collate_fn, samples)
            return
        while batch := list(islice(samples, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield self.collate_fn(batch)

    def _from_workers(self) -> Iterator[Any]:
        """The batches of one pass, fetched by processes; with `persistent_workers` they stay for the next one."""
        workers = self._workers
        if workers is None:
            plan = Plan(
                self.dataset, self._is_iterable, self.batch_size, self.drop_last, self.collate_fn,
                partial(_fetch, self._way()), self.worker_init_fn,
            )  # fmt: skip
            workers = Workers(plan, self.num_workers, self.multiprocessing_context, self.timeout, self.in_order)
            if self.persistent_workers:
                self._workers = workers
                finalize(self, workers.close)
        assert self.prefetch_factor is not None
        seed = int(randint(0, 2**62, (), generator=self.generator).item())
        try:
            yield from workers.epoch(iter(self._numbers()), self.num_workers * self.prefetch_factor, seed)
        finally:
            if not self.persistent_workers:
                workers.close()


def _fetch(way: tuple[bool, bool, Callable[[Any], Any]], dataset: Any, numbers: Any) -> Any:
    """One batch, or one sample where there are no batches."""
    batched, rows, collate = way
    if not batched:
        return collate(dataset[numbers])
    if rows:
        taken = _take_rows(dataset, numbers)
        if taken is not None:
            return taken
    if hasattr(dataset, "__getitems__"):
        return collate(dataset.__getitems__(numbers))
    return collate([dataset[number] for number in numbers])


def _check_iterable(shuffle: bool | None, sampler: Any, batch_sampler: Any) -> None:
    begin = "DataLoader with IterableDataset: expected unspecified"
    if shuffle:
        raise ValueError(f"{begin} shuffle option, but got shuffle={shuffle}")
    if sampler is not None:
        raise ValueError(f"{begin} sampler option, but got sampler={sampler}")
    if batch_sampler is not None:
        raise ValueError(f"{begin} batch_sampler option, but got batch_sampler={batch_sampler}")


def _take_rows(dataset: Any, numbers: Any) -> list[Any] | None:
    """A batch of a dataset of tensors in one indexing step, instead of stacking its rows; None for other datasets."""
    while type(dataset) is Subset:
        numbers = [dataset.indices[number] for number in numbers]
        dataset = dataset.dataset
    if type(dataset) is not TensorDataset:
        return None
    count = len(dataset)
    if any(not -count <= number < count for number in numbers):
        return None  # the rows, one by one, raise the error
    rows = from_numpy(np.fromiter(map(int, numbers), np.int64, len(numbers)))
    return [tensor[rows] for tensor in dataset.tensors]
