"""Datasets, samplers and loaders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import adjit as torch
from adjit.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)

X = torch.arange(20.0).reshape(10, 2)
Y = torch.arange(10)


class Squares(Dataset[int]):
    """0, 1, 4, ..."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, index: Any) -> int:
        return int(index) ** 2

    def __len__(self) -> int:
        return self.count


class Stream(IterableDataset[int]):
    """0, 1, ... 6."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(7))


def listed(loader: DataLoader) -> list[Any]:
    """The batches as lists of numbers."""
    return [batch.tolist() for batch in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_tensors(workers: int) -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=4, num_workers=workers)
    batches = list(loader)
    assert len(loader) == len(batches) == 3 and isinstance(batches[0], list)
    assert [list(x.shape) for x, _ in batches] == [[4, 2], [4, 2], [2, 2]]
    assert torch.equal(torch.cat([x for x, _ in batches]), X) and torch.equal(torch.cat([y for _, y in batches]), Y)
    assert len(list(DataLoader(TensorDataset(X, Y), batch_size=4, drop_last=True))) == 2


def test_shuffling_takes_every_sample_once_and_follows_the_generator() -> None:
    def order(seed: int) -> list[int]:
        generator = torch.Generator()
        generator.manual_seed(seed)
        loader = DataLoader(TensorDataset(Y), batch_size=3, shuffle=True, generator=generator)
        return [int(i) for (batch,) in loader for i in batch]

    assert sorted(order(0)) == list(range(10))
    assert order(0) == order(0) and order(0) != order(1)


def test_any_dataset() -> None:
    assert listed(DataLoader(Squares(5), batch_size=2)) == [[0, 1], [4, 9], [16]]
    assert listed(DataLoader(Squares(3) + Squares(2), batch_size=5)) == [[0, 1, 4, 0, 1]]
    assert list(DataLoader(Squares(3), batch_size=None)) == [0, 1, 4]
    assert list(DataLoader(Squares(4), batch_size=2, collate_fn=sum)) == [1, 13]
    assert listed(DataLoader(Stream(), batch_size=3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert listed(DataLoader(Squares(4), batch_sampler=[[3, 0], [1]])) == [[9, 0], [1]]
    assert listed(DataLoader(Squares(4), sampler=[2, 2], batch_size=2)) == [[4, 4]]


def test_collation_goes_through_structures() -> None:
    sample = {"a": 1, "b": (2.0, np.float32(3)), "c": "x", "d": np.ones(2, np.float32)}
    batch = default_collate([sample, sample])
    assert batch["a"].tolist() == [1, 1] and batch["a"].dtype is torch.int64
    assert batch["b"][0].dtype is torch.float64 and batch["b"][1].dtype is torch.float32
    assert batch["c"] == ["x", "x"] and list(batch["d"].shape) == [2, 2]
    with pytest.raises(RuntimeError, match="each element in list of batch should be of equal size"):
        default_collate([[1], [1, 2]])
    assert default_collate([("a", 1), ("b", 2)])[0] == ("a", "b")  # strings stay as they come
    with pytest.raises(TypeError, match="default_collate: batch must contain tensors, numpy arrays, numbers"):
        default_collate([object()])


def test_splits_share_nothing() -> None:
    parts = random_split(TensorDataset(Y), [0.5, 0.3, 0.2], generator=torch.Generator().manual_seed(3))
    assert [len(part) for part in parts] == [5, 3, 2]
    assert sorted(int(part[i][0]) for part in parts for i in range(len(part))) == list(range(10))
    assert [len(part) for part in random_split(Squares(10), [7, 3])] == [7, 3]
    with pytest.raises(ValueError, match="Sum of input lengths does not equal the length of the input dataset!"):
        random_split(Squares(10), [7, 2])


def test_views_of_datasets() -> None:
    both = ConcatDataset([Squares(3), Squares(4)])
    assert len(both) == 7 and both[-1] == 9 and both[3] == 0
    part = Subset(TensorDataset(X, Y), [8, 1])
    assert int(part[0][1]) == 8 and len(part) == 2
    ((x, y),) = list(DataLoader(part, batch_size=2))
    assert y.tolist() == [8, 1] and torch.equal(x, X[[8, 1]])


def test_samplers() -> None:
    assert list(BatchSampler(SequentialSampler(range(5)), 2, False)) == [[0, 1], [2, 3], [4]]
    assert len(BatchSampler(SequentialSampler(range(5)), 2, True)) == 2
    drawn = list(RandomSampler(range(3), replacement=True, num_samples=50))
    assert len(drawn) == 50 and set(drawn) <= {0, 1, 2}
    assert set(WeightedRandomSampler([0.0, 1.0, 0.0], 20)) == {1}
    assert sorted(WeightedRandomSampler([0.1, 1.0, 0.5], 3, replacement=False)) == [0, 1, 2]


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: TensorDataset(X, torch.zeros(3)), AssertionError, "Size mismatch between tensors"),
    (
        lambda: DataLoader(Squares(3), batch_size=0),
        ValueError,
        "batch_size should be a positive integer value, but got batch_size=0",
    ),
    (
        lambda: DataLoader(Squares(3), shuffle=True, sampler=[1]),
        ValueError,
        "sampler option is mutually exclusive with shuffle",
    ),
    (
        lambda: DataLoader(Stream(), shuffle=True),
        ValueError,
        "DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle=True",
    ),
]


@pytest.mark.parametrize(("action", "kind", "text"), ERRORS, ids=lambda item: item if isinstance(item, str) else "")
def test_errors_read_as_in_pytorch(action: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        action()
    assert str(caught.value) == text


@pytest.mark.parametrize("count", [0, 1, 5, 6, 7])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
@pytest.mark.parametrize("drop_last", [False, True])
def test_processes_share_a_dataset(count: int, processes: int, drop_last: bool) -> None:
    parts = [DistributedSampler(range(count), processes, rank, False, drop_last=drop_last) for rank in range(processes)]
    taken = [list(part) for part in parts]
    assert {len(part) for part in parts} == {len(numbers) for numbers in taken} and len({*map(len, taken)}) == 1
    turns = [number for turn in zip(*taken, strict=True) for number in turn]
    whole = count - count % processes if drop_last else -(-count // processes) * processes
    assert turns == [place % count for place in range(whole)]


def test_epochs_shuffle_all_processes_alike() -> None:
    parts = [DistributedSampler(range(10), 2, rank, seed=3) for rank in range(2)]
    first = [number for part in parts for number in part]
    assert sorted(first) == list(range(10)) and first == [number for part in parts for number in part]
    for part in parts:
        part.set_epoch(1)
    second = [number for part in parts for number in part]
    assert sorted(second) == list(range(10)) and second != first
    loader = DataLoader(TensorDataset(X, Y), batch_size=2, sampler=parts[0])
    assert next(iter(loader))[1].tolist() == second[:2]


def test_processes_have_numbers() -> None:
    with pytest.raises(ValueError, match=r"Invalid rank 2, rank should be in the interval \[0, 1\]"):
        DistributedSampler(range(3), 2, 2)
    with pytest.raises(RuntimeError, match="Requires distributed package to be available"):
        DistributedSampler(range(3))


def test_addresses_that_programs_import_from() -> None:
    from adjit.nn.utils.clip_grad import clip_grad_norm_
    from adjit.utils.data.distributed import DistributedSampler as Same

    assert Same is DistributedSampler and clip_grad_norm_ is torch.nn.utils.clip_grad_norm_

    def batches(loader: DataLoader[Any]) -> DataLoader[torch.Tensor]:
        return loader

    assert batches.__name__ == "batches" and DataLoader[int](X, 5).batch_size == 5
