"""Worker processes of loaders: order, sharding, seeds, errors, and their end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, get_worker_info


class Slow(Dataset[Any]):
    """Samples that say who fetched them; every third takes longer."""

    def __init__(self, count: int, wait: float = 0.0, fail: int = -1) -> None:
        self.count, self.wait, self.fail = count, wait, fail

    def __getitem__(self, index: Any) -> Any:
        if index == self.fail:
            raise ValueError(f"no sample {index}")
        if self.wait and index % 3 == 0:
            time.sleep(self.wait)
        info = get_worker_info()
        return index, -1 if info is None else info.id, np.random.rand(), float(torch.rand(()))

    def __len__(self) -> int:
        return self.count


class Shard(IterableDataset[int]):
    """0 .. 9, each worker its share."""

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(start, 10, step))


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_come_in_order_from_all_workers(workers: int) -> None:
    batches = list(DataLoader(Slow(13, 0.01), batch_size=2, num_workers=workers))
    assert [int(i) for batch in batches for i in batch[0]] == list(range(13))
    assert [int(batch[1][0]) for batch in batches] == [k % workers for k in range(7)]
    assert get_worker_info() is None


def test_any_order_is_allowed() -> None:
    loader = DataLoader(Slow(9, 0.05), batch_size=1, num_workers=3, in_order=False)
    assert sorted(int(batch[0]) for batch in loader) == list(range(9))


def test_tensors_equal_those_of_the_main_process() -> None:
    data = TensorDataset(torch.arange(24.0).reshape(12, 2), torch.arange(12))
    one, two = (list(DataLoader(data, batch_size=5, num_workers=n)) for n in (0, 2))
    assert all(torch.equal(a, b) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True))


def test_iterable_datasets_are_shared_out() -> None:
    loader = DataLoader(Shard(), batch_size=3, num_workers=2)
    assert [batch.tolist() for batch in loader] == [[0, 2, 4], [1, 3, 5], [6, 8], [7, 9]]
    dropped = DataLoader(Shard(), batch_size=3, num_workers=2, drop_last=True)
    assert [batch.tolist() for batch in dropped] == [[0, 2, 4], [1, 3, 5]]
    assert sorted(int(x) for x in DataLoader(Shard(), batch_size=None, num_workers=3)) == list(range(10))


def test_seeds_follow_the_generator() -> None:
    def drawn(seed: int) -> list[list[float]]:
        generator = torch.Generator().manual_seed(seed)
        loader = DataLoader(Slow(4), batch_size=2, num_workers=2, generator=generator)
        return [[*batch[2].tolist(), *batch[3].tolist()] for batch in loader]

    first = drawn(1)
    assert first == drawn(1) and first != drawn(2) and first[0] != first[1]


def test_persistent_workers_stay() -> None:
    loader = DataLoader(Slow(6), batch_size=2, num_workers=2, persistent_workers=True)
    next(iter(loader))  # a pass that is broken off leaves nothing to the next one
    for _ in range(2):
        assert [int(i) for batch in loader for i in batch[0]] == list(range(6))
    workers = loader._workers
    assert workers is not None
    first = [process.pid for process in workers.processes]
    list(loader)
    assert [process.pid for process in workers.processes] == first
    workers.close()
    assert not any(process.is_alive() for process in workers.processes)


def test_errors_name_the_worker() -> None:
    loader = DataLoader(Slow(6, fail=3), batch_size=2, num_workers=2)
    with pytest.raises(ValueError, match=r"(?s)Caught ValueError in DataLoader worker process 1.*no sample 3"):
        list(loader)


def test_errors_of_keys_show_their_lines() -> None:
    class Broken(Slow):
        def __getitem__(self, index: Any) -> Any:
            raise KeyError(index)

    with pytest.raises(KeyError, match=r"Caught KeyError in DataLoader worker process 0.\nOriginal Traceback"):
        list(DataLoader(Broken(3), num_workers=1))


def test_timeout() -> None:
    loader = DataLoader(Slow(1, 5.0), num_workers=1, timeout=0.2)
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.2 seconds"):
        list(loader)


def test_worker_init_fn() -> None:
    def initialise(worker: int) -> None:
        info = get_worker_info()
        assert info is not None and info.id == worker
        info.dataset.count_seen = worker
        np.random.seed(7)

    loader = DataLoader(Slow(2), num_workers=2, worker_init_fn=initialise)
    assert len({float(batch[2]) for batch in loader}) == 1
